package integrity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fct-scraper/pkg/contract"
)

func (g *Guard) load() error {
	err := readJSON(filepath.Join(g.Dir, manifestName), &g.manifest)
	if err == nil && g.manifest.Version != version {
		return fmt.Errorf("%w: %s is of version %d, this program reads %d", ErrDamaged, filepath.Join(g.Dir, manifestName), g.manifest.Version, version)
	}
	if err != nil {
		g.manifest = Manifest{}
		if err := g.replaceUnreadable(manifestName, err); err != nil {
			return err
		}
	}
	var file keysFile
	err = readJSON(filepath.Join(g.Dir, keysName), &file)
	if err == nil && file.Version == version {
		g.keys = file.Buckets
	} else if err != nil || file.Version > version {
		return g.replaceUnreadable(keysName, err)
	}
	return nil
}

// replaceUnreadable reports a file that is itself damaged; it is then written again from the store.
func (g *Guard) replaceUnreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if g.ReadOnly {
		return readOnlyError(fmt.Errorf("%s could not be read", filepath.Join(g.Dir, name)))
	}
	g.noteRestored("%s could not be read and is written again from the store as it is", filepath.Join(g.Dir, name))
	g.needsVerify = true
	return nil
}

// save writes the manifest, and the fingerprint if there is an output folder.
func (g *Guard) save(streams map[string]Stream) error {
	g.manifest.Version, g.manifest.WrittenAt, g.manifest.Streams = version, time.Now().UTC(), streams
	if err := writeJSON(g.Dir, manifestName, g.manifest); err != nil {
		return err
	}
	if _, err := os.Stat(g.Output); g.Output == "" || err != nil {
		return nil
	}
	own := ledgerFingerprint{Version: version, Store: g.manifest.Store, Ledger: streams[contract.StreamOutcomes]}
	_, err := os.Stat(filepath.Join(g.Output, fingerprintName(own.Store)))
	if own.Ledger.Last == 0 && err != nil { // nothing that could be lost
		return nil
	}
	if err := writeJSON(g.Output, fingerprintName(own.Store), own); err != nil { // the writer of the output reports the cause
		g.Log.Warn("store.witness.unwritten", "folder", g.Output, "error", err)
	}
	return nil
}

// fingerprints reads the ledger fingerprints in the output folder: that of this store, and all.
func (g *Guard) fingerprints() (own *ledgerFingerprint, all []ledgerFingerprint, err error) {
	names, err := filepath.Glob(filepath.Join(g.Output, fingerprintName("*")))
	if err != nil {
		return nil, nil, fmt.Errorf("listing the ledger fingerprints in %s: %w", g.Output, err)
	}
	for _, name := range names {
		var w ledgerFingerprint
		if readJSON(name, &w) != nil || w.Version != version {
			continue // an unreadable fingerprint proves nothing
		}
		all = append(all, w)
		if w.Store == g.manifest.Store {
			own = &w
		}
	}
	return own, all, nil
}

func fingerprintName(store string) string { return ".fct-store-" + store + ".json" }

func readJSON(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON replaces a file atomically.
func writeJSON(dir, name string, value any) (err error) {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	temp := filepath.Join(dir, ".fct-tmp-"+name)
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temp, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}
