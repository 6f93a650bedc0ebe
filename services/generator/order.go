package generator

import (
	"iter"
	"maps"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
)

// Numbers yields the numbers of the range of a run to request, each once: numbers that failed in an
// earlier run first, then the others, both ascending. Collected numbers that the run skips are
// omitted. failed may be unsorted and hold numbers outside the range, which are ignored.
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
			if _, done := slices.BinarySearch(first, n); done || skip(n) {
				continue
			}
			if !yield(n) {
				return
			}
		}
	}
}

// finalAfter is the time after a no-record within which a higher record must have been seen to make
// the no-record final. If it was seen later, the number may have been assigned after the no-record.
const finalAfter = time.Hour

// lastFinalNumber returns the number up to which all no-records are final. This is the highest
// record, or less if all higher records were seen more than finalAfter after a no-record below it,
// because its number may have been assigned since.
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
