package runtime

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// cut runs a batch until the court has been asked so often, then ends the process's work in the middle.
func (p *fixture) cut(requests int, changes map[string]string) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	defer cancel()
	p.memory.atRequest(requests, cancel) // all services at once, whatever they are doing
	defer p.memory.atRequest(0, nil)
	if _, err := p.run(ctx, changes); err != nil && !errors.Is(err, context.Canceled) {
		p.t.Fatal(err)
	}
}

// What another batch has collected meanwhile is not asked again by a run that was stopped before.
func TestResume_SkipsCollectedElsewhere(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 800, Latency: time.Millisecond},
		map[string]string{"end": "100", "concurrency": "2"})
	p.cut(50, nil)
	if report := p.report(map[string]string{"end": "90"}); report.Status != contract.Completed {
		t.Fatal(report.Reason)
	}
	before := p.memory.requests()
	last := p.report(nil)
	if asked := p.memory.requests() - before; asked > 20 || last.Skipped != 90 || last.Total != 10 {
		t.Errorf("%d requests, %d skipped, %d in total; want the ten numbers that were left", asked, last.Skipped,
			last.Total)
	}
}

// Jobs and answers leave the store with the last run that can use them: those of a run that has ended at its end, those of
// a stopped run when it completes or, if another batch has superseded it, when the store is opened again.
func TestResume_NothingLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options courtsim.Options
		changes map[string]string
		cut     bool
		left    bool // the run can be resumed: its jobs stay
		next    map[string]string
	}{
		"completed": {options: courtsim.Options{Max: 30}},
		"failed": {options: courtsim.Options{Max: 30, Faults: []courtsim.Fault{{Kind: "500", Share: 1, Times: -1}}},
			changes: map[string]string{"max_retries": "0", "safe_stop_fails": "0"}},
		"safe stop": {options: courtsim.Options{Max: 30, Faults: []courtsim.Fault{{Kind: "500", Share: 1, Times: -1}}},
			changes: map[string]string{"max_retries": "0", "safe_stop_fails": "3"}},
		"stopped":    {options: courtsim.Options{Max: 30}, changes: map[string]string{"max_requests": "8"}, left: true, next: map[string]string{}},
		"killed":     {options: courtsim.Options{Max: 30, Latency: time.Millisecond}, cut: true, left: true, next: map[string]string{}},
		"superseded": {options: courtsim.Options{Max: 30}, changes: map[string]string{"max_requests": "8"}, left: true, next: map[string]string{"end": "20"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.options.Seed = 5
			p := newFixture(t, c.options, map[string]string{"end": "30", "backoff_base": "1ms", "backoff_max": "2ms"})
			if c.cut {
				p.cut(8, c.changes)
			} else {
				p.report(c.changes)
			}
			if jobs, _ := p.leftMessages(); (jobs > 0) != c.left {
				t.Errorf("%d jobs after the first run, want some: %t", jobs, c.left)
			}
			if c.next != nil {
				if report := p.report(c.next); report.Status != contract.Completed {
					t.Fatal(report.Status, report.Reason)
				}
			}
			if jobs, answers := p.leftMessages(); jobs > 0 || answers > 0 {
				t.Errorf("%d jobs and %d answers are left", jobs, answers)
			}
		})
	}
}

// leftMessages opens the store and counts its jobs and answers.
func (p *fixture) leftMessages() (jobs, answers int) {
	p.t.Helper()
	broker, err := openBroker(p.t.Context(), p.with(nil).Config, connectOptions{exclusive: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	count := func(stream, filter string) int {
		found, err := broker.Subjects(p.t.Context(), stream, filter)
		if err != nil {
			p.t.Error(err)
		}
		return len(found)
	}
	jobs, answers = count(contract.StreamJobs, "job.*.*"), count(contract.StreamAnswers, "answer.*.*")
	if err := broker.close(); err != nil {
		p.t.Error(err)
	}
	return jobs, answers
}

// A run that goes on takes the settings of its new start, and its report says so.
func TestResume_NewSettings(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 800, Latency: time.Millisecond,
		Faults: []courtsim.Fault{{Kind: "500", Share: 0.3, Times: -1}}},
		map[string]string{"end": "100", "concurrency": "2", "backoff_base": "10ms", "backoff_max": "20ms",
			"safe_stop_fails": "0"})
	p.cut(30, nil)
	report := p.report(map[string]string{"max_retries": "0", "backoff_base": "1ms"})
	if report.Config["max_retries"] != float64(0) || report.Failed == 0 {
		t.Errorf("max_retries %v in the report, %d failed", report.Config["max_retries"], report.Failed)
	}
}

// The pretend court and a real one give their cases the same numbers.
func TestBatch_SitesIndependent(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 50}, map[string]string{"end": "50"})
	if report := p.report(nil); report.Total != 50 {
		t.Fatalf("%d in total", report.Total)
	}
	if other := p.report(map[string]string{"site": "fct-cf"}); other.Skipped != 0 || other.Total != 50 {
		t.Errorf("%d skipped, %d in total; want all of the other site asked", other.Skipped, other.Total)
	}
}

func TestBatch_NothingToRequest(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 80, Gaps: []contract.Range{{Start: 20, End: 60}}},
		map[string]string{"end": "80", "safe_stop_no_records": "0"})
	p.report(nil)
	again := p.report(map[string]string{"safe_stop_no_records": "10"})
	if again.Status != contract.Completed || again.Total != 0 {
		t.Errorf("%s: %s; %d in total", again.Status, again.Reason, again.Total)
	}
}

// A budget that is used up is no end: the same batch goes on searching until it knows the bound.
func TestProbe_BudgetUsedUp(t *testing.T) {
	t.Parallel()
	highest := fcttest.Scaled(140, 560)
	p := newFixture(t, courtsim.Options{Seed: 5, Max: highest},
		map[string]string{"probe": "true", "probe_budget": "6", "max_cases": "none", "safe_stop_no_records": "1"})
	for starts := 1; ; starts++ {
		report := p.report(map[string]string{"safe_stop_no_records": "500"})
		if report.ProbesUsed > 6*starts || p.memory.requests() > 6*starts && report.Status != contract.Completed ||
			starts > 10 {
			t.Fatalf("%d probes at start %d: %s", report.ProbesUsed, starts, report.Reason)
		}
		if report.Status == contract.Completed {
			if starts == 1 || report.UpperBound != highest {
				t.Errorf("bound %d after %d starts", report.UpperBound, starts)
			}
			break
		}
		if report.Status != contract.SafeStop || !strings.Contains(report.Reason, "probe_budget 6 was used up") ||
			report.UpperBoundConfidence != 0 {
			t.Fatalf("%s: %s, %v sure", report.Status, report.Reason, report.UpperBoundConfidence)
		}
	}
	p.checkOnce()
}

func TestProbe_BudgetTooSmall(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 560}, map[string]string{"probe": "true", "probe_budget": "1"})
	if report := p.report(nil); report.Status != contract.SafeStop || report.Requests != 0 ||
		!strings.Contains(report.Reason, "too small") {
		t.Errorf("%s: %s, %d requests", report.Status, report.Reason, report.Requests)
	}
}

func TestProbe_OnlyFailures(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"none", "1", "2"}[:fcttest.Scaled(2, 3)] {
		p := newFixture(t, courtsim.Options{Seed: 5, Max: 2,
			Faults: []courtsim.Fault{{Kind: "500", Share: 1, Times: -1}}},
			map[string]string{"probe": "true", "end": end, "max_retries": "0", "backoff_base": "1ms"})
		report := p.report(nil)
		if report.Status != contract.SafeStop || !strings.Contains(report.Reason, "only failures") ||
			report.UpperBoundConfidence != 0 {
			t.Errorf("end %s: %s: %s, %v sure", end, report.Status, report.Reason, report.UpperBoundConfidence)
		}
		p.sim = fcttest.Site(t, courtsim.Options{Seed: 5, Max: 2})
		p.memory.court = p.sim
		if report = p.report(nil); report.Status != contract.Completed || report.Failed != 0 || report.Succeeded == 0 {
			t.Errorf("end %s, healed: %s: %s, %d succeeded, %d failed", end, report.Status, report.Reason,
				report.Succeeded, report.Failed)
		}
	}
}

func TestBatch_StartAboveBound(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 60}, map[string]string{"probe": "true", "start": "5000"})
	report := p.report(nil)
	if report.Status != contract.Completed || !strings.Contains(report.Reason,
		"start 5000 lies above the upper bound") || report.UpperBoundConfidence != 0 || report.Succeeded != 0 {
		t.Errorf("%s: %s, bound %d, %v sure", report.Status, report.Reason, report.UpperBound,
			report.UpperBoundConfidence)
	}
}
