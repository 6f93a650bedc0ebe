//go:build soak

package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// TestStore_OlderCopyRefused puts a whole data_dir back, its manifest included: the files in output know better.
func TestStore_OlderCopyRefused(t *testing.T) {
	t.Parallel()
	s := prepareStores(t)
	dir := t.TempDir()
	copyTree(t, s.earlier+"/data", dir+"/data")
	copyTree(t, s.finished+"/output", dir+"/output")
	batch := []string{"batch", "2025", "--end", fmt.Sprint(damageNumbers)}
	before := filesUnder(t, dir+"/output")
	for _, args := range [][]string{batch, {"report", "--run", string(s.run)}, {"status"}} {
		o := s.command(t, dir, args...)
		if o.code != codeBroker || o.requests > 0 || !strings.Contains(o.text, "older than the files") ||
			!strings.Contains(o.text, "--repair") {
			t.Errorf("%s: %d with %d requests: %s", args[0], o.code, o.requests, o.text)
		}
	}
	if after := filesUnder(t, dir+"/output"); !maps.Equal(before, after) {
		t.Error("files were changed")
	}
	o := s.command(t, dir, append(batch, "--repair")...)
	if o.code != 0 || o.requests < damageNumbers/2 || o.requests > damageNumbers/2+damageNumbers/6 ||
		!strings.Contains(o.text, "accepted") {
		t.Errorf("accepted: %d with %d requests, want those of %d numbers: %s", o.code, o.requests, damageNumbers/2,
			o.text)
	}
	if o := s.command(t, dir, batch...); o.code != 0 || o.requests > 0 {
		t.Errorf("afterwards: %d with %d requests: %s", o.code, o.requests, o.text)
	}
}

// TestRepair_KeepsReadable accepts a ledger with a hole, and one that is gone. Without the manifest the keys of the cases
// whose outcomes are lost tell of it.
func TestRepair_KeepsReadable(t *testing.T) {
	t.Parallel()
	s := prepareStores(t)
	for _, c := range []struct {
		name   string
		forget bool
	}{{"flipped bit", false}, {"removed folder", false}, {"truncated block", true}} {
		d := damages()[slices.IndexFunc(damages(), func(d damage) bool { return d.name == c.name })]
		dir := t.TempDir()
		copyTree(t, s.unfinished, dir)
		if err := d.do(&s, dir+"/data", contract.StreamOutcomes); err != nil {
			t.Fatal(err)
		}
		if c.forget {
			forgetManifest(t, dir)
		}
		batch := []string{"batch", "2025", "--start", "201", "--end", fmt.Sprint(200 + damageNumbers)}
		if o := s.command(t, dir, batch...); o.code != codeBroker || o.requests > 0 ||
			!strings.Contains(o.text, contract.StreamOutcomes) {
			t.Errorf("%s: %d with %d requests: %s", d.name, o.code, o.requests, o.text)
		}
		if o := s.command(t, dir, append(batch, "--repair")...); o.code != 0 || o.requests == 0 {
			t.Errorf("%s, accepted: %d with %d requests: %s", d.name, o.code, o.requests, o.text)
		}
		if o := s.command(t, dir, batch...); o.code != 0 || o.requests > 0 {
			t.Errorf("%s, afterwards: %d with %d requests: %s", d.name, o.code, o.requests, o.text)
		}
	}
}

// forgetManifest removes what is known of a store besides itself and its keys.
func forgetManifest(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(dir + "/output/.fct-store-*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, dir+"/data/manifest.json") {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExplain_DamagedStore spoils what could be made again: whoever only looks says what is wrong, and leaves it as it is.
func TestExplain_DamagedStore(t *testing.T) {
	t.Parallel()
	s := prepareStores(t)
	removed := func(dir, stream string) string { return streamFolder(dir+"/data", stream) }
	manifest := func(dir, _ string) string { return dir + "/data/manifest.json" }
	for _, c := range []struct {
		name, stream, want string
		path               func(dir, stream string) string
	}{
		{"collected", "KV_" + contract.BucketCollected, "KV_" + contract.BucketCollected, removed},
		{"runs", "KV_" + contract.BucketRuns, "KV_" + contract.BucketRuns, removed},
		{"jobs", contract.StreamJobs, contract.StreamJobs, removed},
		{"ledger", contract.StreamOutcomes, contract.StreamOutcomes, removed},
		{"manifest", "", "manifest.json", manifest},
		{"ledger without its manifest", contract.StreamOutcomes, contract.StreamOutcomes, removed},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, s.finished, dir)
			if err := os.RemoveAll(c.path(dir, c.stream)); err != nil {
				t.Fatal(err)
			}
			switch c.name {
			case "manifest":
				if err := os.WriteFile(manifest(dir, ""), []byte("?"), 0o640); err != nil {
					t.Fatal(err)
				}
			case "ledger without its manifest": // the keys tell then
				forgetManifest(t, dir)
			}
			for range 2 { // the first changes nothing
				o := s.command(t, dir, "explain", explained)
				if o.code != codeBroker || !strings.Contains(o.text, c.want) ||
					!strings.Contains(o.text, "store damaged") {
					t.Errorf("%d: %s", o.code, o.text)
				}
			}
			if o := s.command(t, dir, "status"); c.stream != contract.StreamOutcomes && o.code != 0 {
				t.Errorf("status: %d: %s", o.code, o.text)
			}
			if o := s.command(t, dir, "explain", explained); c.stream != contract.StreamOutcomes &&
				(o.code != 0 || !strings.Contains(o.text, s.life)) {
				t.Errorf("afterwards: %d: %s", o.code, o.text)
			}
		})
	}
}

// TestDamage_InMidRun spoils streams under the hands of a running batch.
func TestDamage_InMidRun(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{contract.StreamJobs, contract.StreamOutcomes, "KV_" + contract.BucketRuns} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			s := stores{sim: startSim(t, "--seed", "3", "--max", "400", "--missing", "0.1")}
			s.unfinished = t.TempDir()
			s.args = []string{
				"--site", "fct-cf", "--base-url", s.sim.url, "--probe=false", "--robots=false", "--concurrency", "4",
				"--log-level", "warn",
				"--output", "output", "--data-dir", "data",
			}
			spoiled := make(chan error, 1)
			go func() {
				for s.sim.stats().Requests < damageNumbers/2 {
					time.Sleep(5 * time.Millisecond) // the condition is another process's
				}
				spoiled <- damages()[0].do(&s, s.unfinished+"/data", stream)
			}()
			o := s.command(t, s.unfinished, "batch", "2025", "--end", fmt.Sprint(damageNumbers), "--delay-min",
				"25ms", "--delay-max", "25ms")
			if err := <-spoiled; err != nil {
				t.Fatal(err)
			}
			if !slices.Contains([]int{0, codeBroker, codeOutput}, o.code) {
				t.Errorf("%d after %.0f s: %s", o.code, o.seconds, o.text)
			}
			t.Logf("%d after %.1f s: %s", o.code, o.seconds, said(o.text, ""))
		})
	}
}
