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
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/store"

	"github.com/google/go-cmp/cmp"
)

// obstruct puts a file or folder in the place of an output file.
func (f *fixture) obstruct(name string, folder bool) {
	f.t.Helper()
	name = filepath.Join(f.dir, name)
	var err error
	if folder {
		err = os.MkdirAll(name, 0o755)
	} else {
		err = os.WriteFile(name, []byte("in the way"), 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func obstructions() map[string]func(f *fixture) {
	return map[string]func(f *fixture){
		"cases is a file":             func(f *fixture) { f.obstruct("cases", false) },
		"a raw answer is a folder":    func(f *fixture) { f.obstruct("html_failed/run/IMM-3-25.html", true) },
		"the attempts are a folder":   func(f *fixture) { f.obstruct("attempts_run.ndjson", true) },
		"the audit is a folder":       func(f *fixture) { f.obstruct("audit_run.json", true) },
		"the page is a folder":        func(f *fixture) { f.obstruct("report-20260301T133000Z.html", true) },
		"the output folder is a file": func(f *fixture) { f.replaceOutput() },
	}
}

// replaceOutput replaces the output folder by a file.
func (f *fixture) replaceOutput() {
	f.t.Helper()
	if err := errors.Join(os.RemoveAll(f.dir), os.WriteFile(f.dir, nil, 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

func TestUnwritableOutputEndsRun(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	b := fcttest.Broker(t)
	for name, block := range obstructions() {
		t.Run(name, func(t *testing.T) {
			f := newMixedFixtureOn(t, emptied(t, b), 0)
			f.publishPlanned(0)
			options := f.options()
			block(f)
			w := f.startReporter(options, nil)
			state := f.awaitEnd()
			err := <-w.ended
			if !errors.Is(err, store.ErrNotWritable) || !errors.Is(StateError(state), store.ErrNotWritable) ||
				errors.Is(StateError(state), ledger.ErrMismatch) {
				t.Fatalf("%v; %s: %s", err, state.Status, state.Reason)
			}
			if state.File != "" || state.Report == nil || state.Report.Status != contract.Errored {
				t.Errorf("report %+v in %q", state.Report, state.File)
			}
			f.dir = filepath.Join(t.TempDir(), "good")
			report, file, err := Rewrite(t.Context(), f.options(), f.manifest.RunID)
			if err != nil {
				t.Fatal(err)
			}
			if report.Status != contract.Errored || report.Reason != state.Reason || report.Total != 8 ||
				f.files()[file] == "" {
				t.Errorf("written again: %+v in %q", report, file)
			}
			if diff := cmp.Diff(withoutEndFiles(want.Files), withoutEndFiles(f.files())); diff != "" {
				t.Error(diff)
			}
			f.setRunning()
			got := f.runToArtifacts()
			if got.Report.Status != contract.Completed || !maps.Equal(got.Collected, want.Collected) ||
				!maps.Equal(got.Failed, want.Failed) {
				t.Errorf("resumed: %+v, collected %v, failed %v", got.Report, got.Collected, got.Failed)
			}
		})
	}
}

// withoutEndFiles leaves out the reports and checkpoints.
func withoutEndFiles(files map[string]string) map[string]string {
	rest := maps.Clone(files)
	maps.DeleteFunc(rest, func(name, _ string) bool {
		return strings.HasPrefix(name, "report-") || strings.HasPrefix(name, "checkpoint-")
	})
	return rest
}

func TestUnwritableCheckpointFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.obstruct("checkpoint-run.json", true)
	f.publishEntries(fcttest.Success(1))
	f.put(f.buckets.runs, f.manifest.RunID.HaltKey(), contract.Halt{Status: contract.Stopped, Reason: "signal",
		At: endTime})
	state, err := f.runToError(nil)
	if !errors.Is(err, store.ErrNotWritable) || !errors.Is(StateError(state), store.ErrNotWritable) ||
		state.Report.Total != 1 {
		t.Errorf("%v; %s: %s", err, state.Status, state.Reason)
	}
}

func TestOutputFailureLosesNothing(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	f := newMixedFixture(t, 4)
	f.publishPlanned(0)
	if err := os.Rename(filepath.Join(f.dir, "cases"), filepath.Join(f.dir, "away")); err != nil {
		t.Fatal(err)
	}
	f.obstruct("cases", false)
	state, err := f.runToError(nil)
	if !errors.Is(err, store.ErrNotWritable) || state.Status != contract.Errored {
		t.Fatalf("%v; %s: %s", err, state.Status, state.Reason)
	}
	cases := filepath.Join(f.dir, "cases")
	if err := errors.Join(os.Remove(cases), os.Rename(filepath.Join(f.dir, "away"), cases)); err != nil {
		t.Fatal(err)
	}
	f.setRunning()
	got := f.runToArtifacts()
	if diff := cmp.Diff(withoutEndFiles(want.Files), withoutEndFiles(got.Files)); diff != "" ||
		got.Report.Status != contract.Completed {
		t.Errorf("%s, files %v: %s", got.Report.Status, slices.Sorted(maps.Keys(got.Files)), diff)
	}
}
