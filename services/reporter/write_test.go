package reporter

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// loadedWorker returns a worker of the fixture's run that has loaded the run.
func (f *fixture) loadedWorker() *worker {
	f.t.Helper()
	w := &worker{Service: New(f.options()), stopwatch: &stopwatch{now: time.Now}, restored: new(bool)}
	f.must(w.load(f.t.Context(), f.manifest.RunID))
	f.t.Cleanup(func() { f.must(errors.Join(w.attemptsFile.Close(), w.releaseClaim())) })
	return w
}

// message returns a message of the run's ledger with these entries.
func (f *fixture) message(sequence uint64, size int, entries ...contract.Entry) []ledger.Message {
	for i := range entries {
		entries[i].CaseID = f.manifest.Case(entries[i].CaseID.Number)
	}
	return []ledger.Message{{Sequence: sequence, Entries: entries, Size: size}}
}

func TestWrite_OncePerInterval(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 100)
	var writes atomic.Int64
	w := f.startReporter(f.options(), func(step string) error {
		if step == "files" {
			writes.Add(1)
		}
		return nil
	})
	f.publishEntries(fcttest.Success(1))
	f.awaitFolded()
	began, before := time.Now(), writes.Load()
	for n := 2; n <= 100; n++ {
		f.publishEntries(fcttest.Success(n))
	}
	f.awaitFolded()
	if most := int64(time.Since(began)/writeInterval) + 1; writes.Load()-before > most {
		t.Errorf("%d writes in %v, want at most %d", writes.Load()-before, time.Since(began), most)
	}
	f.publishPlanned(0)
	if state := f.awaitEnd(); state.Status != contract.Completed {
		t.Errorf("%s: %q", state.Status, state.Reason)
	}
	f.must(w.stop())
}

func TestWrite_FirstAtOnceThenByMemory(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 100)
	w := f.loadedWorker()
	written := func() uint64 {
		point, err := w.loadCheckpoint(t.Context())
		f.must(err)
		return point.Tally.Sequence
	}
	for i, c := range []struct {
		size int
		want uint64 // the sequence of the checkpoint
	}{{100, 1}, {maxBatchBytes - 1, 1}, {1, 3}} {
		if i > 0 {
			w.unwritten.writtenAt = time.Now().Add(time.Hour) // the interval does not pass meanwhile
		}
		f.must(w.fold(t.Context(), f.message(uint64(i+1), c.size, fcttest.Success(i+1))))
		f.must(w.writeIfDue(t.Context()))
		if got := written(); got != c.want {
			t.Errorf("message %d: checkpoint of message %d, want %d", i+1, got, c.want)
		}
	}
	w.unwritten.writtenAt = time.Now().Add(-writeInterval)
	f.must(w.fold(t.Context(), f.message(4, 1, fcttest.Success(4))))
	f.must(w.writeIfDue(t.Context()))
	if got := written(); got != 4 {
		t.Errorf("after the interval: checkpoint of message %d, want 4", got)
	}
}

func TestSafeStop_HaltsBeforeWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 100, func(m *contract.Manifest) { m.SafeStopNoRecords = 3 })
	w := f.loadedWorker()
	w.unwritten.writtenAt = time.Now().Add(time.Hour)
	f.must(w.fold(t.Context(), f.message(1, 1, outcomesOf(1, 3, fcttest.NoRecord)...)))
	halt, err := runs.Get[contract.Halt](t.Context(), w.runs, f.manifest.RunID.HaltKey())
	if err != nil || halt.Status != contract.SafeStop {
		t.Errorf("%+v, %v", halt, err)
	}
	if _, err := w.runs.Get(t.Context(), f.manifest.RunID.CheckpointKey()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("checkpoint: %v", err)
	}
}

func TestEnd_WritesWithoutWaiting(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	w := f.loadedWorker()
	f.publishEntries(outcomesOf(1, 3, fcttest.Success)...)
	f.publishPlanned(0)
	last, err := w.ledger.Last(t.Context())
	f.must(err)
	w.unwritten.writtenAt = time.Now().Add(time.Hour)
	f.must(w.ledger.ReadTo(t.Context(), last, func(m ledger.Message) error {
		return w.fold(t.Context(), []ledger.Message{m})
	}))
	if done, err := w.endIfDue(t.Context()); !done || err != nil {
		t.Fatalf("%t, %v", done, err)
	}
	if state, err := w.state(t.Context()); err != nil || state.Status != contract.Completed {
		t.Errorf("%+v, %v", state, err)
	}
}

// The files of a run that ends by an unreadable ledger have all that was read of it.
func TestUnreadableLedger_WritesWhatWasRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 100)
	entries := outcomesOf(1, 30, fcttest.Success)
	for part := range slices.Chunk(entries, 3) {
		f.publishEntries(part...)
	}
	f.publish(f.manifest.RunID.OutcomeSubject(0), []byte("no pack"))
	state, err := f.runToError(nil)
	if !errors.Is(err, ledger.ErrMismatch) || state.Report == nil || state.Report.Total != len(entries) {
		t.Fatalf("%v, report %+v", err, state.Report)
	}
	if lines := strings.Count(f.files()["attempts_run.ndjson"], "\n"); lines != len(entries) {
		t.Errorf("%d lines of attempts for %d entries", lines, len(entries))
	}
}

// What a killed process had sent counts as sent in its round, written by the reporter or not.
func TestRequestsOfKilledRound_NotInNext(t *testing.T) {
	t.Parallel()
	for _, folded := range []int{0, 3} {
		f := newFixture(t, 100, func(m *contract.Manifest) { m.MaxRequests = 5 })
		f.publishEach(outcomesOf(1, folded, fcttest.Success)...)
		if folded > 0 {
			w := f.startReporter(f.options(), nil)
			f.awaitFolded()
			f.must(w.stop())
		}
		f.publishEach(outcomesOf(folded+1, 8, fcttest.Success)...)
		f.put(f.buckets.runs, f.manifest.RunID.StateKey(),
			contract.State{Status: contract.Running, At: fcttest.StartTime(), Round: 2})
		w := f.startReporter(f.options(), nil)
		f.awaitFolded()
		f.publishEach(outcomesOf(9, 12, fcttest.Success)...)
		f.awaitFolded()
		if _, err := f.buckets.runs.Get(t.Context(), f.manifest.RunID.HaltKey()); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("%d folded: halted after four requests of the round: %v", folded, err)
		}
		f.publishEntries(fcttest.Success(13))
		halt := awaitKey(f, f.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
		if halt.Status != contract.Stopped {
			t.Errorf("%d folded: %+v", folded, halt)
		}
		f.must(w.stop())
	}
}
