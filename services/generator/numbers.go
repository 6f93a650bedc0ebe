package generator

import (
	"iter"
	"slices"

	"fct-scraper/pkg/contract"
)

// Numbers gives the numbers of a run's range to ask for, each once: those that failed in an earlier run first, then the
// others, both ascending. Collected numbers that the run skips are left out. failed may hold numbers outside of the range
// and in any order; they are ignored.
func Numbers(m contract.Manifest, collected map[int]contract.Outcome, failed []int) iter.Seq[int] {
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
