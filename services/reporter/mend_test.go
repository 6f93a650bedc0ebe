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

// path is where a file of the output lies.
func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

// lost are ways in which files other than the attempts can get lost.
func lost() []mismatch {
	const record, raw = "cases/IMM/25/IMM-4-25.json", "html_failed/run/IMM-3-25.html"
	truncate := func(name string, size int64) func(d *desk) {
		return func(d *desk) { d.must(os.Truncate(d.path(name), size)) }
	}
	remove := func(name string) func(d *desk) {
		return func(d *desk) { d.must(os.RemoveAll(d.path(name))) }
	}
	return []mismatch{
		{name: "record removed", late: remove(record)},
		{name: "record truncated", late: truncate(record, 20)},
		{name: "record emptied", late: truncate(record, 0)},
		{name: "record truncated before", before: truncate(record, 20)},
		{name: "record made longer", late: func(d *desk) { d.must(os.Truncate(d.path(record), 4000)) }},
		{name: "record is a link", late: func(d *desk) {
			d.must(errors.Join(os.Rename(d.path(record), d.path("elsewhere")), os.Symlink("../../../elsewhere", d.path(record))))
			d.t.Cleanup(func() { d.must(os.RemoveAll(d.path("elsewhere"))) })
		}},
		{name: "record is an empty folder", late: func(d *desk) { d.must(errors.Join(os.Remove(d.path(record)), os.Mkdir(d.path(record), 0o750))) }},
		{name: "attempts are a pipe", late: func(d *desk) {
			d.must(errors.Join(os.Remove(d.path("attempts_run.ndjson")), syscall.Mkfifo(d.path("attempts_run.ndjson"), 0o600)))
		}},
		{name: "all records removed", late: remove("cases")},
		{name: "all records removed before", before: remove("cases")},
		{name: "raw answer truncated", late: truncate(raw, 1)},
		{name: "raw answers removed", late: remove("html_failed")},
	}
}

// A record that is a folder cannot be replaced, whatever it holds; the others are as they were.
func (m mismatch) mendable() bool { return m.name != "record is an empty folder" }

func TestWrongFilesAreMendedBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for name, shared := range map[string]bool{"alone": false, "one of several": true} {
		t.Run(name, func(t *testing.T) {
			mismatches := slices.Concat(attemptsMismatches(), lost())
			if shared { // a sample: it is the same code under a lease
				mismatches = slices.Concat(mismatches[:2], lost()[:2])
			}
			t.Parallel()
			b := fcttest.Broker(t)
			whole := crashedOn(t, cleared(t, b), len(mixed()))
			whole.planned(0)
			whole.finish()
			want := whole.files()
			for _, m := range mismatches {
				t.Run(m.name, func(t *testing.T) {
					d := crashedOn(t, cleared(t, b), len(mixed()))
					if m.before != nil {
						m.before(d)
					}
					d.planned(0)
					options := d.options()
					options.Shared = shared
					w := d.start(options, func(step string) error {
						if step == "end" && m.late != nil {
							m.late(d)
						}
						return nil
					})
					state := d.await()
					err := w.stop()
					if !m.mendable() {
						if !errors.Is(StateError(state), store.ErrNotWritable) || !strings.Contains(state.Reason, d.path("cases/IMM/25/IMM-4-25.json")) {
							t.Fatalf("%s: %s, %v", state.Status, state.Reason, err)
						}
						return
					}
					if err != nil || state.Status != contract.Completed {
						t.Fatalf("%s: %s, %v", state.Status, state.Reason, err)
					}
					got := d.files()
					delete(got, "elsewhere")
					if diff := cmp.Diff(want, got); diff != "" {
						t.Error(diff)
					}
				})
			}
		})
	}
}

func TestAnOutputThatIsMovedAwayEndsTheRun(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	away := func(d *desk) { d.must(os.Rename(d.dir, d.dir+"-away")) }
	for name, move := range map[string]func(d *desk){
		"removed":             func(d *desk) { d.must(os.RemoveAll(d.dir)) },
		"moved":               away,
		"moved and made anew": func(d *desk) { away(d); d.must(os.Mkdir(d.dir, 0o750)) },
		"replaced by a file":  func(d *desk) { away(d); d.must(os.WriteFile(d.dir, nil, 0o600)) },
		"replaced by a link": func(d *desk) {
			away(d)
			d.must(errors.Join(os.Mkdir(d.dir+"-other", 0o750), os.Symlink(d.dir+"-other", d.dir)))
		},
	} {
		for _, at := range []string{"files", "lines", "end"} {
			t.Run(name+" before "+at, func(t *testing.T) {
				d := crashedOn(t, cleared(t, b), 4)
				d.planned(0)
				moved := false
				state, err := d.errored(func(step string) error {
					if step == at && !moved {
						moved = true
						move(d)
					}
					return nil
				})
				if !errors.Is(err, store.ErrNotWritable) || !strings.Contains(state.Reason, d.dir) || state.File != "" {
					t.Fatalf("%v; %s: %s; report %q", err, state.Status, state.Reason, state.File)
				}
				if info, err := os.Lstat(d.dir); err == nil && !info.IsDir() {
					d.must(os.Remove(d.dir))
				}
				d.running()
				got := d.left()
				want := undisturbedOn(t, cleared(t, b))
				if diff := cmp.Diff(withoutSummary(want.Files), withoutSummary(got.Files)); diff != "" || got.Report.Status != contract.Completed {
					t.Errorf("gone on: %s: %s", got.Report.Status, diff)
				}
			})
		}
	}
}

// A link that leads to the same folder again is as good as the folder.
func TestAnOutputThatWasMovedAndLinkedIsTheSame(t *testing.T) {
	t.Parallel()
	d := crashed(t, 4)
	d.planned(0)
	w := d.start(d.options(), func(step string) error {
		if step == "end" {
			return errors.Join(os.Rename(d.dir, d.dir+"-away"), os.Symlink(d.dir+"-away", d.dir))
		}
		return nil
	})
	if state := d.await(); state.Status != contract.Completed {
		t.Errorf("%s: %s", state.Status, state.Reason)
	}
	d.must(w.stop())
}
