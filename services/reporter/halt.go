package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// grace is what the last outcomes of a halted run get beyond its deadline to be stored and folded.
const grace = 300 * time.Millisecond

// decided is the outcome of a number as the safe stop counts it: this run's own, or the one because of which
// the number is left out.
func (w *worker) decided(number int) contract.Outcome {
	if own := w.tally.Outcomes.get(number); own != "" {
		return own
	}
	return w.known.get(number)
}

// safeStop halts the run when a limit of the manifest is reached. The first halt of a run counts, whoever
// wrote it.
func (w *worker) safeStop(ctx context.Context) error {
	if err := w.count(ctx); err != nil {
		return err
	}
	if w.tally.SafeStop == "" || w.halted {
		return nil
	}
	data, err := json.Marshal(contract.Halt{Status: contract.SafeStop, Reason: w.tally.SafeStop, At: w.Now().UTC()})
	if err != nil {
		return fmt.Errorf("halting %s: %w", w.manifest.RunID, err)
	}
	_, err = w.runs.Create(ctx, w.manifest.RunID.HaltKey(), data)
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("halting %s: %w", w.manifest.RunID, err)
	}
	w.halted = true
	return nil
}

// count goes on with the count in number order. It begins when the range is known: the search for the bound asks for
// numbers above it, and those stop nothing.
func (w *worker) count(ctx context.Context) error {
	if w.manifest.Searching() {
		var err error
		if w.manifest, err = readManifest(ctx, w.runs, w.manifest.RunID); err != nil || w.manifest.Searching() {
			return err
		}
	}
	if stretch, found := w.numbers.walk(w.manifest, w.decided); found && w.tally.SafeStop == "" {
		w.tally.SafeStop = noRecords(w.manifest, stretch)
	}
	return nil
}

// lookBehind asks whether the number at which the count in number order stands was collected by a run that
// worked at the same time: the generator then left it out after this worker had learned what to expect.
func (w *worker) lookBehind(ctx context.Context) error {
	for w.manifest.SafeStopNoRecords > 0 && w.numbers.next <= min(w.manifest.Range.End, w.tally.Outcomes.highest()) {
		entry, err := w.collected.Get(ctx, w.manifest.Case(w.numbers.next).Key())
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		var value contract.Collected
		if err == nil {
			err = json.Unmarshal(entry.Value(), &value)
		}
		if err != nil {
			return fmt.Errorf("looking for %s: %w", w.manifest.Case(w.numbers.next), err)
		}
		before := w.numbers.next
		w.learn(before, value)
		if err := w.safeStop(ctx); err != nil {
			return err
		}
		if w.numbers.next == before {
			return nil
		}
	}
	return nil
}

// over says whether the run has ended, and ends it.
func (w *worker) over(ctx context.Context) (bool, error) {
	if w.tally.complete() {
		if w.tally.SafeStop != "" && w.tally.Planned.Jobs > 0 { // a run that asks for nothing is not stopped from asking
			return true, w.conclude(ctx, contract.SafeStop, w.tally.SafeStop)
		}
		return true, w.finish(ctx, contract.Completed, "")
	}
	if w.halt == nil || time.Since(w.looked) < haltInterval {
		return false, nil
	}
	w.looked = time.Now()
	late := !w.Now().Before(w.deadline())
	if !late {
		drained, err := w.drained(ctx)
		if err != nil || !drained {
			return false, err
		}
	}
	return true, w.conclude(ctx, w.halt.Status, w.halt.Reason)
}

// conclude finishes a run that was stopped.
func (w *worker) conclude(ctx context.Context, status contract.Status, reason string) error {
	if status == contract.SafeStop {
		var err error
		if reason, err = w.explained(ctx, reason); err != nil {
			return err
		}
	}
	return w.finish(ctx, status, reason)
}

func (w *worker) deadline() time.Time {
	if w.halt.Deadline.IsZero() {
		return w.halt.At.Add(w.FinalTimeout)
	}
	return w.halt.Deadline.Add(grace)
}

// drained says that nothing of a halted run is under way any more. The order of the questions matters: an answer is
// stored before its fetcher leaves, and its outcome is in the ledger before the answer is gone.
func (w *worker) drained(ctx context.Context) (bool, error) {
	run := w.manifest.RunID
	fetchers, err := w.fetchers.ListKeysFiltered(ctx, string(run)+".*")
	if err != nil {
		return false, fmt.Errorf("looking for fetchers of %s: %w", run, err)
	}
	busy := false
	for range fetchers.Keys() {
		busy = true
	}
	if busy {
		return false, nil
	}
	answers, err := w.Bus.Subjects(ctx, contract.StreamAnswers, run.AnswerFilter())
	if err != nil || len(answers) > 0 {
		return false, err
	}
	last, err := w.ledger.last(ctx)
	return err == nil && w.tally.Sequence >= last, err
}
