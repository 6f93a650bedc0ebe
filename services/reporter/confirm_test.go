package reporter

import (
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// countCollected counts the keys of the bucket collected, of any site and year.
func (f *fixture) countCollected() int {
	f.t.Helper()
	keys, err := f.buckets.collected.Keys(f.t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		f.t.Fatal(err)
	}
	return len(keys)
}

// One request confirms a single no-record at the end of a year.
func TestSingleTrailingNoRecordIsConfirmed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	f.publishEach(fcttest.Success(1), fcttest.Success(2), fcttest.NoRecord(3))
	f.publishPlanned(0)
	state := f.runToEnd()
	if diff := cmp.Diff([][]contract.CaseID{{fcttest.CaseOf(2), fcttest.CaseOf(1)}}, f.site.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if state.Status != contract.Completed || state.Report.Unconfirmed != 0 || f.countCollected() != 3 {
		t.Errorf("%s: %d unconfirmed, %d keys", state.Status, state.Report.Unconfirmed, f.countCollected())
	}
}

// A no-record gets its key with the record that confirms it, also when a reporter is killed in
// between. A key that an earlier version wrote is deleted if the no-record stays unconfirmed.
func TestNoRecordKeysAwaitConfirmation(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 4)
	f.site.setVerdict(func(contract.CaseID) contract.Verdict { return contract.VerdictTransient })
	f.put(f.buckets.collected, fcttest.CaseOf(4).Key(), contract.Collected{Outcome: contract.NoRecord, Site: "court",
		RunID: f.manifest.RunID, At: fcttest.StartTime()})
	w := f.startReporter(f.options(), nil)
	f.publishEntries(fcttest.NoRecord(1), fcttest.NoRecord(2))
	f.awaitFolded()
	if n := f.countCollected(); n != 1 {
		t.Errorf("%d keys before a record was shown, want the old one alone", n)
	}
	f.must(w.stop())
	late := fcttest.Success(3)
	late.StartedAt = fcttest.StartTime().Add(time.Minute)
	f.publishEntries(late, fcttest.NoRecord(4))
	f.publishPlanned(0)
	state := f.runToEnd()
	collected, _ := f.keys()
	if state.Report.Unconfirmed != 1 || len(collected) != 3 || collected[1].Outcome != contract.NoRecord ||
		collected[4].Outcome != "" {
		t.Errorf("%s: %d unconfirmed, keys %v", state.Status, state.Report.Unconfirmed, collected)
	}
	f.assertRewritten(f.files())
	if changed, err := Reconcile(t.Context(), f.bus, fcttest.Logger(t), false); err != nil || changed != 0 {
		t.Errorf("%d keys differ from the ledger, %v", changed, err)
	}
}

// A store of an earlier version has keys of unconfirmed no-records, which do not mean that the
// ledger lost messages.
func TestReconcileDeletesUnconfirmedKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2)
	f.publishEntries(fcttest.NoRecord(1), fcttest.NoRecord(2))
	f.publishPlanned(0)
	f.runToEnd()
	for number := 1; number <= 2; number++ {
		f.put(f.buckets.collected, fcttest.CaseOf(number).Key(), contract.Collected{Outcome: contract.NoRecord, Site: "court",
			RunID: f.manifest.RunID, At: fcttest.StartTime()})
	}
	if changed, err := Reconcile(t.Context(), f.bus, fcttest.Logger(t), false); err != nil || changed != 2 ||
		f.countCollected() != 0 {
		t.Errorf("%d changed, %d keys left, %v; want 2 removed", changed, f.countCollected(), err)
	}
}
