package generator

import (
	"iter"
	"maps"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// Numbers gives the numbers of a run's range to ask for, each once: those that failed in an earlier run first, then the
// others, both ascending. Collected numbers that the run skips are left out. failed may hold numbers outside of the range
// and in any order; they are ignored.
func Numbers(m contract.Manifest, collected map[int]contract.Collected, failed []int) iter.Seq[int] {
	r := m.Range
	skip := func(n int) bool { return m.Skips(n, collected[n]) }
	first := slices.Compact(slices.Sorted(func(yield func(int) bool) {
		for _, n := range failed {
			if r.Contains(n) && !skip(n) && !yield(n) {
				return
			}
		}
	}))
	return func(yield func(int) bool) {
		for _, n := range first {
			if !yield(n) {
				return
			}
		}
		for n := r.Start; n <= r.End; n++ {
			if _, asked := slices.BinarySearch(first, n); asked || skip(n) {
				continue
			}
			if !yield(n) {
				return
			}
		}
	}
}

// finalAfter is how long after a no-record a higher number must have been seen for the no-record to be final: a number that was
// handed out later had no record yet.
const finalAfter = time.Hour

// lastFinalNumber is the number up to which all no-records are final: the highest record, or less when a no-record under it was given
// so long before any higher record was seen that its number may have been handed out since.
func lastFinalNumber(collected map[int]contract.Collected) int {
	last := 0
	var seen time.Time // when the first of the higher records was seen
	for _, number := range slices.Backward(slices.Sorted(maps.Keys(collected))) {
		switch value := collected[number]; {
		case value.Outcome == contract.Success && last == 0:
			last, seen = number, value.At
		case value.Outcome == contract.Success && value.At.Before(seen):
			seen = value.At
		case value.Outcome == contract.NoRecord && last > 0 && seen.After(value.At.Add(finalAfter)):
			last = number - 1
		}
	}
	return last
}
