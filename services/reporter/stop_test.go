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

// noRecordLimit changes a manifest to year 23 with a limit on consecutive no-records.
func noRecordLimit(start, limit int) func(*contract.Manifest) {
	return func(m *contract.Manifest) { m.Year, m.Range.Start, m.SafeStopNoRecords = "23", start, limit }
}

// outcomesOf returns one entry for each number of a range.
func outcomesOf(from, to int, outcome func(int) contract.Entry) (entries []contract.Entry) {
	for n := from; n <= to; n++ {
		entries = append(entries, outcome(n))
	}
	return entries
}

// publishShuffled publishes entries in a shuffled order, up to 25 in a message.
func (f *fixture) publishShuffled(seed uint64, entries []contract.Entry) {
	f.t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	for part := range slices.Chunk(entries, 25) {
		f.publishEntries(part...)
	}
}

func TestNoRecordLimitStopsRunInAnyOrder(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for seed := range uint64(4) {
		f := newFixtureOn(t, emptied(t, b), 240, noRecordLimit(50, 100))
		f.publishShuffled(seed, slices.Concat(outcomesOf(50, 60, fcttest.Success), outcomesOf(61, 170, fcttest.NoRecord),
			outcomesOf(171, 180, fcttest.Failure)))
		state := f.runToEnd()
		if want := "100 consecutive no-record: IMM-61-23..IMM-160-23"; state.Status != contract.SafeStop ||
			state.Reason != want || state.Report.Total != 131 {
			t.Errorf("%s: %q of %d, want %q", state.Status, state.Reason, state.Report.Total, want)
		}
		stop := object(t, f.files()["checkpoint-run.json"], checkpointKeys)
		if stop["next_number"] != 181.0 || stop["status"] != "safe_stop" || stop["reason"] != state.Reason {
			t.Errorf("checkpoint %v", stop)
		}
	}
}

func TestNoRecordLimitWaitsForMissingNumber(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 240, noRecordLimit(50, 100))
	f.publishEntries(slices.Concat(outcomesOf(50, 60, fcttest.Success), outcomesOf(62, 200, fcttest.NoRecord))...)
	w := f.startReporter(f.options(), nil)
	f.awaitFolded()
	if _, err := f.buckets.runs.Get(t.Context(), f.manifest.RunID.HaltKey()); !errors.Is(err,
		jetstream.ErrKeyNotFound) {
		t.Errorf("halted before number 61 is known: %v", err)
	}
	f.publishEntries(fcttest.NoRecord(61))
	state := f.awaitEnd()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if want := "100 consecutive no-record: IMM-61-23..IMM-160-23"; state.Reason != want {
		t.Errorf("%q, want %q", state.Reason, want)
	}
}

func TestNoRecordLimitCountsEarlierRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20, noRecordLimit(1, 5))
	for n := 3; n <= 5; n++ {
		f.put(f.buckets.collected, f.manifest.Case(n).Key(),
			contract.Collected{Outcome: contract.NoRecord, RunID: "before"})
	}
	f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2), fcttest.NoRecord(6), fcttest.NoRecord(7))
	if state := f.runToEnd(); state.Reason != "5 consecutive no-record: IMM-2-23..IMM-6-23" ||
		state.Report.Skipped != 3 {
		t.Errorf("%s: %q, %d skipped", state.Status, state.Reason, state.Report.Skipped)
	}
}

func TestNoRecordLimitCountsOverlap(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20, noRecordLimit(1, 5))
	f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2), fcttest.NoRecord(4), fcttest.NoRecord(5), fcttest.NoRecord(6))
	w := f.startReporter(f.options(), nil)
	f.awaitFolded()
	f.put(f.buckets.collected, f.manifest.Case(3).Key(), contract.Collected{Outcome: contract.NoRecord,
		RunID: "overlapping"})
	state := f.awaitEnd()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	if state.Reason != "5 consecutive no-record: IMM-2-23..IMM-6-23" {
		t.Errorf("%s: %q", state.Status, state.Reason)
	}
}

func TestFailureLimitStopsRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20, func(m *contract.Manifest) { m.SafeStopFails = 3 })
	f.publishPlanned(0)
	f.publishEach(fcttest.Failure(1), fcttest.Failure(2), fcttest.Success(3), fcttest.Failure(9), fcttest.Failure(4), fcttest.Failure(9), fcttest.Failure(7), fcttest.Success(8))
	state := f.runToEnd()
	if state.Status != contract.SafeStop || state.Reason != "3 consecutive failed, the last was IMM-7-25" ||
		state.Report.Total != 7 {
		t.Errorf("%s: %q, total %d", state.Status, state.Reason, state.Report.Total)
	}
}

func TestLimitReachedAtEndStopsNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*contract.Manifest)
		outcome func(int) contract.Entry
	}{
		"no-records": {func(m *contract.Manifest) { m.SafeStopNoRecords = 4 }, fcttest.NoRecord},
		"failures":   {func(m *contract.Manifest) { m.SafeStopFails = 4 }, fcttest.Failure},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 6, c.change)
			f.publishPlanned(0)
			f.publishEach(slices.Concat(outcomesOf(1, 2, fcttest.Success), outcomesOf(3, 6, c.outcome))...)
			if state := f.runToEnd(); state.Status != contract.Completed || state.Reason != "" ||
				state.Report.Total != 6 {
				t.Errorf("%s: %q, total %d", state.Status, state.Reason, state.Report.Total)
			}
		})
	}
}

func TestFirstHaltCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20, func(m *contract.Manifest) { m.SafeStopNoRecords = 3 })
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: endTime})
	f.publishEntries(outcomesOf(1, 5, fcttest.NoRecord)...)
	if state := f.runToEnd(); state.Status != contract.Stopped || state.Reason != "signal" ||
		state.Report.NoRecord != 5 {
		t.Errorf("%s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

func (f *fixture) putHalt(halt contract.Halt) {
	f.t.Helper()
	f.put(f.buckets.runs, f.manifest.RunID.HaltKey(), halt)
}

// timeHaltedRun runs a reporter with the real clock on a halted run, and returns how long the run
// took to end. It calls meanwhile with a function that waits until the reporter has checked the run
// several times without ending it.
func (f *fixture) timeHaltedRun(meanwhile func(awaitChecks func())) (contract.State, time.Duration) {
	f.t.Helper()
	options := f.options()
	checks := make(chan struct{})
	options.Now = func() time.Time { // called by each check of a halted run
		select {
		case checks <- struct{}{}:
		default:
		}
		return time.Now()
	}
	ends, err := f.buckets.runs.Watch(f.t.Context(), f.manifest.RunID.StateKey(), jetstream.UpdatesOnly())
	f.must(err)
	defer func() { f.must(ends.Stop()) }()
	began := time.Now()
	w := f.startReporter(options, nil)
	meanwhile(func() {
		for range 8 { // the end of a run calls the clock a few more times
			select {
			case <-checks:
			case entry := <-ends.Updates():
				f.t.Errorf("ended too early: %s", entry.Value())
				return
			}
		}
	})
	state := f.awaitEnd()
	took := time.Since(began)
	f.must(w.stop())
	return state, took
}

func TestHaltedIdleRunEndsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20)
	f.publishEntries(fcttest.Success(1))
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(),
		Deadline: time.Now().Add(time.Hour)})
	state, took := f.timeHaltedRun(func(func()) {})
	if state.Status != contract.Stopped || state.Reason != "signal" || state.Report.Succeeded != 1 ||
		took > testTimeout {
		t.Errorf("%s: %q, %d succeeded after %v", state.Status, state.Reason, state.Report.Succeeded, took)
	}
}

func TestHaltDeadlineDropsStuckFetcher(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20)
	f.publishEntries(fcttest.Success(1))
	f.put(f.buckets.fetchers, f.manifest.RunID.FetcherKey("one"), contract.Presence{At: time.Now()})
	deadline := time.Now().Add(700 * time.Millisecond)
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(), Deadline: deadline})
	state, _ := f.timeHaltedRun(func(func()) {})
	if late := state.At.Sub(deadline); state.Status != contract.Stopped || state.Report.Succeeded != 1 || late < 0 ||
		late > testTimeout {
		t.Errorf("%s, %d succeeded, %v after the deadline", state.Status, state.Report.Succeeded, late)
	}
}

func TestHaltedRunDrains(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(f *fixture) (release func()){
		"a fetcher": func(f *fixture) func() {
			key := f.manifest.RunID.FetcherKey("one")
			f.put(f.buckets.fetchers, key, contract.Presence{At: time.Now()})
			return func() { f.must(f.buckets.fetchers.Delete(f.t.Context(), key)) }
		},
		"an answer": func(f *fixture) func() {
			f.publish(f.manifest.RunID.AnswerSubject(0), []byte("not classified yet"))
			return func() {
				answers, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamAnswers)
				f.must(err)
				f.must(answers.Purge(f.t.Context()))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 20)
			f.put(f.buckets.fetchers, "other.one", contract.Presence{At: time.Now()})
			f.publish("answer.other.0", nil)
			release := hold(f)
			f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(),
				Deadline: time.Now().Add(time.Hour)})
			state, took := f.timeHaltedRun(func(awaitChecks func()) {
				f.publishEach(outcomesOf(1, 5, fcttest.Success)...)
				f.awaitFolded()
				awaitChecks()
				release()
			})
			if state.Status != contract.Stopped || state.Report.Succeeded != 5 || took > testTimeout {
				t.Errorf("%s, %d succeeded after %v", state.Status, state.Report.Succeeded, took)
			}
		})
	}
}

// must stops the test on an error.
func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestHaltWithoutDeadlineUsesFinalTimeout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20)
	f.put(f.buckets.fetchers, f.manifest.RunID.FetcherKey("one"), contract.Presence{At: time.Now()})
	f.putHalt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: endTime.Add(-time.Minute)})
	options := f.options()
	options.FinalTimeout = time.Minute
	w := f.startReporter(options, nil)
	if state := f.awaitEnd(); state.Status != contract.Blocked {
		t.Errorf("%s", state.Status)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

func TestDeletedHaltStopsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	fetcher := f.manifest.RunID.FetcherKey("one")
	f.put(f.buckets.fetchers, fetcher, contract.Presence{At: time.Now()})
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: time.Now(),
		Deadline: time.Now().Add(time.Hour)})
	state, _ := f.timeHaltedRun(func(awaitChecks func()) {
		awaitChecks()
		f.must(f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()))
		for n := 1; n <= 8; n++ { // the reporter has read the deletion when these are folded
			f.publishEntries(fcttest.Success(n))
			f.awaitFolded()
		}
		f.must(f.buckets.fetchers.Delete(t.Context(), fetcher))
		for n, left := 1, time.Now(); time.Since(left) < 5*haltInterval; n++ {
			f.publishEntries(fcttest.Attempt(9, n, contract.VerdictTransient, ""))
			f.awaitFolded()
		}
		f.publishEntries(fcttest.Success(9))
		f.publishPlanned(0)
	})
	if state.Status != contract.Completed || state.Report.Total != 9 {
		t.Errorf("%s, total %d", state.Status, state.Report.Total)
	}
}
