package reporter

import (
	"context"
	"fmt"

	"fct-scraper/pkg/contract"
)

// streak walks a run's numbers in their order, as far as every one is decided, and notices a long stretch
// without records. What it finds depends on the numbers alone, not on when they were decided.
type streak struct {
	// next is the lowest number that is not decided yet.
	next int
	// length counts the no-records just before next.
	length int
}

// walk goes on as far as outcome knows an outcome. It returns the stretch because of which the run is to stop: as many
// numbers in a row as the limit were no-record and there is something left to ask for. A limit of 0 never stops.
func (s *streak) walk(manifest contract.Manifest, outcome func(number int) contract.Outcome) (stretch contract.Range, found bool) {
	s.next = max(s.next, manifest.Range.Start)
	limit := manifest.SafeStopNoRecords
	for s.next <= manifest.Range.End {
		decided := outcome(s.next)
		if decided == "" {
			break
		}
		s.next++
		if decided != contract.NoRecord {
			s.length = 0
			continue
		}
		s.length++
		if limit > 0 && s.length == limit && s.next <= manifest.Range.End {
			return contract.Range{Start: s.next - limit, End: s.next - 1}, true
		}
	}
	return contract.Range{}, false
}

// noRecordsReason says that a stretch without records stops the run.
func noRecordsReason(manifest contract.Manifest, stretch contract.Range) string {
	return fmt.Sprintf("%d consecutive no-record: %s..%s", stretch.Size(), manifest.Case(stretch.Start), manifest.Case(stretch.End))
}

// noRecordStretch is the stretch without records that a reason speaks of; false when it speaks of something else.
func (w *worker) noRecordStretch(reason string) (contract.Range, bool) {
	stretch, found := new(streak).walk(w.manifest, w.outcomeOf)
	return stretch, found && noRecordsReason(w.manifest, stretch) == reason
}

// explainSafeStop is the reason of a safe stop as its report gives it. The year goes on when a record is known above the
// stretch that stopped the run, whoever collected it: then it says so, and how to go on behind the stretch.
func (w *worker) explainSafeStop(ctx context.Context, reason string) (string, error) {
	stretch, found := w.noRecordStretch(reason)
	if !found {
		return reason, nil // it was stopped by something else
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
	return fmt.Sprintf("%s; a record is known above it: %s; go on with --start %d", reason, w.manifest.Case(lowest), stretch.End+1), nil
}
