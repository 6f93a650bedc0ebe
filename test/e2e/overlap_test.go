//go:build soak

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go/jetstream"
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

// overlap is what three runs of the same series and year ask for.
func overlap() map[contract.RunID]contract.Range {
	return map[contract.RunID]contract.Range{
		"first": {Start: 1, End: 200}, "same": {Start: 1, End: 150}, "later": {Start: 100, End: 300},
	}
}

// orderOverlap starts them.
func (f *fleet) orderOverlap() {
	f.t.Helper()
	for run, r := range overlap() {
		f.order(run, fmt.Sprintf(`{"run_id":%q,"year":"25","start":%d,"end":%d,"probe":false}`, run, r.Start, r.End))
	}
}

// checkOverlap waits for their ends: each has the truth of all its numbers, and no number was asked for twice.
func (f *fleet) checkOverlap(sim simulator, seed uint64) {
	t := f.t
	t.Helper()
	p, court := place{t: t, dir: f.dir}, fcttest.Site(t, courtsim.Options{Seed: seed, Max: 99999, Missing: 0.1})
	canaries, requests := 0, 0
	for run, r := range overlap() {
		report := f.report(run)
		canaries, requests = canaries+report.CanaryRequests, requests+report.Requests
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
	asked, made := sim.asked(), 0
	for _, calls := range asked {
		made += fcttest.Total(calls)
	}
	if n := fcttest.Repeated(asked); n != canaries || n > 2*len(overlap()) || made != requests {
		t.Errorf("%d requests were made twice, %d of them by canaries; %d were made, the runs count %d", n, canaries, made, requests)
	}
}

func TestOverlap_NoNumberTwice(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "11", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "4")
	f.open(1)
	f.orderOverlap()
	f.checkOverlap(sim, 11)
}

// Whoever asks is never killed, so that nothing has to be asked for twice; whoever copies is, again and again.
func TestOverlap_ClassifierKilled(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "12", "--latency", "20ms")
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "4")
	f.live = append(f.live, f.launch("generator", "prober", "fetcher", "reporter"))
	classifier := f.launch("classifier")
	f.join()
	f.orderOverlap()
	for range 8 {
		at(time.Now(), 250*time.Millisecond)
		kill(t, classifier)
		classifier = f.launch("classifier")
	}
	f.live = append(f.live, classifier)
	f.checkOverlap(sim, 12)
}

// states are what the headers say of a block of a run, by number.
func (f *fleet) states(stream, subject string) map[int]ledger.AttemptState {
	f.t.Helper()
	opened, err := f.broker.JetStream().Stream(f.t.Context(), stream)
	if err != nil {
		f.t.Fatal(err)
	}
	found := make(map[int]ledger.AttemptState)
	for next := uint64(1); ; {
		msg, err := opened.GetMsg(f.t.Context(), next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found
		}
		if err != nil {
			f.t.Fatal(err)
		}
		states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
		if err != nil {
			f.t.Fatal(err)
		}
		for _, state := range states {
			found[state.Number] = state
		}
		next = msg.Sequence + 1
	}
}

// The classifier is killed before it has copied anything, and the fetcher after it has asked for all the copies. What the reporter
// notes as collected would not be planned a second time, so it comes last.
func TestCopies_ServicesKilled(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers = 100
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "13", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "4")
	f.live = append(f.live, f.launch("generator", "prober"))
	fetcher, classifier := f.launch("fetcher"), f.launch("classifier")
	f.join()
	const long, short contract.RunID = "long", "short"
	f.order(long, `{"run_id":"long","year":"25","end":90000,"probe":false}`)
	f.until("the first run has numbers for the second", func() bool {
		states := f.states(contract.StreamOutcomes, long.OutcomeSubject(0))
		return len(states) > numbers+20
	})
	kill(t, classifier)
	f.order(short, `{"run_id":"short","year":"25","start":1,"end":100,"probe":false}`)
	f.until("copies of all numbers are asked for", func() bool { return len(f.states(contract.StreamAnswers, short.AnswerSubject(0))) == numbers })
	kill(t, fetcher)
	if n := len(f.states(contract.StreamOutcomes, short.OutcomeSubject(0))); n != 0 {
		t.Errorf("%d outcomes in the ledger while there is no classifier", n)
	}
	f.live = append(f.live, f.launch("fetcher"), f.launch("classifier"), f.launch("reporter"))
	report := f.report(short)
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 0 || report.Requests != report.CanaryRequests {
		t.Errorf("%s (%s): %d numbers, %d failed, %d requests", report.Status, report.Reason, report.Total, report.Failed, report.Requests)
	}
	p := place{t: t, dir: f.dir}
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 13, Max: 99999, Missing: 0.1}), p.outcomesOf(short), numbers)
	if out, err := exec.Command("fct-scraper", "stop", "--run", "long", "--nats-url", f.server.URL()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	canaries := report.CanaryRequests + f.report(long).CanaryRequests
	twice := make(map[string]map[string]int)
	for number, calls := range sim.asked() { // those of the long run that were in flight at the kill lie beyond
		if fcttest.Number(t, number) <= numbers {
			twice[number] = calls
		}
	}
	if n := fcttest.Repeated(twice); n > canaries {
		t.Errorf("%d requests for numbers of both runs were made twice, %d by canaries", n, canaries)
	}
}

// status is what `fct-scraper status` says of a run.
func (f *fleet) status(run string) (s runStatus) {
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

// TestTimeouts_OfOneRun: two processes whose own time-outs are long work on a run with a short one, and on another run.
func TestTimeouts_OfOneRun(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99", "--missing", "0", "--latency", "300ms")
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "2", "--backoff-base", "1ms", "--backoff-max", "10ms")
	f.open(2)
	f.order("requests", `{"run_id":"requests","year":"25","end":6,"probe":false,"max_retries":0,"request_timeout":0.05}`)
	f.order("jobs", `{"run_id":"jobs","year":"23","end":6,"probe":false,"max_retries":0,"job_timeout":"50ms"}`)
	f.order("usual", `{"run_id":"usual","year":"24","end":6,"probe":false,"max_retries":0}`)
	for run, want := range map[contract.RunID]string{"requests": "request_timeout: longer than 50ms", "jobs": "job_timeout: longer than 50ms"} {
		if report := f.report(run); report.Failed != 6 || len(report.Errors) == 0 || !strings.Contains(report.Errors[0].Error, want) {
			t.Errorf("run %s: %d failed, errors %+v; want 6 by %q", run, report.Failed, report.Errors, want)
		}
	}
	if report := f.report("usual"); report.Succeeded != 6 {
		t.Errorf("the run without time-outs of its own: %d success, %+v", report.Succeeded, report.Errors)
	}
}

func TestStop_OtherRunUntouched(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--missing", "0", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "5ms", "--delay-max", "6ms", "--concurrency", "2")
	f.open(1)
	f.order("long", `{"run_id":"long","year":"25","end":90000,"probe":false}`)
	f.order("short", `{"run_id":"short","year":"24","end":600,"probe":false}`)
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
	if report := f.report("short"); report.Status != contract.Completed || report.Succeeded != 600 {
		t.Errorf("the other run: %s (%s), %d records", report.Status, report.Reason, report.Succeeded)
	}
	if now := len(sim.asked()); now != asked {
		t.Errorf("%d numbers of the stopped run were asked for after it was stopped", now-asked)
	}
}
