package runtime

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// steered is a batch under way that a test steers.
type steered struct {
	t      *testing.T
	p      *fixture
	app    *app
	runs   Runs
	result chan RunResult
	end    func()
}

// begin starts a batch and returns once the court has been asked so often.
func (p *fixture) begin(t *testing.T, requests int, changes map[string]string) *steered {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reached := make(chan struct{})
	p.memory.atRequest(p.memory.requests()+requests, func() {
		select {
		case <-reached:
		default:
			close(reached)
		}
	})
	a, closeApp := p.open(ctx, changes)
	s := &steered{t: t, p: p, app: a, runs: Runs{broker: a.broker}, result: make(chan RunResult, 1)}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		result, err := a.runToEnd(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.result <- result
	}()
	s.end = func() {
		cancel()
		<-finished
		closeApp()
	}
	<-reached
	return s
}

func (s *steered) steer(subject string, tuning contract.Tuning) RunStatus {
	s.t.Helper()
	status, err := s.runs.Named(s.t.Context(), "")
	if err == nil {
		err = s.runs.Steer(s.t.Context(), subject, status, tuning)
	}
	if err == nil {
		status, err = s.runs.Named(s.t.Context(), "")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

// idle waits until the fetcher has no case in flight and says that the run is paused.
func (s *steered) idle() {
	s.t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if from := s.app.status.metrics.fetcher.source.Load(); from != nil {
			if state := (*from).State(); state.InFlight == 0 && state.Wait != nil && state.Wait.Reason == contract.WaitPaused {
				return
			}
		}
		if time.Now().After(limit) {
			s.t.Fatal("the fetcher does not pause")
		}
	}
}

func (s *steered) report(status contract.Status) contract.Report {
	s.t.Helper()
	result := <-s.result
	s.result <- result
	if result.Status != status || result.Report == nil {
		s.t.Fatalf("%s: %s; want %s", result.Status, result.Reason, status)
	}
	return *result.Report
}

func TestPause_HoldsRequestsUntilResume(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 60, Missing: 0.1, Latency: 5 * time.Millisecond},
		map[string]string{"end": "60", "delay_min": "30ms", "delay_max": "40ms"})
	s := p.begin(t, 20, nil)
	defer s.end()
	if status := s.steer(contract.SubjectPause, contract.Tuning{}); status.Wait == nil ||
		status.Wait.Reason != contract.WaitPaused || !status.Wait.Until.IsZero() || status.Status != contract.Running {
		t.Errorf("paused: %+v", status)
	}
	s.idle()
	before := p.memory.requests()
	s.steer(contract.SubjectPause, contract.Tuning{})                         // again is no error
	time.Sleep(time.Duration(fcttest.Scaled(300, 20_000)) * time.Millisecond) // a presence expires after 15 s
	if after := p.memory.requests(); after != before || before >= 60 {
		t.Errorf("%d requests at the pause, %d later; of 60 numbers some must be left", before, after)
	}
	s.steer(contract.SubjectResume, contract.Tuning{})
	if report := s.report(contract.Completed); report.Total != 60 || report.Failed != 0 || report.Retries != 0 {
		t.Errorf("%d numbers, %d failed, %d retries", report.Total, report.Failed, report.Retries)
	}
	p.checkOnce()
}

func TestPause_ThenStop(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 40, Latency: 5 * time.Millisecond},
		map[string]string{"end": "40", "delay_min": "10ms", "delay_max": "20ms"})
	s := p.begin(t, 10, nil)
	defer func() { s.end() }()
	status := s.steer(contract.SubjectPause, contract.Tuning{})
	s.idle()
	if err := s.runs.Stop(t.Context(), status.RunID); err != nil {
		t.Fatal(err)
	}
	s.report(contract.Stopped)
	s.end()
	s.end = func() {}
	if report := p.report(nil); report.Status != contract.Completed || report.Total != 40 {
		t.Errorf("%s: %s, %d numbers", report.Status, report.Reason, report.Total)
	}
	p.checkOnce()
}

// A process that ends while its run is paused leaves the run paused, until the same batch is started again.
func TestPause_EndsWithNextStart(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 40, Latency: 5 * time.Millisecond},
		map[string]string{"end": "40", "delay_min": "10ms", "delay_max": "20ms"})
	s := p.begin(t, 10, nil)
	s.steer(contract.SubjectPause, contract.Tuning{})
	s.idle()
	s.end()
	if report := p.report(nil); report.Status != contract.Completed || report.Total != 40 || report.Retries != 0 {
		t.Errorf("%s: %s, %d numbers, %d retries", report.Status, report.Reason, report.Total, report.Retries)
	}
	p.checkOnce()
}

// Each round ends at its limit, and the same batch goes on with a fresh one until all is done.
func TestMaxRequests_EachRound(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 50, Missing: 0.1, Latency: 5 * time.Millisecond},
		map[string]string{"end": "50", "max_requests": "20", "concurrency": "3"})
	rounds := 0
	for before := 0; ; rounds++ {
		result, err := p.run(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		sent := p.memory.requests() - before
		before += sent
		if result.Status == contract.Completed {
			break
		}
		if result.Status != contract.Stopped || result.Reason != "max_requests 20 is used up" || sent < 20 || sent > 20+3 ||
			rounds > 5 {
			t.Fatalf("round %d, %d requests: %s: %s", rounds, sent, result.Status, result.Reason)
		}
	}
	if rounds != 2 {
		t.Errorf("%d rounds ended at the limit, want 2", rounds)
	}
	p.checkOnce()
}

// What a killed process had sent does not count in the next round.
func TestMaxRequests_AfterKill(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 60, Latency: 5 * time.Millisecond},
		map[string]string{"end": "60", "max_requests": "30", "delay_min": "5ms", "delay_max": "5ms"})
	p.cut(25, nil)
	before := p.memory.requests()
	result, err := p.run(t.Context(), nil)
	if sent := p.memory.requests() - before; err != nil || result.Status != contract.Stopped || sent < 20 {
		t.Errorf("%d requests: %s: %s, %v", sent, result.Status, result.Reason, err)
	}
}

func TestMaxDuration_EachRound(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 40},
		map[string]string{"end": "40", "max_duration": "500ms", "delay_min": "40ms", "delay_max": "40ms"})
	result, err := p.run(t.Context(), nil)
	if err != nil || result.Status != contract.Stopped || result.Reason != "max_duration 500ms is over" ||
		result.Report.DurationSeconds < 0.5 || result.Report.Total == 0 {
		t.Fatalf("%s: %s, %v", result.Status, result.Reason, err)
	}
	if again, err := p.run(t.Context(), nil); err != nil || again.Status != contract.Stopped ||
		again.Report.DurationSeconds < 1 || again.Report.Total <= result.Report.Total {
		t.Errorf("second round: %s: %s, %v", again.Status, again.Reason, err)
	}
	if report := p.report(map[string]string{"max_duration": "none"}); report.Status != contract.Completed || report.Total != 40 {
		t.Errorf("without the limit: %s: %s, %d numbers", report.Status, report.Reason, report.Total)
	}
	p.checkOnce()
}

func TestTune_InReport(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 200, Latency: 5 * time.Millisecond},
		map[string]string{"end": "200", "delay_min": "50ms", "delay_max": "50ms", "concurrency": "2"})
	s := p.begin(t, 10, nil)
	defer s.end()
	least, most, cases := 5*time.Millisecond, 10*time.Millisecond, 8
	status := s.steer(contract.SubjectTune, contract.Tuning{DelayMin: &least, DelayMax: &most, Concurrency: &cases})
	if status.Tuned["concurrency"] != 8 || status.Tuned["delay_max"] != "10ms" {
		t.Errorf("status: %v", status.Tuned)
	}
	report := s.report(contract.Completed)
	if c := report.Config; c["delay_min"] != "5ms" || c["delay_max"] != "10ms" || c["concurrency"] != float64(8) && c["concurrency"] != 8 {
		t.Errorf("config: %v %v %v", c["delay_min"], c["delay_max"], c["concurrency"])
	}
	if len(report.Changes) != 1 || report.Changes[0].Command != "tune" || report.Changes[0].At.IsZero() {
		t.Errorf("changes: %+v", report.Changes)
	}
}
