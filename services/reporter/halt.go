package reporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

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
	if w.tally.SafeStop == "" {
		return nil
	}
	return w.stop(ctx, contract.SafeStop, w.tally.SafeStop)
}

// stop halts the run, once.
func (w *worker) stop(ctx context.Context, status contract.Status, reason string) error {
	if w.halted {
		return nil
	}
	err := runs.Halt(ctx, w.runs, w.manifest.RunID, contract.Halt{Status: status, Reason: reason, At: w.Now().UTC()})
	w.halted = err == nil
	return err
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
			value, err = runs.Decode[contract.Collected](entry.Key(), entry.Value())
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
		status, reason := contract.Completed, ""
		if w.tally.SafeStop != "" && w.tally.Planned.Jobs > 0 { // a run that asks for nothing is not stopped from asking
			status, reason = contract.SafeStop, w.tally.SafeStop
		}
		// A run that was stopped or blocked leaves its doubts to its next round.
		if w.halt == nil || w.halt.Status == contract.SafeStop || w.tally.unconfirmed() < w.least(reason) {
			return w.conclude(ctx, status, reason)
		}
	}
	if w.tally.Gone != nil {
		if err := w.stop(ctx, contract.Blocked, w.block()); err != nil {
			return false, err
		}
	}
	if w.halt == nil || time.Since(w.looked) < haltInterval {
		return false, nil
	}
	w.looked = time.Now()
	late := !w.Now().Before(w.deadline)
	if !late {
		drained, err := w.drained(ctx)
		if err != nil || !drained {
			return false, err
		}
	}
	if w.tally.Gone != nil {
		return true, w.finish(ctx, contract.Blocked, w.tally.reason(w.block()))
	}
	if w.halt.Status == contract.Blocked && w.tally.Quiet >= leastDoubts && !w.unheard() {
		return false, w.doubt(ctx)
	}
	if w.halt.Status == contract.Errored { // no canary answers what is wrong with a key
		return true, w.finish(ctx, contract.Errored, w.halt.Reason)
	}
	return w.conclude(ctx, w.halt.Status, w.halt.Reason)
}

// block is what is known of the block that ends the run; its halt may have been written by something else.
func (w *worker) block() string {
	switch {
	case w.halt != nil && w.halt.Status == contract.Blocked:
		return w.halt.Reason
	case w.question.blocked != "":
		return w.question.blocked
	default:
		return w.tally.Gone.block()
	}
}

// least is how many unconfirmed no-records make a canary due before a run ends for this reason, which is empty when it is
// complete.
func (w *worker) least(reason string) int {
	if _, found := w.stretch(reason); found || reason == "" {
		return 1
	}
	return leastDoubts
}

// conclude finishes a run; false while it may not end yet.
func (w *worker) conclude(ctx context.Context, status contract.Status, reason string) (bool, error) {
	if !status.Resumable() {
		sure, err := w.sure(ctx, w.least(reason))
		switch blocked := w.question.blocked; {
		case err != nil:
			return false, err
		case sure:
		case blocked != "" && !w.unheard() && w.tally.Quiet >= leastDoubts:
			return false, w.doubt(ctx)
		case blocked != "" && !w.unheard(): // the row stays in doubt until the site may be asked again
			return true, w.finish(ctx, contract.Blocked, blocked)
		default:
			return false, nil
		}
	}
	if status == contract.SafeStop {
		var err error
		if reason, err = w.explained(ctx, reason); err != nil {
			return false, err
		}
	}
	return true, w.finish(ctx, status, joined(reason, w.question.why))
}

// joined are the reasons that are not empty.
func joined(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(reason string) bool { return reason == "" }), "; ")
}

// deadlineOf is when what is under way of a halted run is given up, by the monotonic clock.
func (w *worker) deadlineOf(halt contract.Halt) time.Time {
	end := halt.At.Add(w.FinalTimeout)
	if !halt.Deadline.IsZero() {
		end = halt.Deadline.Add(grace)
	}
	return delay.Until(w.Now(), end, end.Sub(halt.At))
}

// drained says that nothing of a halted run is under way any more. The order of the questions matters: an answer is
// stored before its fetcher leaves, and its outcome is in the ledger before the answer is gone.
func (w *worker) drained(ctx context.Context) (bool, error) {
	run := w.manifest.RunID
	err := w.Bus.Scan(ctx, bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{run.FetcherKey("*")}}, func(entry jetstream.KeyValueEntry) error {
		if w.quietFetchers.expired(entry.Key(), entry.Revision()) {
			return nil
		}
		return errEnough
	})
	if errors.Is(err, errEnough) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for fetchers of %s: %w", run, err)
	}
	answers, err := w.Bus.Subjects(ctx, contract.StreamAnswers, run.AnswerFilter())
	if err != nil || len(answers) > 0 {
		return false, err
	}
	last, err := w.ledger.last(ctx)
	return err == nil && w.tally.Sequence >= last, err
}
