package generator

import (
	"iter"
	"slices"

	"fct-scraper/pkg/contract"
)

// Numbers gives the numbers of a range to ask for, each once: those that failed in an earlier run first, then the
// others, both ascending. Numbers that are collected are left out: success, and no-record unless recheck; force
// leaves out none. failed may hold numbers outside of the range and in any order; they are ignored.
func Numbers(r contract.Range, collected map[int]contract.Outcome, failed []int, recheck, force bool) iter.Seq[int] {
	skip := func(n int) bool {
		outcome := collected[n]
		return !force && (outcome == contract.Success || outcome == contract.NoRecord && !recheck)
	}
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
