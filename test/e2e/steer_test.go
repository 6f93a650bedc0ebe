//go:build soak

package e2e_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// A paused batch is killed. The same batch, started again, goes on with its own settings.
func TestPause_KilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "60", "--seed", "33")
	p := slowPlace(t, sim, "--end", "60")
	batch := p.running(nil)
	run := string(p.status().RunID)
	did(t, codeUsage, "pause", "--run", "no-such-run", "--data-dir", p.data())
	did(t, codeUsage, "tune", "--run", run, "--concurrency", "65", "--data-dir", p.data())
	told := did(t, codeCompleted, "pause", "--run", run, "--json", "--data-dir", p.data())
	if !strings.Contains(told.stdout, `"reason": "paused"`) || strings.Contains(told.stdout, `"until"`) {
		t.Errorf("pause: %s", told.stdout)
	}
	at(time.Now(), time.Second) // the case in flight ends
	before := sim.requests()
	at(time.Now(), time.Second)
	if after := sim.requests(); after != before {
		t.Errorf("%d requests at the pause, %d later", before, after)
	}
	did(t, codeCompleted, "tune", "--run", run, "--delay-min", "0", "--delay-max", "50ms", "--data-dir", p.data())
	if err := batch.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = batch.Wait()
	report := p.finish(codeCompleted)
	if string(report.RunID) != run || report.Total != 60 || report.Retries != 0 || report.Config["delay_max"] != "100ms" ||
		len(report.Changes) != 3 {
		t.Errorf("run %s, %d numbers, %d retries, delay_max %v", report.RunID, report.Total, report.Retries,
			report.Config["delay_max"])
	}
	if n := fcttest.Repeated(sim.asked()); n != 0 {
		t.Errorf("%d requests were repeated", n)
	}
	did(t, codeUsage, "resume", "--run", run, "--data-dir", p.data())
}

// Two processes of services obey the commands of a third, which is an operator's.
func TestPauseAndTune_TwoProcesses(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 34, Max: 120}, 1<<40)
	open()
	f := newFleet(t, sim, "--delay-min", "30ms", "--delay-max", "30ms")
	f.open(2)
	f.order("steered", `{"run_id":"steered","year":"25","end":120,"probe":false}`)
	sim.await(20)
	command := func(code int, args ...string) printed {
		return did(t, code, append(args, "--run", "steered", "--nats-url", f.server.URL())...)
	}
	command(codeCompleted, "pause")
	at(time.Now(), time.Second)
	before := sim.requests()
	at(time.Now(), time.Second)
	if after := sim.requests(); after != before {
		t.Errorf("%d requests at the pause, %d later", before, after)
	}
	if told := command(codeCompleted, "status"); !strings.Contains(told.stdout, "waits: paused") {
		t.Errorf("status: %s", told.stdout)
	}
	command(codeCompleted, "tune", "--delay-min", "5ms", "--delay-max", "10ms", "--concurrency", "8")
	command(codeCompleted, "resume")
	report := f.report("steered")
	if report.Status != contract.Completed || report.Total != 120 || report.Retries != 0 || len(report.Changes) != 3 ||
		report.Config["delay_min"] != "5ms" {
		t.Errorf("%s: %s, %d numbers, %d retries, delay_min %v, changes %+v", report.Status, report.Reason, report.Total,
			report.Retries, report.Config["delay_min"], report.Changes)
	}
	if n := fcttest.Repeated(sim.asked()); n != 0 {
		t.Errorf("%d requests were repeated", n)
	}
	command(codeUsage, "pause")
}

// Fetchers of two processes end a round at max_requests together: each counts its own requests, the
// reporter all of them. What they send above it is bounded by the cases that both may have in flight.
func TestMaxRequests_TwoProcesses(t *testing.T) {
	t.Parallel()
	const limit, cases = 40, 4
	sim, open := gated(t, courtsim.Options{Seed: 35, Max: 120}, 1<<40)
	open()
	f := newFleet(t, sim, "--delay-min", "30ms", "--delay-max", "30ms", "--concurrency", strconv.Itoa(cases))
	f.open(2)
	body := fmt.Sprintf(`{"run_id":"limited","year":"25","end":120,"probe":false,"max_requests":%d}`, limit)
	for before, rounds := 0, 1; ; rounds++ {
		if _, err := f.broker.Conn().Request(contract.SubjectStart, []byte(body), time.Minute); err != nil { // it is executed
			t.Fatal(err)
		}
		report := f.report("limited")
		if report.Status == contract.Completed {
			break
		}
		sent := sim.requests() - before
		before += sent
		t.Logf("round %d: %d requests", rounds, sent)
		if report.Status != contract.Stopped || sent < limit || sent > limit+2*cases || rounds > 4 {
			t.Fatalf("round %d, %d requests: %s: %s", rounds, sent, report.Status, report.Reason)
		}
	}
	if n := fcttest.Repeated(sim.asked()); n != 0 {
		t.Errorf("%d requests were repeated", n)
	}
}
