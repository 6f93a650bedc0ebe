// Package store writes the files of a run atomically: a reader, or the next process after a crash,
// sees the old or the new content. It never leaves the folder that it was opened on, not even by
// symbolic links.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNotWritable is wrapped by every error about a folder or file that cannot be written: full,
// read-only, removed, or outside of the store's folder. The program then exits with 7.
var ErrNotWritable = errors.New("output not writable")

// tempPrefix begins the name of every unfinished file.
const tempPrefix = ".fct-tmp-"

// Store is a folder of files, each written to a temporary file in the same folder, synced and
// renamed. It is safe for concurrent use. Names are slash-separated and relative to the folder.
type Store struct {
	root *os.Root
	// dir is the path by which the folder was opened, info the folder itself.
	dir  string
	info os.FileInfo
	lock *os.File
	// sync makes the temporary files of one batch durable; it depends on the operating system.
	sync func(root *os.Root, temps []temp) error
	// fence returns an error if files must not be renamed to their names; nil allows all.
	fence func() error
}

// WithFence returns a Store on the same folder that writes only while fence returns nil. It calls
// fence when a file is complete and about to be renamed to its name, because the process may have
// been suspended since it began, and returns fence's error.
func (s *Store) WithFence(fence func() error) *Store {
	fenced := *s
	fenced.fence = fence
	return &fenced
}

// File is a name and its content.
type File struct {
	Name string
	Data []byte
}

// Open creates the folder if missing and removes the unfinished files of killed processes, unless
// another process has the same folder open. Its error wraps ErrNotWritable.
func Open(dir string) (*Store, error) {
	if err := MakeFolder(dir); err != nil {
		return nil, notWritable("making the folder", dir, err)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, notWritable("opening the folder", dir, err)
	}
	root, err := os.OpenRoot(full)
	if err != nil {
		return nil, notWritable("opening the folder", dir, err)
	}
	s := &Store{root: root, dir: full, sync: syncBatch}
	if err := s.lockFolder(); err != nil {
		return nil, errors.Join(notWritable("opening the folder", dir, err), s.Close())
	}
	return s, nil
}

// MakeFolder creates a folder and its parents if missing. For a symbolic link without a target its
// error names the link, where os.MkdirAll only reports that a file exists.
func MakeFolder(dir string) error {
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		return nil
	}
	for at := filepath.Clean(dir); at != filepath.Dir(at); at = filepath.Dir(at) {
		target, noLink := os.Readlink(at)
		if noLink != nil {
			continue
		}
		if _, lost := os.Stat(at); lost != nil {
			return fmt.Errorf("%q is a symbolic link to %q, which is no folder: %w", at, target, errors.Unwrap(lost))
		}
	}
	return err
}

// Check returns an error that names the folder and wraps ErrNotWritable if its path no longer leads
// to it: it was moved, removed or replaced. Every method that writes checks this first, because a
// reader does not find what is written into a moved folder.
func (s *Store) Check() error {
	now, err := os.Stat(s.dir)
	if err != nil {
		return notWritable("checking the folder", s.dir, err)
	}
	if !os.SameFile(now, s.info) {
		return notWritable("checking the folder", s.dir, errors.New("another one is in its place"))
	}
	return nil
}

// lockFolder locks the folder: exclusively while leftovers are removed, then shared. A process that
// writes holds it shared, so its unfinished files are never removed.
func (s *Store) lockFolder() error {
	var err error
	if s.lock, err = s.root.Open("."); err != nil {
		return err
	}
	if s.info, err = s.lock.Stat(); err != nil {
		return err
	}
	alone, err := lockExclusive(s.lock)
	if err != nil {
		return err
	}
	if alone {
		if err := s.removeLeftovers(); err != nil {
			return err
		}
	}
	return lockShared(s.lock)
}

// removeLeftovers removes the temporary files of killed processes. It only visits folders that this
// program writes: the folder may be a home folder or the root of a file system.
func (s *Store) removeLeftovers() error {
	own := []string{".", "cases", "html", "html_failed", "warc"}
	return fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // an unreadable folder has no leftovers of this program
		}
		if err == nil && entry.IsDir() && !strings.Contains(name, "/") && !slices.Contains(own, name) {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), tempPrefix) {
			return err
		}
		return s.root.Remove(name)
	})
}

// Close unlocks and closes the folder. The files stay as they are.
func (s *Store) Close() error {
	if s.lock == nil {
		return s.root.Close()
	}
	return errors.Join(s.lock.Close(), s.root.Close())
}

// Read returns the content of a regular file; the error of a missing one wraps fs.ErrNotExist.
func (s *Store) Read(name string) ([]byte, error) {
	file, err := s.Reader(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", strconv.Quote(name), err)
	}
	return data, nil
}

// Reader opens a regular file; the error of a missing one wraps fs.ErrNotExist. Other kinds of
// files are refused: opening a pipe would wait for its other end.
func (s *Store) Reader(name string) (io.ReadCloser, error) {
	info, err := s.root.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	var file *os.File
	if err == nil {
		file, err = s.root.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", strconv.Quote(name), err)
	}
	return file, nil
}

// Sizes reads the sizes of files. It keeps the folders open, so that a path is not resolved again for
// every file of a folder; the caller must close it. It is not safe for concurrent use.
type Sizes struct {
	store *Store
	// folders has nil for a folder that does not exist.
	folders map[string]*os.Root
}

// Sizes returns a reader of the sizes of files.
func (s *Store) Sizes() *Sizes { return &Sizes{store: s, folders: make(map[string]*os.Root)} }

// Of returns the length in bytes of a regular file; false if there is none. A folder that is missing
// stays missing for this reader. Its error wraps ErrNotWritable.
func (z *Sizes) Of(name string) (size int64, found bool, err error) {
	at := path.Dir(name)
	folder, opened := z.folders[at]
	if !opened {
		if folder, err = z.store.root.OpenRoot(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, false, z.store.notWritable("listing", at, err)
		}
		z.folders[at] = folder
	}
	if folder == nil {
		return 0, false, nil
	}
	info, err := folder.Lstat(path.Base(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, z.store.notWritable("listing", at, err)
	}
	return info.Size(), info.Mode().IsRegular(), nil
}

// Close closes the folders.
func (z *Sizes) Close() error {
	var err error
	for _, folder := range z.folders {
		if folder != nil {
			err = errors.Join(err, folder.Close())
		}
	}
	clear(z.folders)
	return err
}

// Remove removes a file durably; a missing one is no error. Its error wraps ErrNotWritable.
func (s *Store) Remove(name string) error {
	if err := s.Check(); err != nil {
		return err
	}
	err := s.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.syncFolders(map[string]bool{path.Dir(name): true})
	}
	if err != nil {
		return s.notWritable("removing", name, err)
	}
	return nil
}

// syncFolders makes renames durable: a rename is on disk only once its folder is synced.
func (s *Store) syncFolders(names map[string]bool) error {
	for name := range names {
		folder, err := s.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeFolder creates a missing folder and its parents, and syncs the folders that now name them.
func (s *Store) makeFolder(name string) error {
	if err := s.root.MkdirAll(name, 0o750); err != nil {
		return err
	}
	parents := map[string]bool{".": true}
	for up := path.Dir(name); up != "."; up = path.Dir(up) {
		parents[up] = true
	}
	return s.syncFolders(parents)
}

// ChangedError is the error, which wraps ErrNotWritable, for a file that is not there as it was
// written.
func (s *Store) ChangedError(name string) error {
	return s.notWritable("checking", name, errors.New("it is not there as it was written"))
}

func (s *Store) notWritable(doing, name string, err error) error {
	return notWritable(doing, filepath.Join(s.dir, filepath.FromSlash(name)), err)
}

func notWritable(doing, name string, err error) error {
	return fmt.Errorf("%w: %s %s: %w", ErrNotWritable, doing, strconv.Quote(name), err)
}

// ErrClaimed reports that another process writes the same part of a folder from another ledger. It
// comes with ErrNotWritable.
var ErrClaimed = errors.New("in use by another process")

// claimRetryInterval is the interval of the attempts to claim what another process holds,
// claimTimeout their duration: a process that is ending releases its claim.
const claimRetryInterval, claimTimeout = 10 * time.Millisecond, 500 * time.Millisecond

// Owner describes the process that writes a part of a folder.
type Owner struct {
	PID int `json:"pid"`
	// Ledger identifies the ledger that the files are derived from, equal for all processes that
	// work on it; Where describes it for people.
	Ledger string `json:"ledger"`
	Where  string `json:"where"`
}

// Claim reserves a part of the folder for processes with the same ledger: others would write other
// contents into the same files. Any number of processes with that ledger may hold it, until release
// or the end of the process. A locked file names the owner; the last holder removes it. Where files
// cannot be locked nobody is refused. If another ledger's process holds the part, the error wraps
// ErrClaimed and ErrNotWritable and names it.
func (s *Store) Claim(part string, owner Owner) (release func() error, err error) {
	name := ".fct-writer-" + part + ".lock"
	for begun := time.Now(); ; time.Sleep(claimRetryInterval) {
		file, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return nil, s.notWritable("opening", name, err)
		}
		holder, held, err := claim(file, owner)
		if err == nil && held && s.isNameOf(name, file) {
			return func() error { return s.release(name, file) }, nil
		}
		if err == nil && !held && time.Since(begun) > claimTimeout {
			err = fmt.Errorf("%w: process %d (%s) writes the files of %s there: wait for its end, or give another output",
				ErrClaimed, holder.PID, holder.Where, part)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, notWritable("writing to", s.dir, err)
		}
	}
}

// isNameOf reports whether name is still the name of file, which may have been removed before it
// was locked.
func (s *Store) isNameOf(name string, file *os.File) bool {
	named, err := s.root.Stat(name)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(named, opened)
}

// release ends a claim, and removes its file unless another process holds it too. A remaining file
// is harmless.
func (s *Store) release(name string, file *os.File) error {
	alone, err := lockNow(file, false)
	if alone {
		_ = s.root.Remove(name)
	}
	return errors.Join(err, file.Close())
}

// claim tries once to hold the file: exclusively, to write the owner, then shared with others of
// the same ledger.
func claim(file *os.File, owner Owner) (holder Owner, held bool, err error) {
	alone, err := lockNow(file, false)
	if err != nil {
		return holder, false, err
	}
	if alone {
		if err := writeOwner(file, owner); err != nil {
			return holder, false, err
		}
	} else if holder = readOwner(file); holder.Ledger != owner.Ledger {
		return holder, false, nil
	}
	if held, err = lockNow(file, true); err != nil || !held {
		return holder, false, err
	}
	// Between the two locks another process may have held the file exclusively.
	if holder = readOwner(file); holder.Ledger == owner.Ledger {
		return holder, true, nil
	}
	return holder, false, unlock(file)
}

func writeOwner(file *os.File, owner Owner) error {
	text, err := json.Marshal(owner)
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.WriteAt(append(text, '\n'), 0)
	}
	return err
}

// readOwner returns the owner in the file; the zero value while it is being written.
func readOwner(file *os.File) (owner Owner) {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 4<<10))
	if err != nil || json.Unmarshal(text, &owner) != nil {
		return Owner{}
	}
	return owner
}
