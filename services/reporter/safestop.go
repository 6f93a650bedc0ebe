package reporter

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

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
