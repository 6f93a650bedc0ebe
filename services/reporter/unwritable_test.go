package reporter

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/google/go-cmp/cmp"
)

// blockade puts something into the way of a file or folder of the output.
func (d *desk) blockade(name string, folder bool) {
	d.t.Helper()
	name = filepath.Join(d.dir, name)
	var err error
	if folder {
		err = os.MkdirAll(name, 0o755)
	} else {
		err = os.WriteFile(name, []byte("in the way"), 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func blockades() map[string]func(d *desk) {
	return map[string]func(d *desk){
		"cases is a file":             func(d *desk) { d.blockade("cases", false) },
		"a raw answer is a folder":    func(d *desk) { d.blockade("html_failed/run/IMM-3-25.html", true) },
		"the attempts are a folder":   func(d *desk) { d.blockade("attempts_run.ndjson", true) },
		"the audit is a folder":       func(d *desk) { d.blockade("audit_run.json", true) },
		"the page is a folder":        func(d *desk) { d.blockade("report-20260301T133000Z.html", true) },
		"the output folder is a file": func(d *desk) { d.replace() },
	}
}

// replace puts a file where the output folder was.
func (d *desk) replace() {
	d.t.Helper()
	if err := errors.Join(os.RemoveAll(d.dir), os.WriteFile(d.dir, nil, 0o644)); err != nil {
		d.t.Fatal(err)
	}
}

func TestAnOutputThatCannotBeWrittenEndsTheRun(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	b := fcttest.Broker(t)
	for name, block := range blockades() {
		t.Run(name, func(t *testing.T) {
			d := crashedOn(t, cleared(t, b), 0)
			d.planned(0)
			options := d.options()
			block(d)
			w := d.start(options, nil)
			state := d.await()
			err := <-w.ended
			if !errors.Is(err, store.ErrNotWritable) || !errors.Is(StateError(state), store.ErrNotWritable) || errors.Is(StateError(state), ErrLedger) {
				t.Fatalf("%v; %s: %s", err, state.Status, state.Reason)
			}
			if state.File != "" || state.Report == nil || state.Report.Status != contract.Errored {
				t.Errorf("report %+v in %q", state.Report, state.File)
			}
			d.dir = filepath.Join(t.TempDir(), "good")
			report, file, err := Rewrite(t.Context(), d.options(), d.manifest.RunID)
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != contract.Errored || report.Reason != state.Reason || report.Total != 8 || d.files()[file] == "" {
				t.Errorf("written again: %+v in %q", report, file)
			}
			if diff := cmp.Diff(withoutSummary(want.Files), withoutSummary(d.files())); diff != "" {
				t.Error(diff)
			}
			d.running()
			got := d.left()
			if got.Report.Status != contract.Completed || !maps.Equal(got.Collected, want.Collected) || !maps.Equal(got.Failed, want.Failed) {
				t.Errorf("gone on: %+v, collected %v, failed %v", got.Report, got.Collected, got.Failed)
			}
		})
	}
}

// withoutSummary leaves out the files that say how a run ended.
func withoutSummary(files map[string]string) map[string]string {
	rest := maps.Clone(files)
	maps.DeleteFunc(rest, func(name, _ string) bool {
		return strings.HasPrefix(name, "report-") || strings.HasPrefix(name, "checkpoint-")
	})
	return rest
}

func TestACheckpointFileThatCannotBeWrittenEndsAStop(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.blockade("checkpoint-run.json", true)
	d.pack(success(1))
	d.put(d.buckets.runs, d.manifest.RunID.HaltKey(), contract.Halt{Status: contract.Stopped, Reason: "signal", At: closed})
	state, err := d.errored(nil)
	if !errors.Is(err, store.ErrNotWritable) || !errors.Is(StateError(state), store.ErrNotWritable) || state.Report.Total != 1 {
		t.Errorf("%v; %s: %s", err, state.Status, state.Reason)
	}
}

func TestAnOutputThatFailsInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	d := crashed(t, 4)
	d.planned(0)
	if err := os.Rename(filepath.Join(d.dir, "cases"), filepath.Join(d.dir, "away")); err != nil {
		t.Fatal(err)
	}
	d.blockade("cases", false)
	state, err := d.errored(nil)
	if !errors.Is(err, store.ErrNotWritable) || state.Status != contract.Errored {
		t.Fatalf("%v; %s: %s", err, state.Status, state.Reason)
	}
	cases := filepath.Join(d.dir, "cases")
	if err := errors.Join(os.Remove(cases), os.Rename(filepath.Join(d.dir, "away"), cases)); err != nil {
		t.Fatal(err)
	}
	d.running()
	got := d.left()
	if diff := cmp.Diff(withoutSummary(want.Files), withoutSummary(got.Files)); diff != "" || got.Report.Status != contract.Completed {
		t.Errorf("%s, files %v: %s", got.Report.Status, slices.Sorted(maps.Keys(got.Files)), diff)
	}
}
