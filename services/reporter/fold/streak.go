package fold

import (
	"fmt"

	"fct-scraper/pkg/contract"
)

// Streak counts no-records in number order, as far as every number is decided, and finds a stretch
// that reaches the limit. Its result depends on the numbers alone, not on when they were decided.
type Streak struct {
	// Next is the lowest number that is not decided yet.
	Next int
	// length counts the no-records directly before Next.
	length int
}

// Walk advances while outcome returns an outcome. It returns the stretch that stops the run: as
// many consecutive no-records as the limit, with numbers left in the range. A limit of 0 never
// stops.
func (s *Streak) Walk(
	manifest contract.Manifest, outcome func(number int) contract.Outcome,
) (stretch contract.Range, found bool) {
	s.Next = max(s.Next, manifest.Range.Start)
	limit := manifest.SafeStopNoRecords
	for s.Next <= manifest.Range.End {
		decided := outcome(s.Next)
		if decided == "" {
			break
		}
		s.Next++
		if decided != contract.NoRecord {
			s.length = 0
			continue
		}
		s.length++
		if limit > 0 && s.length == limit && s.Next <= manifest.Range.End {
			return contract.Range{Start: s.Next - limit, End: s.Next - 1}, true
		}
	}
	return contract.Range{}, false
}

// NoRecordsReason is the reason of a safe stop after a stretch of no-records.
func NoRecordsReason(manifest contract.Manifest, stretch contract.Range) string {
	return fmt.Sprintf("%d consecutive no-record: %s..%s", stretch.Size(), manifest.Case(stretch.Start),
		manifest.Case(stretch.End))
}
