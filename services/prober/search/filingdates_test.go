package search_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/prober/search"
)

// medianRequests returns the median number of requests of searches in years of which the first
// share of the numbers is known.
func medianRequests(t *testing.T, share float64, redate func(r *rand.Rand, n int, day string) string) int {
	t.Helper()
	var all []int
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		s := thinned(0.05)(r)
		var known []search.Observation
		for n := 1; n <= int(share*float64(s.max())); n++ {
			if !s.has(n) {
				continue
			}
			day := time.Date(2025, 1, s.filed[n], 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			known = append(known, search.Observation{Number: n, Finding: search.Exists, FiledOn: redate(r, n, day)})
		}
		settings := search.Settings{Year: "25", Range: contract.Range{Start: 1, End: contract.MaxNumber},
			Budget: budget}
		all = append(all, runSearch(t, s, r, settings, known).bound.Requests)
	}
	slices.Sort(all)
	return quantile(all, 0.5)
}

// Among thousands of records, some have a date that is weeks or months off, and the first may have
// been filed in the previous year.
func TestFilingDates_Outliers(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	clean := medianRequests(t, 0.95, func(_ *rand.Rand, _ int, day string) string { return day })
	for name, redate := range map[string]func(*rand.Rand, int, string) string{
		"one in 200 on any day": func(r *rand.Rand, _ int, day string) string {
			if r.IntN(200) > 0 {
				return day
			}
			return time.Date(2025, 1, 1+r.IntN(365), 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		},
		"the first in the year before": func(_ *rand.Rand, n int, day string) string {
			if n > 1 {
				return day
			}
			return "2024-12-31"
		},
		"the first on the last day of the year": func(_ *rand.Rand, n int, day string) string {
			if n > 1 {
				return day
			}
			return "2025-12-31"
		},
	} {
		if odd := medianRequests(t, 0.95, redate); odd > clean+2 {
			t.Errorf("%s: %d requests in the middle, %d without", name, odd, clean)
		}
	}
}

// The last day of a leap year is its 366th.
func TestFilingDates_LeapYear(t *testing.T) {
	t.Parallel()
	requests := func(last string) int {
		s := search.New(search.Settings{Year: "24", Range: contract.Range{Start: 1, End: contract.MaxNumber},
			Budget: budget}, []search.Observation{
			{Number: 10000, Finding: search.Exists, FiledOn: last},
		})
		for question, more := s.Next(); more; question, more = s.Next() {
			s.Observe(search.Observation{Number: question.Number, Finding: search.Absent, Requests: 1})
		}
		return s.Result().Requests
	}
	if before, last := requests("2024-12-30"), requests("2024-12-31"); last > before+1 {
		t.Errorf("%d requests when the bound was filed on the last day, %d a day before", last, before)
	}
}
