package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

// outcomesOf reads the attempts file of one run: the outcome of each number, which is to be there once.
func (p place) outcomesOf(run contract.RunID) map[int]contract.Outcome {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, "output", fmt.Sprintf("attempts_%s.ndjson", run)))
	if err != nil {
		p.t.Fatal(err)
	}
	found := make(map[int]contract.Outcome)
	for text := range strings.Lines(string(data)) {
		var line contract.AttemptLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			p.t.Fatalf("%v: %q", err, text)
		}
		if found[line.CaseID.Number] != "" {
			p.t.Errorf("%s has two outcomes in run %s", line.CaseID, run)
		}
		found[line.CaseID.Number] = contract.Outcome(line.Outcome)
	}
	return found
}

func TestRunsThatOverlapAskForNoNumberTwice(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "11", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "4")
	f.open(1)
	ranges := map[contract.RunID]contract.Range{
		"first": {Start: 1, End: 200}, "same": {Start: 1, End: 150}, "later": {Start: 100, End: 300},
	}
	for run, r := range ranges {
		f.order(run, fmt.Sprintf(`{"run_id":%q,"year":"25","start":%d,"end":%d,"probe":false}`, run, r.Start, r.End))
	}
	p, court := place{t: t, dir: f.dir}, newSim(t, courtsim.Options{Seed: 11, Max: 99999, Missing: 0.1})
	canaries := 0
	for run, r := range ranges {
		report := f.report(run)
		canaries += report.CanaryRequests
		if report.Status != contract.Completed || report.Failed != 0 || report.Total+report.Skipped != r.Size() {
			t.Errorf("%s: %s (%s): %d numbers, %d failed, %d skipped; want %d", run, report.Status, report.Reason, report.Total, report.Failed, report.Skipped, r.Size())
		}
		outcomes := p.outcomesOf(run)
		if len(outcomes) != report.Total {
			t.Errorf("%s: %d outcomes for a total of %d", run, len(outcomes), report.Total)
		}
		for n, outcome := range outcomes {
			if exists := court.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}); exists != (outcome == contract.Success) {
				t.Errorf("%s: number %d is %q, it exists: %v", run, n, outcome, exists)
			}
		}
	}
	if n := repeated(sim.asked()); n != canaries || n > 2*len(ranges) {
		t.Errorf("%d requests were made twice, %d of them by canaries", n, canaries)
	}
}

// status is what `fct-scraper status` says of a run.
func (f *fleet) status(run string) (s standing) {
	f.t.Helper()
	out, err := exec.Command("fct-scraper", "status", "--json", "--run", run, "--nats-url", f.server.URL()).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	return s
}

func TestStoppingOneRunDoesNotTouchAnother(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "5ms", "--delay-max", "6ms", "--concurrency", "2")
	f.open(1)
	f.order("long", `{"run_id":"long","year":"25","end":90000,"probe":false}`)
	f.order("short", `{"run_id":"short","year":"24","end":150,"probe":false}`)
	for began := time.Now(); len(sim.stats().PerNumber["IMM-24"]) < 20; {
		if time.Since(began) > time.Minute {
			t.Fatal("the second run is not worked on")
		}
		at(time.Now(), 20*time.Millisecond)
	}
	if now := f.status("short"); now.Status != contract.Running || now.StartID != "IMM-1-24" || now.Failed != 0 {
		t.Errorf("status of the second run: %+v", now)
	}
	if out, err := exec.Command("fct-scraper", "stop", "--run", "long", "--nats-url", f.server.URL()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if report := f.report("long"); report.Status != contract.Stopped {
		t.Errorf("the stopped run: %s (%s)", report.Status, report.Reason)
	}
	asked := len(sim.asked())
	if report := f.report("short"); report.Status != contract.Completed || report.Succeeded != 150 {
		t.Errorf("the other run: %s (%s), %d records", report.Status, report.Reason, report.Succeeded)
	}
	if now := len(sim.asked()); now != asked {
		t.Errorf("%d numbers of the stopped run were asked for after it was stopped", now-asked)
	}
}
