package search_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/prober/search"
)

var (
	// figuresSeeds is the number of years searched in each family. The usual ones check loose goals;
	// 400 produce the table.
	figuresSeeds = flag.Int("seeds", 0, "years of each family; 0 takes the usual ones")
	figuresTable = flag.Bool("figures", false, "print the table of figures")
)

const budget = 200

// testingT is the common part of *testing.T and *rapid.T.
type testingT interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// searchTrace is the result of one search over a year.
type searchTrace struct {
	bound         search.Bound
	requestsAbove int // requests for numbers above the highest
	absences      int // questions about numbers that do not exist
}

// runSearch runs a search over a year. Requests fail as often as the year defines, and are retried
// three times.
// typicalProbeRequests is how many requests the search of a typical year may take.
const typicalProbeRequests = 50

func runSearch(
	t testingT, s *syntheticYear, r *rand.Rand, settings search.Settings, known []search.Observation,
) searchTrace {
	t.Helper()
	settings.PreviousYearMax, settings.DayOfYear = s.previousYearMax, s.today
	found := search.New(settings, known)
	highest, requested := s.max(), make(map[int]bool)
	var h searchTrace
	for {
		question, more := found.Next()
		if !more {
			break
		}
		n := question.Number
		if requested[n] || !settings.Range.Contains(n) {
			t.Fatalf("number %d was requested again or is outside %v", n, settings.Range)
		}
		requested[n] = true
		answer := s.answer(r, question, found.RequestsLeft()/2)
		if n > highest {
			h.requestsAbove += answer.Requests
		}
		if answer.Finding == search.Absent {
			h.absences++
		}
		found.Observe(answer)
	}
	h.bound = found.Result()
	checkResult(t, s, settings, h)
	return h
}

// checkResult checks the invariants of every search.
func checkResult(t testingT, s *syntheticYear, settings search.Settings, h searchTrace) {
	t.Helper()
	b := h.bound
	if b.Requests > settings.Budget {
		t.Errorf("%d requests with a budget of %d", b.Requests, settings.Budget)
	}
	if b.Number != 0 && !s.has(b.Number) {
		t.Errorf("the bound %d does not exist", b.Number)
	}
	if most := max(12, 2*s.max()); h.absences > most {
		t.Errorf("%d numbers that do not exist were requested, want at most %d", h.absences, most)
	}
	// No search is certain: at most 99.9 % is reported, which no output rounds to 100 %.
	if b.Ending == "" || b.Exact < 0 || b.Confidence > 0.999 || b.Exact > b.Confidence+1e-9 {
		t.Errorf("ended %q, exact %v, confidence %v", b.Ending, b.Exact, b.Confidence)
	}
	for _, n := range b.Absences {
		if s.has(n) || n <= b.Number {
			t.Errorf("number %d was confirmed not to exist above %d", n, b.Number)
		}
	}
}

// figures holds the measurements of one family.
type figures struct {
	questions, requests, above []int
	inside, exact              int
}

func measure(t testing.TB, f family, index, seeds int) figures {
	t.Helper()
	var all figures
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), uint64(index)))
		s := f.generate(r)
		h := runSearch(t, s, r, search.Settings{Range: contract.Range{Start: 1, End: contract.MaxNumber},
			Budget: budget}, nil)
		if h.bound.Number >= s.max()-search.Tolerance {
			all.inside++
		}
		if h.bound.Number == s.max() {
			all.exact++
		}
		all.questions = append(all.questions, h.bound.Questions)
		all.requests = append(all.requests, h.bound.Requests)
		all.above = append(all.above, h.requestsAbove)
	}
	slices.Sort(all.questions)
	slices.Sort(all.requests)
	slices.Sort(all.above)
	return all
}

// quantile returns the value that a share of the sorted values does not exceed.
func quantile(sorted []int, share float64) int {
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

// goal is the required quality of a search; it is looser for few years.
type goal struct {
	median int
	// most limits the requests of 95 of 100 searches in each typical family.
	most          int
	inside, exact float64
}

func TestFigures(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	seeds := cmp.Or(*figuresSeeds, fcttest.Scaled(5, 20))
	goals := goal{median: 22, most: 80, inside: 0.99, exact: 0.7}
	if seeds >= 400 {
		goals = goal{median: 20, most: 45, inside: 0.998, exact: 0.95}
	}
	var table strings.Builder
	table.WriteString("| family | questions: median, 95 %, most | requests: median, 95 %, most | above the highest: 95 % | inside [M−200, M] | exact |\n|---|---|---|---|---|---|\n")
	var typical figures
	for i, f := range families() {
		all := measure(t, f, i, seeds)
		row := func(sorted []int) string {
			return fmt.Sprintf("%d, %d, %d", quantile(sorted, 0.5), quantile(sorted, 0.95), sorted[len(sorted)-1])
		}
		share := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(seeds)) }
		fmt.Fprintf(&table, "| %s | %s | %s | %d | %s | %s |\n", f.name, row(all.questions), row(all.requests),
			quantile(all.above, 0.95), share(all.inside), share(all.exact))
		if !f.typical {
			continue
		}
		typical.requests = append(typical.requests, all.requests...)
		typical.above = append(typical.above, all.above...)
		typical.inside += all.inside
		if most := all.above[len(all.above)-1]; most > typicalProbeRequests {
			t.Errorf("%s: %d requests for numbers above the highest, want at most %d", f.name, most,
				typicalProbeRequests)
		}
		if most := quantile(all.requests, 0.95); f.name != raggedEnd && most > goals.most {
			t.Errorf("%s: %d requests at 95 %%, want at most %d", f.name, most, goals.most)
		}
		if share := float64(all.exact) / float64(seeds); f.exact && share < goals.exact {
			t.Errorf("%s: %.3f exact", f.name, share)
		}
	}
	slices.Sort(typical.requests)
	total := len(typical.requests)
	if median, most := quantile(typical.requests, 0.5), quantile(typical.requests, 0.95); median > goals.median ||
		most > 45 {
		t.Errorf("typical years took %d requests in the middle and %d at 95 %%, want at most %d and 45", median, most,
			goals.median)
	}
	if share := float64(typical.inside) / float64(total); share < goals.inside {
		t.Errorf("typical years: %.4f inside", share)
	}
	if *figuresTable {
		_, _ = fmt.Fprintf(os.Stdout, "%s\ntypical families together: median %d requests, 95 %% %d; inside %.2f %%\n",
			table.String(),
			quantile(typical.requests, 0.5), quantile(typical.requests, 0.95),
			100*float64(typical.inside)/float64(total))
	}
}
