//go:build soak

package e2e_test

import (
	"strconv"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// Each kind of block in turn, in the middle of a run: those under way end, then nobody asks, also after a restart; no number is
// filed wrongly, and when the cool-down is over the run goes on where it was.
func TestBlock_StopsRequests(t *testing.T) {
	t.Parallel()
	const concurrency, numbers = 8, 400
	kinds := courtsim.BlockKinds()
	for _, kind := range kinds[:fcttest.Scaled(len(kinds)/4, len(kinds))] {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "51", "--latency", "5ms", "--block-after", "150:"+kind)
			p := newPlace(t, sim, "--end", "400", "--delay-min", "0", "--delay-max", "0", "--concurrency", "8")
			report := p.finish(codeBlocked)
			if report.Status != contract.Blocked || !strings.Contains(report.Reason, "blocked by the site at IMM-") {
				t.Errorf("%s: %s", report.Status, report.Reason)
			}
			stats := sim.stats()
			if stats.AfterBlock > concurrency-1 {
				t.Errorf("%d requests after the first blocked answer, want at most %d", stats.AfterBlock, concurrency-1)
			}
			if stats.AfterBlock > 0 && stats.AfterBlockLastSeconds > 0.25 {
				t.Logf("the last request came %.3f s after the first blocked answer", stats.AfterBlockLastSeconds)
			}
			requests := stats.Requests
			if again := p.finish(codeBlocked); again.Requests != report.Requests || again.Total != report.Total {
				t.Errorf("inside the cool-down: %d requests, %d numbers; want %d and %d as before", again.Requests, again.Total, report.Requests, report.Total)
			}
			if asked := sim.stats().Requests - requests; asked != 0 {
				t.Errorf("%d requests inside the cool-down", asked)
			}
			court := fcttest.Site(t, courtsim.Options{Seed: 51, Max: 99999, Missing: 0.1})
			outcomes := p.outcomes()
			for number, outcome := range outcomes {
				if exists := court.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: number}); exists != (outcome == contract.Success) {
					t.Errorf("IMM-%d-25 is filed as %s; it exists: %t", number, outcome, exists)
				}
			}
			if len(outcomes) != report.Total || report.Failed != 0 || report.Total == 0 {
				t.Errorf("%d outcomes, %d reported, %d failed", len(outcomes), report.Total, report.Failed)
			}
			// Another court of the same files: the first one would go on blocking.
			healed := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "51")
			p.args = append(p.args, "--base-url", healed.url, "--unblock")
			if last := p.finish(codeCompleted); last.RunID != report.RunID || last.Total != numbers || last.Failed != 0 {
				t.Errorf("after the block run %s has %d numbers, %d failed; want run %s with %d and none", last.RunID, last.Total, last.Failed, report.RunID, numbers)
			}
			checkTruth(t, court, p.outcomes(), numbers)
		})
	}
}

// A block is everybody's: another run of the same site, on another process, stops too.
func TestBlock_StopsOtherRuns(t *testing.T) {
	t.Parallel()
	const concurrency = 4
	sim := startSim(t, "--max", "99999", "--missing", "0", "--seed", "52", "--latency", "20ms", "--block-after", "120:waf")
	f := newFleet(t, sim, "--delay-min", "2ms", "--delay-max", "4ms", "--concurrency", "4", "--graceful-shutdown-timeout", "5s")
	f.open(3)
	f.order("first", `{"run_id":"first","year":"25","end":3000,"probe":false}`)
	f.order("second", `{"run_id":"second","year":"24","end":3000,"probe":false}`)
	for _, run := range []contract.RunID{"first", "second"} {
		if report := f.report(run); report.Status != contract.Blocked || report.NoRecord != 0 || report.Failed != 0 {
			t.Errorf("%s: %s (%s), %d no-record, %d failed", run, report.Status, report.Reason, report.NoRecord, report.Failed)
		}
	}
	if stats := sim.stats(); stats.AfterBlock > concurrency-1 {
		t.Errorf("%d requests after the first blocked answer, want at most %d", stats.AfterBlock, concurrency-1)
	}
}

// A case that the block cuts off between its two calls has cost a request, which the report counts.
func TestBlock_CutOffRequestsCounted(t *testing.T) {
	t.Parallel()
	for after := 40; after < 40+fcttest.Scaled(2, 8); after++ { // whatever is under way just then
		sim := startSim(t, "--max", "99999", "--missing", "0.6", "--seed", "53", "--latency", "10ms", "--block-after", strconv.Itoa(after)+":403")
		p := newPlace(t, sim, "--end", "400", "--delay-min", "0", "--delay-max", "0", "--concurrency", "8")
		report := p.finish(codeBlocked)
		if asked := sim.stats().Requests; report.Requests != asked {
			t.Errorf("block after %d: %d requests reported, the court saw %d", after, report.Requests, asked)
		}
	}
}
