package search_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/prober/search"
)

// drawingWidth is the number of characters that represent all numbers up to the highest one
// requested.
const drawingWidth = 60

// drawSearch renders a search as text, one line a question: o is a record, x a no-record, the bar
// is the bound so far.
func drawSearch(answers []search.Observation) string {
	highest := 1
	for _, a := range answers {
		highest = max(highest, a.Number)
	}
	column := func(n int) int { return n * (drawingWidth - 1) / highest }
	var b strings.Builder
	bound, requests := 0, 0
	for i, a := range answers {
		line := []byte(strings.Repeat(" ", drawingWidth))
		mark, what := byte('x'), "no record"
		if a.Finding == search.Exists {
			mark, what, bound = 'o', "filed "+a.FiledOn, max(bound, a.Number)
		}
		line[column(bound)] = '|'
		line[column(a.Number)] = mark
		requests += a.Requests
		fmt.Fprintf(&b, "%3d %s %6d %-16s bound %5d, %2d requests\n", i+1, line, a.Number, what, bound, requests)
	}
	return b.String()
}

// TestDrawing logs the drawing in docs/figures.md
// (go test -run TestDrawing -v ./services/prober/search).
func TestDrawing(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(11, 11))
	year := newYear(r, 12000, 0, 365)
	year.drop(r, 1, len(year.exists), 0.05)
	s := search.New(search.Settings{
		Year: "25", Range: contract.Range{Start: 1, End: contract.MaxNumber}, Budget: budget,
		PreviousYearMax: year.previousYearMax,
	}, nil)
	var answers []search.Observation
	for question, more := s.Next(); more; question, more = s.Next() {
		answers = append(answers, year.answer(r, question, 4))
		s.Observe(answers[len(answers)-1])
	}
	drawing, found := drawSearch(answers), s.Result()
	t.Logf("a year of %d numbers, last year %d:\n%s", year.max(), year.previousYearMax, drawing)
	if found.Number != year.max() || strings.Count(drawing, "\n") != found.Questions {
		t.Errorf("bound %d of %d; %d questions:\n%s", found.Number, year.max(), found.Questions, drawing)
	}
}
