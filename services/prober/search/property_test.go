package search_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/prober/search"

	"pgregory.net/rapid"
)

// Every search has the invariants of checkResult, for every year and range.
func TestSearchInvariants(t *testing.T) {
	t.Parallel()
	all := families()
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(all).Draw(t, "family")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		start := rapid.IntRange(1, 40000).Draw(t, "start")
		end := rapid.IntRange(start, contract.MaxNumber).Draw(t, "end")
		runSearch(t, f.generate(r), r, search.Settings{
			Range: contract.Range{Start: start, End: end}, Budget: rapid.IntRange(1, 300).Draw(t, "budget"),
		}, nil)
	})
}

// A search that is interrupted after any answer, and recreated with the same answers, asks the same
// next question.
func TestSearchReplay(t *testing.T) {
	t.Parallel()
	for i, f := range families() {
		r := rand.New(rand.NewPCG(7, uint64(i)))
		s := f.generate(r)
		settings := search.Settings{Range: contract.Range{Start: 1, End: contract.MaxNumber}, Budget: budget,
			PreviousYearMax: s.previousYearMax, DayOfYear: s.today}
		uninterrupted := search.New(settings, nil)
		var answers []search.Observation
		for question, more := uninterrupted.Next(); more; question, more = uninterrupted.Next() {
			resumed := search.New(settings, nil)
			for _, answer := range answers {
				resumed.Observe(answer)
			}
			if again, _ := resumed.Next(); again != question {
				t.Fatalf("%s: asks %v after %d answers, %v after an interruption", f.name, question, len(answers),
					again)
			}
			answers = append(answers, s.answer(r, question, 4))
			uninterrupted.Observe(answers[len(answers)-1])
		}
	}
}

func TestSearch_SpecifiedCases(t *testing.T) {
	t.Parallel()
	dense := func(highest int) *syntheticYear {
		s := &syntheticYear{exists: make([]bool, highest+1), filed: make([]int, highest+1)}
		for n := 1; n <= highest; n++ {
			s.exists[n] = true
		}
		return s
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct{ highest, start, end, want, most int }{
		{5600, 1, contract.MaxNumber, 5600, 50},
		{60, 30, 79, 60, 20}, // start 30, max_cases 50: 30 to 60
		{500, 30, 79, 79, 8}, // the same range in a year that continues
		{0, 1, contract.MaxNumber, 0, 24}, {1, 1, contract.MaxNumber, 1, 24}, {99999, 1, contract.MaxNumber, 99999, 50},
	} {
		h := runSearch(t, dense(c.highest), r, search.Settings{Range: contract.Range{Start: c.start, End: c.end},
			Budget: budget}, nil)
		if h.bound.Number != c.want || h.bound.Requests > c.most ||
			h.bound.Ending != search.Done && h.bound.Ending != search.Waste {
			t.Errorf("highest %d, range %d..%d: bound %d after %d requests (%s), want %d after at most %d", c.highest,
				c.start, c.end,
				h.bound.Number, h.bound.Requests, h.bound.Ending, c.want, c.most)
		}
	}
}

func TestSearch_KnownNumbersNotRepeated(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 3))
	s := thinned(0.05)(r)
	var known []search.Observation
	for n := 1; n <= s.max(); n++ {
		known = append(known, search.Observation{Number: n, Finding: search.Absent})
		if s.has(n) {
			known[n-1].Finding = search.Exists
		}
	}
	h := runSearch(t, s, r, search.Settings{Range: contract.Range{Start: 1, End: contract.MaxNumber}, Budget: budget},
		known)
	if h.bound.Number != s.max() || h.bound.Requests > 30 {
		t.Errorf("bound %d of %d after %d requests", h.bound.Number, s.max(), h.bound.Requests)
	}
}

func TestSearch_ConsecutiveFailures(t *testing.T) {
	t.Parallel()
	s := search.New(search.Settings{Range: contract.Range{Start: 1, End: 100}, Budget: budget}, nil)
	for range 3 {
		question, more := s.Next()
		if !more {
			t.Fatal("ended before three failures")
		}
		s.Observe(search.Observation{Number: question.Number, Requests: 8})
	}
	if found := s.Result(); found.Ending != search.Unreachable || found.Number != 0 || found.Requests != 24 ||
		len(found.Absences) != 0 {
		t.Errorf("%+v", found)
	}
}

// A number without an answer is not evidence: it is not requested again and never counted as an
// absence, and the bound is still a number that was seen.
func TestSearch_UnknownNumbersAreNoEvidence(t *testing.T) {
	t.Parallel()
	all := families()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		year := rapid.SampledFrom(all).Draw(t, "family").generate(r)
		share := rapid.Float64Range(0, 1).Draw(t, "share without an answer")
		settings := search.Settings{Range: contract.Range{Start: 1, End: contract.MaxNumber}, Budget: budget}
		s := search.New(settings, nil)
		var without []int
		for question, more := s.Next(); more; question, more = s.Next() {
			if slices.Contains(without, question.Number) {
				t.Fatalf("%d was requested again", question.Number)
			}
			answer := year.answer(r, question, s.RequestsLeft()/2)
			if r.Float64() < share {
				answer = search.Observation{Number: question.Number, Requests: answer.Requests}
			}
			if answer.Finding == search.Unknown {
				without = append(without, question.Number)
			}
			s.Observe(answer)
		}
		checkResult(t, year, settings, searchTrace{bound: s.Result()})
		for _, n := range s.Result().Absences {
			if slices.Contains(without, n) {
				t.Errorf("%d had no answer but counts as an absence", n)
			}
		}
	})
}
