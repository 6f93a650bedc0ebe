package runtime

import (
	"fmt"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// However few numbers a year has, hardly anything is asked for that lies above them, and nothing twice.
func TestProbe_FewRequestsAboveBound(t *testing.T) {
	t.Parallel()
	for _, highest := range []int{0, 3, 60, 1, 2, 5, 10, 500, 3000}[:fcttest.Scaled(3, 9)] {
		t.Run(fmt.Sprint(highest), func(t *testing.T) {
			t.Parallel()
			p := newFixture(t, courtsim.Options{Seed: 31, Max: highest, Missing: 0.05}, map[string]string{"probe": "true", "concurrency": "16"})
			first := p.searched()
			p.checkWaste(first)
			p.checkOnce()
			asked := p.asked()
			second := p.searched()
			// A search that wasted all it may had more to ask for; another one may waste as much.
			// Of a year in which no record was ever seen nothing is confirmed, so it is asked for again.
			confirmed := first.Report.Unconfirmed == 0
			if confirmed != (highest > 0) {
				t.Errorf("%d no-records are unconfirmed", first.Report.Unconfirmed)
			}
			if confirmed && first.Manifest.Bound.Ending == "done" && (second.Report.Requests != 0 || second.Report.Total != 0) {
				t.Errorf("the second batch made %d requests and gave %d numbers an outcome", second.Report.Requests, second.Report.Total)
			}
			if more := len(p.asked()) - len(asked); more > 12 || second.Report.Skipped != highest || second.Report.UpperBound != highest {
				t.Errorf("the second batch asked for %d numbers more, skipped %d, bound %d", more, second.Report.Skipped, second.Report.UpperBound)
			}
			if confirmed {
				p.checkOnce()
			}
		})
	}
}

// searched runs a batch to its end.
func (p *fixture) searched() RunResult {
	p.t.Helper()
	run, err := p.run(p.t.Context(), nil)
	if err != nil || run.Report == nil || run.Status != contract.Completed || run.Manifest.Bound == nil {
		p.t.Fatalf("%s: %s, bound %+v: %v", run.Status, run.Reason, run.Manifest.Bound, err)
	}
	return run
}

// checkWaste compares what a whole batch asked for with the year that it was to find.
func (p *fixture) checkWaste(run RunResult) {
	p.t.Helper()
	report, highest := *run.Report, p.highest()
	numbers, requests := above(p.asked(), highest)
	exist, missing := fcttest.Truth(p.sim, contract.Range{Start: 1, End: highest})
	if requests > typicalProbeRequests || numbers > max(12, 2*highest) {
		p.t.Errorf("%d numbers above %d were asked for, with %d requests", numbers, highest, requests)
	}
	if report.UpperBound != highest || report.End != highest || report.Succeeded != exist || report.NoRecord != missing || report.Beyond != numbers || report.Failed != 0 {
		p.t.Errorf("bound %d, end %d: %d succeeded, %d no-record, %d beyond; want %d, %d, %d and %d", report.UpperBound, report.End,
			report.Succeeded, report.NoRecord, report.Beyond, highest, exist, missing, numbers)
	}
	if report.UpperBoundConfidence < 0.95 || report.UpperBoundConfidence > 1 || report.ProbesUsed == 0 || report.ProbesUsed > typicalProbeRequests {
		p.t.Errorf("%d probes, %.3f sure", report.ProbesUsed, report.UpperBoundConfidence)
	}
	p.t.Logf("%d numbers: bound %d (%.4f sure, %s) with %d probes; %d requests for %d numbers above it", highest, report.UpperBound,
		report.UpperBoundConfidence, run.Manifest.Bound.Ending, report.ProbesUsed, requests, numbers)
}

// highest is the court's highest number.
func (p *fixture) highest() int {
	for n := contract.MaxNumber; n > 0; n-- {
		if p.sim.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}) {
			return n
		}
	}
	return 0
}

// asked is how often each number of the series and year was asked for, all calls together.
func (p *fixture) asked() map[int]int {
	p.t.Helper()
	numbers := make(map[int]int)
	for number, calls := range p.sim.Stats().PerNumber["IMM-"+p.settings["year"]] {
		numbers[fcttest.Number(p.t, number)] = fcttest.Total(calls)
	}
	return numbers
}

// checkOnce finds calls that were made twice for a number. A file may have been asked for again as a canary: twice, and once
// more for every fifty no-records.
func (p *fixture) checkOnce() {
	p.t.Helper()
	files, absent, canaries := make(map[string]map[string]int), make(map[string]map[string]int), 2
	for number, calls := range p.sim.Stats().PerNumber["IMM-"+p.settings["year"]] {
		if p.sim.Exists(contract.CaseID{Series: "IMM", Year: p.settings["year"], Number: fcttest.Number(p.t, number)}) {
			files[number] = calls
		} else {
			absent[number] = calls
		}
	}
	canaries += len(absent) / 50
	if n, again := fcttest.Repeated(absent), fcttest.Repeated(files); n != 0 || again > canaries {
		p.t.Errorf("%d requests for numbers that do not exist were repeated, and %d for files", n, again)
	}
}

// above counts the numbers above one that were asked for, and the requests for them.
func above(asked map[int]int, highest int) (numbers, requests int) {
	for number, times := range asked {
		if number > highest {
			numbers++
			requests += times
		}
	}
	return numbers, requests
}
