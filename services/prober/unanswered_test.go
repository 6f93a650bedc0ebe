package prober_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/prober"

	"pgregory.net/rapid"
)

// A number without an answer is neither there nor past the end: it is not asked for again, never counted as an absence,
// and the bound is still a number that was seen.
func TestSearch_UnknownNumbersAreNoEvidence(t *testing.T) {
	t.Parallel()
	all := families()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		year := rapid.SampledFrom(all).Draw(t, "family").generate(r)
		share := rapid.Float64Range(0, 1).Draw(t, "share without an answer")
		settings := prober.Settings{Range: contract.Range{Start: 1, End: contract.MaxNumber}, Budget: budget}
		s := prober.New(settings, nil)
		var without []int
		for question, more := s.Next(); more; question, more = s.Next() {
			if slices.Contains(without, question.Number) {
				t.Fatalf("%d was asked for again", question.Number)
			}
			answer := year.answer(r, question, s.RequestsLeft()/2)
			if r.Float64() < share {
				answer = prober.Observation{Number: question.Number, Requests: answer.Requests}
			}
			if answer.Finding == prober.Unknown {
				without = append(without, question.Number)
			}
			s.Observe(answer)
		}
		checkResult(t, year, settings, searchTrace{bound: s.Result()})
		for _, n := range s.Result().Absences {
			if slices.Contains(without, n) {
				t.Errorf("%d had no answer and counts as an absence", n)
			}
		}
	})
}
