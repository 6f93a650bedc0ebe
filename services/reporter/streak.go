package reporter

import (
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

// walk goes on as far as outcome knows an outcome. It returns why the run is to stop: limit numbers in a row
// were no-record and there is something left to ask for. limit 0 never stops.
func (s *streak) walk(manifest contract.Manifest, outcome func(number int) contract.Outcome) string {
	s.next = max(s.next, manifest.Range.Start)
	limit := manifest.SafeStopNoRecords
	for s.next <= manifest.Range.End {
		found := outcome(s.next)
		if found == "" {
			return ""
		}
		s.next++
		if found != contract.NoRecord {
			s.length = 0
			continue
		}
		s.length++
		if limit > 0 && s.length == limit && s.next <= manifest.Range.End {
			last := s.next - 1
			return fmt.Sprintf("%d consecutive no-record: %s..%s", limit,
				manifest.Case(last-limit+1), manifest.Case(last))
		}
	}
	return ""
}
