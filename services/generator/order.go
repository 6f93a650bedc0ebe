package generator

import (
	"iter"
	"maps"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// jobOrder yields the numbers of the range of a run to request, each once: numbers that failed in
// an earlier run first, then the others, both ascending. Collected numbers that the run skips are
// omitted.
func jobOrder(m contract.Manifest, collected, failed map[int]contract.Collected) iter.Seq[int] {
	each := func(failedBefore bool, yield func(int) bool) bool {
		for n := m.Range.Start; n <= m.Range.End; n++ {
			if _, found := failed[n]; found == failedBefore && !m.Skips(n, collected[n]) && !yield(n) {
				return false
			}
		}
		return true
	}
	return func(yield func(int) bool) { _ = each(true, yield) && each(false, yield) }
}

// recordLag is the time after a no-record within which a higher record must have been seen for it
// to stand. If it was seen later, the number may have been assigned after the no-record.
const recordLag = time.Hour

// recheckAbove returns the number above which a run may have to request no-records again. This is
// the highest record, or less if all higher records were seen more than recordLag after a no-record
// below it, because its number may have been assigned since.
func recheckAbove(collected map[int]contract.Collected) int {
	last := 0
	var seen time.Time // when the first of the higher records was seen
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(collected))) {
		switch value := collected[number]; {
		case value.Outcome == contract.Success && last == 0:
			last, seen = number, value.At
		case value.Outcome == contract.Success && value.At.Before(seen):
			seen = value.At
		case value.Outcome == contract.NoRecord && last > 0 && seen.After(value.At.Add(recordLag)):
			last = number - 1
		}
	}
	return last
}
