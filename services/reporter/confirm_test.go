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

// keyCount is how many keys the bucket collected has, of any site and year.
func (d *desk) keyCount() int {
	d.t.Helper()
	keys, err := d.buckets.collected.Keys(d.t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		d.t.Fatal(err)
	}
	return len(keys)
}

// A single no-record at the end of a year is confirmed by one request, or stays unconfirmed.
func TestSingleNoRecordAtTheEndIsConfirmed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	d.packs(success(1), success(2), noRecord(3))
	d.planned(0)
	state := d.finish()
	if diff := cmp.Diff([][]contract.CaseID{{caseOf(2), caseOf(1)}}, d.court.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if state.Status != contract.Completed || state.Report.Unconfirmed != 0 || d.keyCount() != 3 {
		t.Errorf("%s: %d unconfirmed, %d keys", state.Status, state.Report.Unconfirmed, d.keyCount())
	}
}

// A no-record gets its key with the record that confirms it, also when a reporter is killed in between, and one that a run of an
// earlier version gave a key before loses it when it stays unconfirmed.
func TestKeysOfNoRecordsWaitForARecord(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	d.court.say(func(contract.CaseID) contract.Verdict { return contract.VerdictTransient })
	d.put(d.buckets.collected, caseOf(4).Key(), contract.Collected{Outcome: contract.NoRecord, Site: "court", RunID: d.manifest.RunID, At: began})
	w := d.start(d.options(), nil)
	d.pack(noRecord(1), noRecord(2))
	d.folded()
	if n := d.keyCount(); n != 1 {
		t.Errorf("%d keys before a record was shown, want the old one alone", n)
	}
	d.must(w.stop())
	late := success(3)
	late.StartedAt = began.Add(time.Minute)
	d.pack(late, noRecord(4))
	d.planned(0)
	state := d.finish()
	collected, _ := d.keys()
	if state.Report.Unconfirmed != 1 || len(collected) != 3 || collected[1].Outcome != contract.NoRecord || collected[4].Outcome != "" {
		t.Errorf("%s: %d unconfirmed, keys %v", state.Status, state.Report.Unconfirmed, collected)
	}
	d.writtenAgain(d.files())
	if changed, err := Reconcile(t.Context(), d.b, fcttest.Logger(t), false); err != nil || changed != 0 {
		t.Errorf("%d keys differ from the ledger, %v", changed, err)
	}
}

// A store of an earlier version holds keys of unconfirmed no-records; they are no sign of a ledger that lost messages.
func TestReconcileRemovesKeysOfUnconfirmedNoRecords(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	d.pack(noRecord(1), noRecord(2))
	d.planned(0)
	d.finish()
	for number := 1; number <= 2; number++ {
		d.put(d.buckets.collected, caseOf(number).Key(), contract.Collected{Outcome: contract.NoRecord, Site: "court", RunID: d.manifest.RunID, At: began})
	}
	if changed, err := Reconcile(t.Context(), d.b, fcttest.Logger(t), false); err != nil || changed != 2 || d.keyCount() != 0 {
		t.Errorf("%d changed, %d keys left, %v; want 2 removed", changed, d.keyCount(), err)
	}
}
