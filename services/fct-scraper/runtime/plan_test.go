package runtime

import (
	"math"
	"os"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"
)

// plan is what a batch with these changes would do now.
func (p *fixture) plan(changes map[string]string) BatchPlan {
	p.t.Helper()
	plan, err := p.process(changes).Plan(p.t.Context(), p.wanted, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return plan
}

// checkPlan plans a batch, runs it, and compares the two. It returns the plan.
func (p *fixture) checkPlan(name string, changes map[string]string) BatchPlan {
	p.t.Helper()
	before := p.memory.requests()
	plan := p.plan(changes)
	if sent := p.memory.requests() - before; sent > 0 {
		p.t.Errorf("%s: the plan sent %d requests", name, sent)
	}
	report := p.report(changes)
	sent := p.memory.requests() - before
	p.t.Logf("%s: %d of %d numbers to request, %d requests planned, %d sent (%d no-records, %d probes, %d canaries, bound %d)", name, plan.ToRequest, plan.Selected, plan.Requests, sent, report.NoRecord, report.ProbesUsed, report.CanaryRequests, report.UpperBound)
	if math.Abs(float64(plan.Requests-sent)) > 0.1*float64(sent) {
		p.t.Errorf("%s: %d requests planned, %d sent", name, plan.Requests, sent)
	}
	if report.Status != contract.Completed || plan.Skipped != report.Skipped && plan.RunID == "" {
		p.t.Errorf("%s: %s, %d skipped, planned %d", name, report.Status, report.Skipped, plan.Skipped)
	}
	return plan
}

// The requests of a run are within a tenth of its plan, which itself sends none.
func TestPlan_Requests(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 11, Max: 120, Missing: 0.05}, map[string]string{"concurrency": "16"})
	grow := func(highest int) {
		p.sim = fcttest.Site(t, courtsim.Options{Seed: 11, Max: highest, Missing: 0.05})
		p.memory.court = p.sim
	}
	if fresh := p.plan(map[string]string{"end": "60"}); fresh.CollectedSuccess != 0 || fresh.ToRequest != 60 || !fresh.BoundKnown {
		t.Errorf("without a store: %+v", fresh)
	}
	if _, err := os.Stat(p.settings["data_dir"]); !os.IsNotExist(err) {
		t.Errorf("the plan has created a store: %v", err)
	}
	p.checkPlan("fresh range", map[string]string{"end": "60"})
	p.checkPlan("half collected", map[string]string{"end": "120"})
	again := map[string]string{"end": "120", "force": "true", "concurrency": "1"}
	p.cut(p.memory.requests()+50, again)
	resumed := p.checkPlan("resumed", again)
	if resumed.RunID == "" || resumed.ToRequest >= 85 || resumed.ToRequest < 70 {
		t.Errorf("resumed: %d to request in run %q", resumed.ToRequest, resumed.RunID)
	}
	grow(240)
	p.wanted.OnlyNew = true
	grown := p.checkPlan("new after growth", map[string]string{"probe": "true", "end": "240"})
	if grown.BoundKnown || grown.UpperBound > 120 || grown.UpperBound < 110 || grown.Search == nil || grown.RangeUnknown == "" {
		t.Errorf("%+v", grown)
	}
	p.wanted.OnlyNew = false
	p.checkPlan("force", map[string]string{"end": "60", "force": "true"})
	grow(5000)
	var lists contract.CaseLists
	for n := 200; n <= 320; n += 2 {
		for range 2 {
			lists.Add(contract.CaseID{Series: "IMM", Year: "25", Number: n})
		}
	}
	p.ids = lists.Lists()[0]
	if list := p.checkPlan("list", nil); list.Listed != 61 || list.Skipped == 0 {
		t.Errorf("%d listed, %d skipped", list.Listed, list.Skipped)
	}
	p.ids = contract.CaseList{}
	open := p.plan(map[string]string{"probe": "true", "year": "24"})
	if open.End != 0 || open.ToRequest != 0 || open.Requests != searchRequests || open.RangeUnknown == "" {
		t.Errorf("a year of which nothing is known: %+v", open)
	}
}

// A server without streams has collected nothing, and the plan creates none.
func TestPlan_ServerWithoutStreams(t *testing.T) {
	t.Parallel()
	server, err := natsd.StartOn(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	p := newFixture(t, courtsim.Options{Max: 9}, map[string]string{"nats_url": server.URL(), "end": "9"})
	for range 2 {
		if plan := p.plan(nil); plan.ToRequest != 9 || plan.CollectedSuccess != 0 {
			t.Errorf("%+v", plan)
		}
	}
}

// The time of a run with quiet hours and rests is within a tenth of its plan.
func TestPlan_Time(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		begun := time.Now()
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 500, Missing: 0.05, Latency: 400 * time.Millisecond}, map[string]string{
			"end": "30", "delay_min": "2s", "delay_max": "4s", "rest_every": "10", "rest_for": "15s", "concurrency": "2",
			"quiet_hours": begun.Add(time.Minute).Format("15:04") + "-" + begun.Add(2*time.Minute).Format("15:04"),
		})
		plan := p.plan(nil)
		report := p.report(nil)
		took := time.Since(begun).Seconds()
		if report.Status != contract.Completed || math.Abs(plan.Seconds-took) > took/10 {
			t.Errorf("%s after %.0f s, planned %.0f s: %+v", report.Status, took, plan.Seconds, plan)
		}
		if plan.Rests != 3 || len(plan.QuietWaits) != 1 {
			t.Errorf("%d rests, waits %v", plan.Rests, plan.QuietWaits)
		}
		t.Logf("%.0f s planned, %.0f s in fact", plan.Seconds, took)
	})
}
