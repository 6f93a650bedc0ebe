package reporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

// deadlineGrace is the time after the deadline of a halted run in which its last outcomes may still
// be stored and folded.
const deadlineGrace = 300 * time.Millisecond

// outcomeOf returns the outcome of a number as the safe stop counts it: this run's, or that of the
// run which collected the number before.
func (w *worker) outcomeOf(number int) contract.Outcome {
	if own := w.tally.Outcomes.Get(number); own != "" {
		return own
	}
	return w.collectedElsewhere.Get(number)
}

// safeStop halts the run when a limit of the manifest is reached. The first halt of a run counts,
// whichever component wrote it.
func (w *worker) safeStop(ctx context.Context) error {
	if err := w.countStreak(ctx); err != nil {
		return err
	}
	if w.tally.SafeStop == "" {
		return nil
	}
	return w.haltRun(ctx, contract.SafeStop, w.tally.SafeStop)
}

// haltRun halts the run, once.
func (w *worker) haltRun(ctx context.Context, status contract.Status, reason string) error {
	if w.haltWritten {
		return nil
	}
	err := runs.Halt(ctx, w.runs, w.manifest.RunID, contract.Halt{Status: status, Reason: reason, At: w.Now().UTC()})
	w.haltWritten = err == nil
	return err
}

// countStreak continues the streak of no-records in number order. It starts when the range is
// known: a search requests numbers above the bound, and those stop nothing.
func (w *worker) countStreak(ctx context.Context) error {
	if w.manifest.Searching() {
		var err error
		if w.manifest, err = readManifest(ctx, w.runs, w.manifest.RunID); err != nil || w.manifest.Searching() {
			return err
		}
	}
	if stretch, found := w.streak.Walk(w.manifest, w.outcomeOf); found && w.tally.SafeStop == "" {
		w.tally.SafeStop = fold.NoRecordsReason(w.manifest, stretch)
	}
	return nil
}

// readOverlapKeys checks whether the number at which the streak waits was collected by an
// overlapping run: the generator then skipped it after this worker had read the keys.
func (w *worker) readOverlapKeys(ctx context.Context) error {
	for w.manifest.SafeStopNoRecords > 0 && w.streak.Next <= min(w.manifest.Range.End, w.tally.Outcomes.Highest()) {
		entry, err := w.collected.Get(ctx, w.manifest.Case(w.streak.Next).Key())
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		var value contract.Collected
		if err == nil {
			value, err = runs.Decode[contract.Collected](entry.Key(), entry.Value())
		}
		if err != nil {
			return fmt.Errorf("reading the key of %s: %w", w.manifest.Case(w.streak.Next), err)
		}
		before := w.streak.Next
		w.addCollectedElsewhere(before, value)
		if err := w.safeStop(ctx); err != nil {
			return err
		}
		if w.streak.Next == before {
			return nil
		}
	}
	return nil
}

// maybeEnd ends the run if it is complete or its halt is due, and reports whether it did.
func (w *worker) maybeEnd(ctx context.Context) (bool, error) {
	if w.tally.Complete() {
		status, reason := contract.Completed, ""
		if w.tally.SafeStop != "" && w.tally.Planned.Jobs > 0 { // a run without jobs cannot be stopped
			status, reason = contract.SafeStop, w.tally.SafeStop
		}
		// A run that was stopped or blocked leaves its unconfirmed no-records to its next round.
		if w.halt == nil || w.halt.Status == contract.SafeStop ||
			w.tally.UnconfirmedCount() < w.confirmThreshold(reason) {
			return w.conclude(ctx, status, reason)
		}
	}
	if w.tally.Vanished != nil {
		if err := w.haltRun(ctx, contract.Blocked, w.blockReason()); err != nil {
			return false, err
		}
	}
	if w.halt == nil || time.Since(w.haltCheckedAt) < haltInterval {
		return false, nil
	}
	w.haltCheckedAt = time.Now()
	late := !w.Now().Before(w.deadline)
	if !late {
		drained, err := w.drained(ctx)
		if err != nil || !drained {
			return false, err
		}
	}
	if w.tally.Vanished != nil {
		return true, w.finish(ctx, contract.Blocked, w.tally.VanishedReason(w.blockReason()))
	}
	if w.halt.Status == contract.Blocked && w.tally.NoRecordStreak >= minUnconfirmed && !w.canaryPending() {
		return false, w.publishVoid(ctx)
	}
	if w.halt.Status == contract.Errored { // a canary cannot repair an unreadable key
		return true, w.finish(ctx, contract.Errored, w.halt.Reason)
	}
	return w.conclude(ctx, w.halt.Status, w.halt.Reason)
}

// blockReason returns the reason of the block that ends the run. The run's halt may have another
// cause.
func (w *worker) blockReason() string {
	switch {
	case w.halt != nil && w.halt.Status == contract.Blocked:
		return w.halt.Reason
	case w.canary.blocked != "":
		return w.canary.blocked
	default:
		return w.tally.BlockReason()
	}
}

// confirmThreshold is how many unconfirmed no-records make a canary due before a run ends for this
// reason; the reason is empty for a complete run.
func (w *worker) confirmThreshold(reason string) int {
	if _, found := w.noRecordStretch(reason); found || reason == "" {
		return 1
	}
	return minUnconfirmed
}

// conclude confirms the no-records and ends the run. It returns false while the run may not end
// yet.
func (w *worker) conclude(ctx context.Context, status contract.Status, reason string) (bool, error) {
	if !status.Resumable() {
		sure, err := w.confirmEnd(ctx, w.confirmThreshold(reason))
		switch blocked := w.canary.blocked; {
		case err != nil:
			return false, err
		case sure:
		case blocked != "" && !w.canaryPending() && w.tally.NoRecordStreak >= minUnconfirmed:
			return false, w.publishVoid(ctx)
		case blocked != "" && !w.canaryPending(): // they stay unconfirmed until the site accepts requests again
			return true, w.finish(ctx, contract.Blocked, blocked)
		default:
			return false, nil
		}
	}
	if status == contract.SafeStop {
		var err error
		if reason, err = w.explainSafeStop(ctx, reason); err != nil {
			return false, err
		}
	}
	return true, w.finish(ctx, status, joinReasons(reason, w.canary.givenUpReason))
}

// joinReasons joins the reasons that are not empty.
func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(reason string) bool { return reason == "" }), "; ")
}

// deadlineOf returns when a halted run stops waiting for what is in flight, by the monotonic clock.
func (w *worker) deadlineOf(halt contract.Halt) time.Time {
	end := halt.At.Add(w.FinalTimeout)
	if !halt.Deadline.IsZero() {
		end = halt.Deadline.Add(deadlineGrace)
	}
	return delay.Until(w.Now(), end, end.Sub(halt.At))
}

// drained reports whether nothing of a halted run is in flight. The order of the checks matters: an
// answer is stored before its fetcher deletes its presence, and its outcome is in the ledger before
// the answer is deleted.
func (w *worker) drained(ctx context.Context) (bool, error) {
	run := w.manifest.RunID
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{run.FetcherKey("*")}}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if w.fetcherRenewals.Expired(entry.Key(), entry.Revision()) {
			return nil
		}
		return errStopReading
	})
	if errors.Is(err, errStopReading) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("listing the fetchers of %s: %w", run, err)
	}
	answers, err := w.Bus.Subjects(ctx, contract.StreamAnswers, run.AnswerFilter())
	if err != nil || len(answers) > 0 {
		return false, err
	}
	last, err := w.ledger.Last(ctx)
	return err == nil && w.tally.Sequence >= last, err
}

// noRecordStretch returns the stretch of no-records that a reason names; false when it is another
// reason.
func (w *worker) noRecordStretch(reason string) (contract.Range, bool) {
	stretch, found := new(fold.Streak).Walk(w.manifest, w.outcomeOf)
	return stretch, found && fold.NoRecordsReason(w.manifest, stretch) == reason
}

// explainSafeStop returns the reason of a safe stop for the report. When any run has collected a
// record above the stretch of no-records, the reason names it and the option that continues after
// the stretch.
func (w *worker) explainSafeStop(ctx context.Context, reason string) (string, error) {
	stretch, found := w.noRecordStretch(reason)
	if !found {
		return reason, nil // another limit stopped it
	}
	lowest := 0
	err := w.eachKey(ctx, contract.BucketCollected, func(number int, value contract.Collected) {
		if value.Outcome == contract.Success && number > stretch.End && (lowest == 0 || number < lowest) {
			lowest = number
		}
	})
	if err != nil || lowest == 0 {
		return reason, err
	}
	return fmt.Sprintf("%s; a record is known above it: %s; go on with --start %d", reason, w.manifest.Case(lowest),
		stretch.End+1), nil
}

// settings returns the effective settings of the run: those of the process that planned it, except
// that settings of requests are those of the fetchers that sent them. If fetchers differ, a setting
// is the list of their values.
func (w *worker) settings(ctx context.Context) (map[string]any, error) {
	all := maps.Clone(w.manifest.Config)
	values := make(map[string][]any)
	keys := bus.Keys{Bucket: contract.BucketHeld, Filters: []string{w.manifest.RunID.FetcherKey("*")}}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		held, err := runs.Decode[contract.InFlightRecord](entry.Key(), entry.Value())
		if err != nil { // of a newer version, or damaged: ignored, as the fetchers do
			return nil
		}
		for key, value := range held.Settings {
			if !slices.ContainsFunc(values[key], func(v any) bool { return reflect.DeepEqual(v, value) }) {
				values[key] = append(values[key], value)
			}
		}
		return nil
	})
	for key, each := range values {
		if all == nil {
			all = make(map[string]any)
		}
		if all[key] = any(each); len(each) == 1 {
			all[key] = each[0]
		}
	}
	return all, err
}
