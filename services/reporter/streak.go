package reporter

import (
	"context"
	"fmt"

	"fct-scraper/pkg/contract"
)

// streak counts no-records in number order, as far as every number is decided, and finds a stretch
// that reaches the limit. Its result depends on the numbers alone, not on when they were decided.
type streak struct {
	// next is the lowest number that is not decided yet.
	next int
	// length counts the no-records directly before next.
	length int
}

// walk advances while outcome returns an outcome. It returns the stretch that stops the run: as
// many consecutive no-records as the limit, with numbers left in the range. A limit of 0 never
// stops.
func (s *streak) walk(
	manifest contract.Manifest, outcome func(number int) contract.Outcome,
) (stretch contract.Range, found bool) {
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

// noRecordsReason is the reason of a safe stop after a stretch of no-records.
func noRecordsReason(manifest contract.Manifest, stretch contract.Range) string {
	return fmt.Sprintf("%d consecutive no-record: %s..%s", stretch.Size(), manifest.Case(stretch.Start),
		manifest.Case(stretch.End))
}

// noRecordStretch returns the stretch of no-records that a reason names; false when it is another
// reason.
func (w *worker) noRecordStretch(reason string) (contract.Range, bool) {
	stretch, found := new(streak).walk(w.manifest, w.outcomeOf)
	return stretch, found && noRecordsReason(w.manifest, stretch) == reason
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
