package reporter

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/google/go-cmp/cmp"
)

// path returns the path of an output file.
func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

// fileMismatches are ways in which files other than the attempts can get lost.
func fileMismatches() []mismatch {
	const record, raw = "cases/IMM/25/IMM-4-25.json", "html_failed/run/IMM-3-25.html"
	truncate := func(name string, size int64) func(f *fixture) {
		return func(f *fixture) { f.must(os.Truncate(f.path(name), size)) }
	}
	remove := func(name string) func(f *fixture) {
		return func(f *fixture) { f.must(os.RemoveAll(f.path(name))) }
	}
	return []mismatch{
		{name: "record removed", beforeVerify: remove(record)},
		{name: "record truncated", beforeVerify: truncate(record, 20)},
		{name: "record emptied", beforeVerify: truncate(record, 0)},
		{name: "record truncated before", betweenReporters: truncate(record, 20)},
		{name: "record made longer", beforeVerify: func(f *fixture) { f.must(os.Truncate(f.path(record), 4000)) }},
		{name: "record is a link", beforeVerify: func(f *fixture) {
			f.must(errors.Join(os.Rename(f.path(record), f.path("elsewhere")),
				os.Symlink("../../../elsewhere", f.path(record))))
			f.t.Cleanup(func() { f.must(os.RemoveAll(f.path("elsewhere"))) })
		}},
		{name: "record is an empty folder", beforeVerify: func(f *fixture) { f.must(errors.Join(os.Remove(f.path(record)), os.Mkdir(f.path(record), 0o750))) }},
		{name: "attempts are a pipe", beforeVerify: func(f *fixture) {
			f.must(errors.Join(os.Remove(f.path("attempts_run.ndjson")),
				syscall.Mkfifo(f.path("attempts_run.ndjson"), 0o600)))
		}},
		{name: "all records removed", beforeVerify: remove("cases")},
		{name: "all records removed before", betweenReporters: remove("cases")},
		{name: "raw answer truncated", beforeVerify: truncate(raw, 1)},
		{name: "raw answers removed", beforeVerify: remove("html_failed")},
	}
}

// repairable reports whether the reporter can repair the mismatch: a folder cannot be replaced by a
// record.
func (m mismatch) repairable() bool { return m.name != "record is an empty folder" }

func TestVerifyRepairsFiles(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"alone": false, "one of several": true} {
		t.Run(name, func(t *testing.T) {
			mismatches := slices.Concat(attemptsMismatches(), fileMismatches())
			if shared { // a sample: it is the same code under a lease
				mismatches = slices.Concat(mismatches[:2], fileMismatches()[:2])
			}
			t.Parallel()
			b := fcttest.Broker(t)
			complete := newMixedFixtureOn(t, emptied(t, b), len(mixedEntries()))
			complete.publishPlanned(0)
			complete.runToEnd()
			want := complete.files()
			for _, m := range mismatches {
				t.Run(m.name, func(t *testing.T) {
					f := newMixedFixtureOn(t, emptied(t, b), len(mixedEntries()))
					if m.betweenReporters != nil {
						m.betweenReporters(f)
					}
					f.publishPlanned(0)
					options := f.options()
					options.Shared = shared
					w := f.startReporter(options, func(step string) error {
						if step == "end" && m.beforeVerify != nil {
							m.beforeVerify(f)
						}
						return nil
					})
					state := f.awaitEnd()
					err := w.stop()
					if !m.repairable() {
						if !errors.Is(StateError(state), store.ErrNotWritable) ||
							!strings.Contains(state.Reason, f.path("cases/IMM/25/IMM-4-25.json")) {
							t.Fatalf("%s: %s, %v", state.Status, state.Reason, err)
						}
						return
					}
					if err != nil || state.Status != contract.Completed {
						t.Fatalf("%s: %s, %v", state.Status, state.Reason, err)
					}
					got := f.files()
					delete(got, "elsewhere")
					if diff := cmp.Diff(want, got); diff != "" {
						t.Error(diff)
					}
				})
			}
		})
	}
}

func TestMovedOutputEndsRun(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	want := wantArtifactsOn(t, b)
	away := func(f *fixture) { f.must(os.Rename(f.dir, f.dir+"-away")) }
	for name, move := range map[string]func(f *fixture){
		"removed":             func(f *fixture) { f.must(os.RemoveAll(f.dir)) },
		"moved":               away,
		"moved and recreated": func(f *fixture) { away(f); f.must(os.Mkdir(f.dir, 0o750)) },
		"replaced by a file":  func(f *fixture) { away(f); f.must(os.WriteFile(f.dir, nil, 0o600)) },
		"replaced by a link": func(f *fixture) {
			away(f)
			f.must(errors.Join(os.Mkdir(f.dir+"-other", 0o750), os.Symlink(f.dir+"-other", f.dir)))
		},
	} {
		for _, at := range []string{"files", "lines", "end"} {
			t.Run(name+" before "+at, func(t *testing.T) {
				f := newMixedFixtureOn(t, emptied(t, b), 4)
				f.publishPlanned(0)
				moved := false
				state, err := f.runToError(func(step string) error {
					if step == at && !moved {
						moved = true
						move(f)
					}
					return nil
				})
				if !errors.Is(err, store.ErrNotWritable) || !strings.Contains(state.Reason, f.dir) || state.File != "" {
					t.Fatalf("%v; %s: %s; report %q", err, state.Status, state.Reason, state.File)
				}
				if info, err := os.Lstat(f.dir); err == nil && !info.IsDir() {
					f.must(os.Remove(f.dir))
				}
				f.setRunning()
				got := f.runToArtifacts()
				if diff := cmp.Diff(withoutEndFiles(want.Files), withoutEndFiles(got.Files)); diff != "" ||
					got.Report.Status != contract.Completed {
					t.Errorf("resumed: %s: %s", got.Report.Status, diff)
				}
			})
		}
	}
}

// A link to the moved folder is as good as the folder.
func TestMovedAndLinkedOutputIsAccepted(t *testing.T) {
	t.Parallel()
	f := newMixedFixture(t, 4)
	f.publishPlanned(0)
	w := f.startReporter(f.options(), func(step string) error {
		if step == "end" {
			return errors.Join(os.Rename(f.dir, f.dir+"-away"), os.Symlink(f.dir+"-away", f.dir))
		}
		return nil
	})
	if state := f.awaitEnd(); state.Status != contract.Completed {
		t.Errorf("%s: %s", state.Status, state.Reason)
	}
	f.must(w.stop())
}
