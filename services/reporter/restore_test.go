package reporter

import (
	"errors"
	"os"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/google/go-cmp/cmp"
)

// runNext runs another run of the same series, year and output, which collects number 20.
func (f *fixture) runNext(run contract.RunID) contract.State {
	f.t.Helper()
	other := *f
	other.manifest.RunID, other.manifest.Range = run, contract.Range{Start: 20, End: 20}
	other.put(f.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
	other.setRunning()
	other.publishEntries(fcttest.Success(20))
	other.publishPlanned(0)
	return other.runToEnd()
}

func records(files map[string]string) map[string]string {
	found := map[string]string{}
	for name, data := range files {
		if strings.HasPrefix(name, "cases/") {
			found[name] = data
		}
	}
	return found
}

func TestNextRunRestoresMissingRecords(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	const record = "cases/IMM/25/IMM-4-25.json"
	for name, damage := range map[string]func(f *fixture){
		"nothing":          func(*fixture) {},
		"record removed":   func(f *fixture) { f.must(os.Remove(f.path(record))) },
		"record truncated": func(f *fixture) { f.must(os.Truncate(f.path(record), 100)) },
		"record emptied":   func(f *fixture) { f.must(os.Truncate(f.path(record), 0)) },
		"all removed":      func(f *fixture) { f.must(os.RemoveAll(f.path("cases"))) },
		"two of one run": func(f *fixture) {
			f.must(errors.Join(os.Remove(f.path(record)), os.Remove(f.path("cases/IMM/25/IMM-8-25.json"))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newMixedFixtureOn(t, emptied(t, b), 0)
			f.publishPlanned(0)
			want := records(f.runToArtifacts().Files)
			damage(f)
			if state := f.runNext("next"); state.Status != contract.Completed {
				t.Fatalf("%s: %s", state.Status, state.Reason)
			}
			got := records(f.files())
			if got["cases/IMM/25/IMM-20-25.json"] == "" {
				t.Error("the next run's own record is missing")
			}
			delete(got, "cases/IMM/25/IMM-20-25.json")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnrestorableRecordDoesNotStopRun(t *testing.T) {
	t.Parallel()
	f := newMixedFixture(t, 0)
	f.publishPlanned(0)
	want := records(f.runToArtifacts().Files)
	f.put(f.buckets.collected, f.manifest.Case(30).Key(), contract.Collected{Outcome: contract.Success,
		RunID: "unknown", Size: 9})
	f.put(f.buckets.collected, f.manifest.Case(31).Key(), contract.Collected{Outcome: contract.Success, RunID: "run",
		Size: 9})
	f.obstruct("cases/IMM/25/IMM-32-25.json", false) // collected by a version that stored no size
	f.put(f.buckets.collected, f.manifest.Case(32).Key(), contract.Collected{Outcome: contract.Success,
		RunID: "unknown"})
	f.must(os.Remove(f.path("cases/IMM/25/IMM-4-25.json")))
	if state := f.runNext("next"); state.Status != contract.Completed {
		t.Fatalf("%s: %s", state.Status, state.Reason)
	}
	got := records(f.files())
	want["cases/IMM/25/IMM-32-25.json"], want["cases/IMM/25/IMM-20-25.json"] = "in the way",
		got["cases/IMM/25/IMM-20-25.json"]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRestore_FolderInPlaceOfRecord(t *testing.T) {
	t.Parallel()
	f := newMixedFixture(t, 0)
	f.publishPlanned(0)
	f.runToEnd()
	const record = "cases/IMM/25/IMM-4-25.json"
	f.must(os.Remove(f.path(record)))
	f.obstruct(record+"/in/it", true)
	other := *f
	other.manifest.RunID = "next"
	other.put(f.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
	other.setRunning()
	other.publishPlan(contract.Planned{Range: other.manifest.Range, Skipped: other.manifest.Range.Size()})
	state, err := other.runToError(nil)
	if !errors.Is(err, store.ErrNotWritable) || !strings.Contains(state.Reason, f.path(record)) {
		t.Errorf("%v; %s: %s", err, state.Status, state.Reason)
	}
	if info, err := os.Stat(f.path(record + "/in/it")); err != nil || !info.IsDir() {
		t.Errorf("what was in its place: %v", err)
	}
}
