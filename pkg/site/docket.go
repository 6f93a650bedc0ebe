package site

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// sortedUnique is a docket in the court's order, without the entries that were there twice.
func sortedUnique(docket []contract.DocketEntry) []contract.DocketEntry {
	inOrder := func(a, b contract.DocketEntry) int { return a.Entry - b.Entry }
	if !slices.IsSortedFunc(docket, inOrder) {
		slices.SortStableFunc(docket, inOrder)
	}
	unique := docket[:0]
	var seen map[contract.DocketEntry]bool // those of one number; entries without a number can be many
	for i, entry := range docket {
		switch {
		case i == 0 || entry.Entry != unique[len(unique)-1].Entry:
			seen = nil
		case seen == nil:
			seen = map[contract.DocketEntry]bool{unique[len(unique)-1]: true}
		}
		if seen[entry] {
			continue
		}
		if seen != nil {
			seen[entry] = true
		}
		unique = append(unique, entry)
	}
	return unique
}
