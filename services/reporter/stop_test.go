package reporter

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go/jetstream"
)

// noRecordLimit makes a run of the year 23 with a limit on no-records in a row.
func noRecordLimit(start, limit int) func(*contract.Manifest) {
	return func(m *contract.Manifest) { m.Year, m.Range.Start, m.SafeStopNoRecords = "23", start, limit }
}

// outcomesOf are entries for the numbers from one to another.
func outcomesOf(from, to int, outcome func(int) contract.Entry) (entries []contract.Entry) {
	for n := from; n <= to; n++ {
		entries = append(entries, outcome(n))
	}
	return entries
}

// scattered writes entries into the ledger in a shuffled order, some together.
func (d *desk) scattered(seed uint64, entries []contract.Entry) {
	d.t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for part := range slices.Chunk(entries, 25) {
		d.pack(part...)
	}
}

func TestNoRecordsInARowStopTheRunWhateverTheOrderOfOutcomes(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for seed := range uint64(4) {
		d := deskOn(t, cleared(t, b), 240, noRecordLimit(50, 100))
		d.scattered(seed, slices.Concat(outcomesOf(50, 60, success), outcomesOf(61, 170, noRecord), outcomesOf(171, 180, failure)))
		state := d.finish()
		if want := "100 consecutive no-record: IMM-61-23..IMM-160-23"; state.Status != contract.SafeStop || state.Reason != want || state.Report.Total != 131 {
			t.Errorf("%s: %q of %d, want %q", state.Status, state.Reason, state.Report.Total, want)
		}
		stop := object(t, d.files()["checkpoint-run.json"], checkpointKeys)
		if stop["next_number"] != 181.0 || stop["status"] != "safe_stop" || stop["reason"] != state.Reason {
			t.Errorf("checkpoint %v", stop)
		}
	}
}

func TestANumberThatIsMissingHoldsTheCountBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 240, noRecordLimit(50, 100))
	d.pack(slices.Concat(outcomesOf(50, 60, success), outcomesOf(62, 200, noRecord))...)
	w := d.start(d.options(), nil)
	d.folded()
	if _, err := d.buckets.runs.Get(t.Context(), d.manifest.RunID.HaltKey()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("halted before number 61 is known: %v", err)
	}
	d.pack(noRecord(61))
	state := d.await()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if want := "100 consecutive no-record: IMM-61-23..IMM-160-23"; state.Reason != want {
		t.Errorf("%q, want %q", state.Reason, want)
	}
}

func TestWhatOtherRunsCollectedCountsInARow(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20, noRecordLimit(1, 5))
	for n := 3; n <= 5; n++ {
		d.put(d.buckets.collected, d.manifest.Case(n).Key(), contract.Collected{Outcome: contract.NoRecord, RunID: "before"})
	}
	d.pack(success(1), noRecord(2), noRecord(6), noRecord(7))
	if state := d.finish(); state.Reason != "5 consecutive no-record: IMM-2-23..IMM-6-23" || state.Report.Skipped != 3 {
		t.Errorf("%s: %q, %d skipped", state.Status, state.Reason, state.Report.Skipped)
	}
}

func TestWhatAnotherRunCollectsMeanwhileCountsInARow(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20, noRecordLimit(1, 5))
	d.pack(success(1), noRecord(2), noRecord(4), noRecord(5), noRecord(6))
	w := d.start(d.options(), nil)
	d.folded()
	d.put(d.buckets.collected, d.manifest.Case(3).Key(), contract.Collected{Outcome: contract.NoRecord, RunID: "beside"})
	state := d.await()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if state.Reason != "5 consecutive no-record: IMM-2-23..IMM-6-23" {
		t.Errorf("%s: %q", state.Status, state.Reason)
	}
}

func TestFailuresInARowStopTheRun(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20, func(m *contract.Manifest) { m.SafeStopFails = 3 })
	d.planned(0)
	d.packs(failure(1), failure(2), success(3), failure(9), failure(4), failure(9), failure(7), success(8))
	state := d.finish()
	if state.Status != contract.SafeStop || state.Reason != "3 consecutive failed, the last was IMM-7-25" || state.Report.Total != 7 {
		t.Errorf("%s: %q, total %d", state.Status, state.Reason, state.Report.Total)
	}
}

func TestALimitReachedAtTheEndStopsNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*contract.Manifest)
		outcome func(int) contract.Entry
	}{
		"no-records": {func(m *contract.Manifest) { m.SafeStopNoRecords = 4 }, noRecord},
		"failures":   {func(m *contract.Manifest) { m.SafeStopFails = 4 }, failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 6, c.change)
			d.planned(0)
			d.packs(slices.Concat(outcomesOf(1, 2, success), outcomesOf(3, 6, c.outcome))...)
			if state := d.finish(); state.Status != contract.Completed || state.Reason != "" || state.Report.Total != 6 {
				t.Errorf("%s: %q, total %d", state.Status, state.Reason, state.Report.Total)
			}
		})
	}
}

func TestTheFirstHaltCounts(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20, func(m *contract.Manifest) { m.SafeStopNoRecords = 3 })
	d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: closed})
	d.pack(outcomesOf(1, 5, noRecord)...)
	if state := d.finish(); state.Status != contract.Stopped || state.Reason != "signal" || state.Report.NoRecord != 5 {
		t.Errorf("%s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

func (d *desk) halt(halt contract.Halt) {
	d.t.Helper()
	d.put(d.buckets.runs, d.manifest.RunID.HaltKey(), halt)
}

// watched runs a reporter with the real clock on a halted run, and returns how long the run took to end. Meanwhile is
// called with a function that waits until the reporter has looked at the run several times, which must not end it.
func (d *desk) watched(meanwhile func(looked func())) (contract.State, time.Duration) {
	d.t.Helper()
	options := d.options()
	looks := make(chan struct{})
	options.Now = func() time.Time { // asked at each look at a halted run
		select {
		case looks <- struct{}{}:
		default:
		}
		return time.Now()
	}
	ends, err := d.buckets.runs.Watch(d.t.Context(), d.manifest.RunID.StateKey(), jetstream.UpdatesOnly())
	d.must(err)
	defer func() { d.must(ends.Stop()) }()
	began := time.Now()
	w := d.start(options, nil)
	meanwhile(func() {
		for range 8 { // a run that ends asks the clock a few times more
			select {
			case <-looks:
			case entry := <-ends.Updates():
				d.t.Errorf("ended too early: %s", entry.Value())
				return
			}
		}
	})
	state := d.await()
	took := time.Since(began)
	d.must(w.stop())
	return state, took
}

func TestAHaltedRunWithNobodyAtWorkEndsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20)
	d.pack(success(1))
	d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(), Deadline: time.Now().Add(time.Hour)})
	state, took := d.watched(func(func()) {})
	if state.Status != contract.Stopped || state.Reason != "signal" || state.Report.Succeeded != 1 || took > patience {
		t.Errorf("%s: %q, %d succeeded after %v", state.Status, state.Reason, state.Report.Succeeded, took)
	}
}

func TestAFetcherThatNeverLeavesIsGivenUpAtTheDeadline(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20)
	d.pack(success(1))
	d.put(d.buckets.fetchers, d.manifest.RunID.FetcherKey("one"), contract.Presence{At: time.Now()})
	deadline := time.Now().Add(700 * time.Millisecond)
	d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(), Deadline: deadline})
	state, _ := d.watched(func(func()) {})
	if late := state.At.Sub(deadline); state.Status != contract.Stopped || state.Report.Succeeded != 1 || late < 0 || late > patience {
		t.Errorf("%s, %d succeeded, %v after the deadline", state.Status, state.Report.Succeeded, late)
	}
}

func TestAHaltedRunWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(d *desk) (let func()){
		"a fetcher": func(d *desk) func() {
			key := d.manifest.RunID.FetcherKey("one")
			d.put(d.buckets.fetchers, key, contract.Presence{At: time.Now()})
			return func() { d.must(d.buckets.fetchers.Delete(d.t.Context(), key)) }
		},
		"an answer": func(d *desk) func() {
			d.publish(d.manifest.RunID.AnswerSubject(0), []byte("not classified yet"))
			return func() {
				answers, err := d.b.JetStream().Stream(d.t.Context(), contract.StreamAnswers)
				d.must(err)
				d.must(answers.Purge(d.t.Context()))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 20)
			d.put(d.buckets.fetchers, "other.one", contract.Presence{At: time.Now()})
			d.publish("answer.other.0", nil)
			let := hold(d)
			d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(), Deadline: time.Now().Add(time.Hour)})
			state, took := d.watched(func(looked func()) {
				d.packs(outcomesOf(1, 5, success)...)
				d.folded()
				looked()
				let()
			})
			if state.Status != contract.Stopped || state.Report.Succeeded != 5 || took > patience {
				t.Errorf("%s, %d succeeded after %v", state.Status, state.Report.Succeeded, took)
			}
		})
	}
}

// must stops the test on an error.
func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestAHaltWithoutADeadlineWaitsForItsTimeout(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20)
	d.put(d.buckets.fetchers, d.manifest.RunID.FetcherKey("one"), contract.Presence{At: time.Now()})
	d.halt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: closed.Add(-time.Minute)})
	options := d.options()
	options.FinalTimeout = time.Minute
	w := d.start(options, nil)
	if state := d.await(); state.Status != contract.Blocked {
		t.Errorf("%s", state.Status)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

func TestAHaltThatIsTakenBackStopsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 9)
	fetcher := d.manifest.RunID.FetcherKey("one")
	d.put(d.buckets.fetchers, fetcher, contract.Presence{At: time.Now()})
	d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(), Deadline: time.Now().Add(time.Hour)})
	state, _ := d.watched(func(looked func()) {
		looked()
		d.must(d.buckets.runs.Delete(t.Context(), d.manifest.RunID.HaltKey()))
		for n := 1; n <= 8; n++ { // by the end of it the reporter knows
			d.pack(success(n))
			d.folded()
		}
		d.must(d.buckets.fetchers.Delete(t.Context(), fetcher))
		for n, left := 1, time.Now(); time.Since(left) < 5*haltInterval; n++ {
			d.pack(attempt(9, n, contract.VerdictTransient, ""))
			d.folded()
		}
		d.pack(success(9))
		d.planned(0)
	})
	if state.Status != contract.Completed || state.Report.Total != 9 {
		t.Errorf("%s, total %d", state.Status, state.Report.Total)
	}
}
