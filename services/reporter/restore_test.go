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

// next is a run of the same series and year on the desk's output, which collects number 20.
func (d *desk) next() contract.State {
	d.t.Helper()
	other := *d
	other.manifest.RunID, other.manifest.Range = "next", contract.Range{Start: 20, End: 20}
	other.put(d.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
	other.running()
	other.pack(success(20))
	other.planned(0)
	return other.finish()
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

func TestTheNextRunRestoresMissingRecords(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	const record = "cases/IMM/25/IMM-4-25.json"
	for name, spoil := range map[string]func(d *desk){
		"nothing":          func(*desk) {},
		"record removed":   func(d *desk) { d.must(os.Remove(d.path(record))) },
		"record truncated": func(d *desk) { d.must(os.Truncate(d.path(record), 100)) },
		"record emptied":   func(d *desk) { d.must(os.Truncate(d.path(record), 0)) },
		"all removed":      func(d *desk) { d.must(os.RemoveAll(d.path("cases"))) },
		"two of one run": func(d *desk) {
			d.must(errors.Join(os.Remove(d.path(record)), os.Remove(d.path("cases/IMM/25/IMM-8-25.json"))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := crashedOn(t, cleared(t, b), 0)
			d.planned(0)
			want := records(d.left().Files)
			spoil(d)
			if state := d.next(); state.Status != contract.Completed {
				t.Fatalf("%s: %s", state.Status, state.Reason)
			}
			got := records(d.files())
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

func TestARecordThatCannotBeRestoredStopsNothingElse(t *testing.T) {
	t.Parallel()
	d := crashed(t, 0)
	d.planned(0)
	want := records(d.left().Files)
	d.put(d.buckets.collected, d.manifest.Case(30).Key(), contract.Collected{Outcome: contract.Success, RunID: "unknown", Size: 9})
	d.put(d.buckets.collected, d.manifest.Case(31).Key(), contract.Collected{Outcome: contract.Success, RunID: "run", Size: 9})
	d.blockade("cases/IMM/25/IMM-32-25.json", false) // collected by a version that noted no size
	d.put(d.buckets.collected, d.manifest.Case(32).Key(), contract.Collected{Outcome: contract.Success, RunID: "unknown"})
	d.must(os.Remove(d.path("cases/IMM/25/IMM-4-25.json")))
	if state := d.next(); state.Status != contract.Completed {
		t.Fatalf("%s: %s", state.Status, state.Reason)
	}
	got := records(d.files())
	want["cases/IMM/25/IMM-32-25.json"], want["cases/IMM/25/IMM-20-25.json"] = "in the way", got["cases/IMM/25/IMM-20-25.json"]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestARecordWhosePlaceIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	d := crashed(t, 0)
	d.planned(0)
	d.finish()
	const record = "cases/IMM/25/IMM-4-25.json"
	d.must(os.Remove(d.path(record)))
	d.blockade(record+"/in/it", true)
	other := *d
	other.manifest.RunID = "next"
	other.put(d.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
	other.running()
	other.plan(contract.Planned{Range: other.manifest.Range, Skipped: other.manifest.Range.Size()})
	state, err := other.errored(nil)
	if !errors.Is(err, store.ErrNotWritable) || !strings.Contains(state.Reason, d.path(record)) {
		t.Errorf("%v; %s: %s", err, state.Status, state.Reason)
	}
	if info, err := os.Stat(d.path(record + "/in/it")); err != nil || !info.IsDir() {
		t.Errorf("what was in its place: %v", err)
	}
}
