package runtime

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
)

// softening is a court that from some request on says of everything, in good form, that there is no such file, until
// it is over.
type softening struct {
	court, empty http.Handler
	after        int64
	requests     atomic.Int64
	over         atomic.Bool
}

func (s *softening) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.requests.Add(1) > s.after && !s.over.Load() {
		s.empty.ServeHTTP(w, r)
		return
	}
	s.court.ServeHTTP(w, r)
}

// soften makes the site show no records after a number of requests.
func (p *fixture) soften(after int) *softening {
	p.t.Helper()
	s := &softening{court: p.sim, empty: fcttest.Site(p.t, courtsim.Options{}), after: int64(after)}
	p.memory.court = s
	return s
}

// collected returns the collected numbers of the fixture's year.
func (p *fixture) collected() map[int]contract.Collected {
	p.t.Helper()
	settings := p.with(nil)
	broker, err := openBroker(p.t.Context(), settings.Config, connectOptions{exclusive: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	keys := make(map[int]contract.Collected)
	err = runs.EachOutcome(p.t.Context(), broker.Bus, contract.BucketCollected, "sim", "IMM", settings.Year, func(number int, value contract.Collected) {
		keys[number] = value
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := broker.close(); err != nil {
		p.t.Fatal(err)
	}
	return keys
}

// falsehoods counts the keys that say something of a number that is not so.
func (p *fixture) falsehoods(keys map[int]contract.Collected) (n int) {
	for number, value := range keys {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
		if (value.Outcome == contract.Success) != p.sim.Exists(id) {
			n++
		}
	}
	return n
}

// softened runs a batch against a court that goes soft, and again when that is over; it returns how the first one ended.
func (p *fixture) softened(after int, numbers contract.Range) RunResult {
	p.t.Helper()
	soft := p.soften(after)
	run, err := p.run(p.t.Context(), nil)
	if err != nil || run.Report == nil {
		p.t.Fatalf("%s: %v", run.Status, err)
	}
	report := *run.Report
	keys := p.collected()
	if n := p.falsehoods(keys); n != 0 || len(keys) != report.TotalAttempted-report.Unconfirmed || report.Total != report.Succeeded+report.NoRecord+report.Failed {
		p.t.Errorf("soft after %d: %s: %d of %d keys are false; %d = %d + %d + %d", after, run.Reason, n, len(keys), report.Total, report.Succeeded, report.NoRecord, report.Failed)
	}
	if run.Status == contract.Blocked && run.Resumable() {
		p.t.Error("a blocked run is resumable")
	}
	if report.Requests != p.memory.requests() {
		p.t.Errorf("%d requests reported, the court saw %d", report.Requests, p.memory.requests())
	}
	soft.over.Store(true)
	p.wanted.Unblock = true
	again, err := p.run(p.t.Context(), nil)
	if err != nil || again.Status != contract.Completed || run.Status == contract.Blocked && again.Report.RunID == report.RunID {
		p.t.Fatalf("again: %s: %s: %v", again.Status, again.Reason, err)
	}
	keys = p.collected()
	exist, missing := fcttest.Truth(p.sim, numbers)
	got := make(map[contract.Outcome]int)
	for n := numbers.Start; n <= numbers.End; n++ {
		got[keys[n].Outcome]++
	}
	if n := p.falsehoods(keys); n != 0 || got[contract.Success] != exist || got[contract.NoRecord] != missing {
		p.t.Errorf("soft after %d, then healthy: %d keys are false; %v; want %d records and %d no-records", after, n, got, exist, missing)
	}
	p.t.Logf("soft after %d: %s: %s", after, run.Status, run.Reason)
	return run
}

func TestSoftBlock_NoFalseNoRecord(t *testing.T) {
	t.Parallel()
	for _, after := range []int{40, 305, 326, 3, 150, 280, 315, 322}[:fcttest.Scaled(2, 8)] {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			p := newFixture(t, courtsim.Options{Seed: 3, Max: 300, Missing: 0.1}, map[string]string{"end": "300", "concurrency": "8"})
			if run := p.softened(after, contract.Range{Start: 1, End: 300}); run.Status != contract.Blocked || !run.Superseded {
				t.Errorf("%s, superseded %t: %s", run.Status, run.Superseded, run.Reason)
			}
		})
	}
}

func TestSoftBlock_DuringSearch(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	for _, after := range []int{8, 20, 6, 12, 16, 25}[:fcttest.Scaled(2, 6)] {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			p := newFixture(t, courtsim.Options{Seed: 4, Max: 600, Missing: 0.05}, map[string]string{"probe": "true"})
			if run := p.softened(after, contract.Range{Start: 1, End: 600}); run.Status != contract.Blocked {
				t.Errorf("%s: %s", run.Status, run.Reason)
			}
		})
	}
}

func TestSoftBlock_InsideStreak(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	for _, after := range []int{180, 70, 255}[:fcttest.Scaled(1, 3)] { // numbers 61 to 160 take two requests each
		p := newFixture(t, courtsim.Options{Seed: 5, Max: 60}, map[string]string{"end": "400", "safe_stop_no_records": "100", "concurrency": "4"})
		soft := p.soften(after)
		run, err := p.run(t.Context(), nil)
		if err != nil || run.Status != contract.Blocked || !run.Superseded {
			t.Fatalf("soft after %d: %s: %s: %v", after, run.Status, run.Reason, err)
		}
		soft.over.Store(true)
		p.wanted.Unblock = true
		if again := p.report(nil); again.Status != contract.SafeStop || p.falsehoods(p.collected()) != 0 {
			t.Errorf("soft after %d, then healthy: %s: %s", after, again.Status, again.Reason)
		}
	}
}

// In a year in which one number in ten is missing hardly a canary is asked, whatever the order of the answers.
func TestCanary_FewOnHealthySite(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	numbers := fcttest.Scaled(750, 3000)
	p := newFixture(t, courtsim.Options{Seed: 6, Max: numbers, Missing: 0.1}, map[string]string{"end": strconv.Itoa(numbers), "concurrency": "16"})
	report := p.report(nil)
	_, missing := fcttest.Truth(p.sim, contract.Range{Start: 1, End: numbers})
	canaries := report.Requests - numbers - missing - p.headerOnly(numbers)
	if report.Status != contract.Completed || canaries != report.CanaryRequests || canaries > 1 {
		t.Errorf("%s: %d requests more than numbers take, %d of them said to be canaries", report.Status, canaries, report.CanaryRequests)
	}
}

// headerOnly counts the cases up to a number that take two requests although they exist.
func (p *fixture) headerOnly(last int) (n int) {
	for number, calls := range p.sim.Stats().PerNumber["IMM-25"] {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: fcttest.Number(p.t, number)}
		if id.Number <= last && p.sim.Exists(id) && calls["header"] > 0 {
			n++
		}
	}
	return n
}

// At the default pace a canary waits for its turn like any other request, and the site is left alone from then on.
func TestCanary_BadStopsRequests(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 300}, map[string]string{"end": "300", "delay_min": "100ms", "delay_max": "100ms", "concurrency": "4"})
		p.soften(30)
		report := p.report(nil)
		if report.Status != contract.Blocked || report.NoRecord != 0 || report.Succeeded != 30 {
			t.Errorf("%s: %s; %d succeeded, %d no-records", report.Status, report.Reason, report.Succeeded, report.NoRecord)
		}
		for i := 1; i < len(p.memory.times); i++ {
			if gap := p.memory.times[i].Sub(p.memory.times[i-1]); gap < 100*time.Millisecond {
				t.Errorf("requests %d and %d are %s apart", i-1, i, gap)
			}
		}
		// 30 files, 20 no-records of two requests each, those under way, two canaries of two requests each.
		if asked := p.memory.requests(); asked > 30+40+3*2*4+4 {
			t.Errorf("%d requests", asked)
		}
		before := p.memory.requests()
		if again := p.report(nil); again.Status != contract.Blocked || p.memory.requests() != before {
			t.Errorf("started again within the cool-down: %s, %d requests", again.Status, p.memory.requests()-before)
		}
	})
}

// A court that shows nothing from the first request on looks like an empty year: its no-records are asked again.
func TestCanary_SiteShowsNothing(t *testing.T) {
	t.Parallel()
	for name, probe := range map[string]string{"without a search": "false", "with a search": "true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newFixture(t, courtsim.Options{Seed: 3, Max: 100, Missing: 0.1}, map[string]string{"end": "100", "probe": probe})
			run := p.softened(0, contract.Range{Start: 1, End: 100})
			if r := run.Report; run.Status != contract.Completed || r.Unconfirmed != r.NoRecordCount || r.Unconfirmed == 0 {
				t.Errorf("%s: %d of %d no-records unconfirmed", run.Status, r.Unconfirmed, r.NoRecordCount)
			}
		})
	}
}
