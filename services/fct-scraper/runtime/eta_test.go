package runtime

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
)

// events collects the events of the runs of a fixture.
type events struct {
	mu  sync.Mutex
	all []contract.Event
}

func (e *events) follow(nc *nats.Conn, run contract.RunID) (stop func(), err error) {
	subscription, err := nc.Subscribe(run.EventSubject("*"), func(msg *nats.Msg) {
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) != nil {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, event)
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = subscription.Unsubscribe() }, nil
}

// The time left that the events tell is at most 20 % off from a tenth of the run on.
func TestTimeLeft_Honest(t *testing.T) {
	pace := map[string]string{"delay_min": "1s", "delay_max": "3s", "concurrency": "4"}
	steady := courtsim.Options{Seed: 7, Max: 2000, Missing: 0.05, Latency: 400 * time.Millisecond}
	faulty := steady
	faulty.Faults = []courtsim.Fault{{Kind: "500", Share: 0.05, Times: 1}}
	found := steady
	found.Max = 260
	for name, c := range map[string]struct {
		court    courtsim.Options
		settings map[string]string
		// stopAfter is the number of requests after which the run is stopped and resumed later.
		stopAfter int
		// pauseAfter is the number of requests after which the run is paused for ten minutes.
		pauseAfter int
		// from is the share of the run from which on the time left is checked; 0 is a tenth.
		from float64
	}{
		"steady pace":      {court: steady, settings: map[string]string{"max_cases": "240"}},
		"faults":           {court: faulty, settings: map[string]string{"max_cases": "240"}},
		"stop and resume":  {court: steady, settings: map[string]string{"max_cases": "240"}, stopAfter: 100},
		"pause and resume": {court: steady, settings: map[string]string{"max_cases": "240"}, pauseAfter: 100},
		"quiet hours":      {court: steady, settings: map[string]string{"max_cases": "240", "quiet_hours": "00:03-00:08"}},
		"rests":            {court: steady, settings: map[string]string{"max_cases": "240", "rest_every": "40", "rest_for": "1m"}},
		"search":           {court: found, settings: map[string]string{"probe": "true"}},
		"slow site":        {court: courtsim.Options{Seed: 7, Max: 2000, Latency: 20 * time.Second}, settings: map[string]string{"max_cases": "60"}},
		"retries at the end": {court: courtsim.Options{Seed: 7, Max: 2000, Latency: 400 * time.Millisecond,
			Faults: []courtsim.Fault{{Kind: "500", Share: 0.1, Times: 1}}},
			settings: map[string]string{"max_cases": "60", "backoff_base": "4m", "backoff_max": "4m"},
			from:     0.3}, // the first fault is seen after a fifth
	} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				p := newFixture(t, c.court, pace)
				if c.stopAfter > 0 {
					p.cut(c.stopAfter, c.settings)
					time.Sleep(time.Hour)
				}
				var seen events
				p.follow = seen.follow
				var report contract.Report
				if c.pauseAfter > 0 {
					s := p.begin(t, c.pauseAfter, c.settings)
					defer s.end()
					s.steer(contract.SubjectPause, contract.Tuning{})
					time.Sleep(10 * time.Minute)
					s.steer(contract.SubjectResume, contract.Tuning{})
					report = s.report(contract.Completed)
				} else {
					report = p.report(c.settings)
				}
				if report.Status != contract.Completed {
					t.Fatal(report.Status, report.Reason)
				}
				checkTimeLeft(t, seen.all, cmp.Or(c.from, 0.1))
			})
		})
	}
}

// The end of a long run is forecast as soon as its bound is known, long before all its jobs are published.
func TestTimeLeft_LongSearch(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: contract.MaxNumber, Latency: 400 * time.Millisecond},
			map[string]string{"delay_min": "1s", "delay_max": "3s", "probe": "true", "max_requests": "300"})
		var seen events
		p.follow = seen.follow
		report := p.report(nil)
		if report.Status != contract.Stopped || report.UpperBound != contract.MaxNumber {
			t.Fatal(report.Status, report.Reason, report.UpperBound)
		}
		requests := 0
		for _, e := range seen.all[:len(seen.all)-1] {
			if e.LeftUnknown == contract.LeftUnknownSearching {
				continue
			}
			requests++
			// Two seconds a request. A number takes one, but two while it is searched for, which the first
			// forecasts are made from.
			want, allowed := 2*float64(e.Metrics.Left), 0.2
			if e.Metrics.Left > contract.MaxNumber-20 {
				allowed = 1.2
			}
			left := math.NaN()
			if e.LeftSeconds != nil {
				left = *e.LeftSeconds
			}
			if e.Planned != contract.MaxNumber || e.Phase != contract.PhaseFetching || !(math.Abs(left-want) < allowed*want) {
				t.Errorf("event %d: %d planned, %d left, %s, %.0f s left (%s), want %.0f", requests, e.Planned, e.Metrics.Left,
					e.Phase, left, e.LeftUnknown, want)
			}
		}
		if probes := report.ProbesUsed; requests < (report.Requests-probes)/2 {
			t.Errorf("%d events with a forecast, %d requests, %d of the search", requests, report.Requests, probes)
		}
		if m := report.Metrics; m.Planned != contract.MaxNumber || m.Left != m.Planned-report.Total {
			t.Errorf("the report: %d planned, %d left, %d done", m.Planned, m.Left, report.Total)
		}
	})
}

// checkTimeLeft compares the time left of each event with the time that the run took from then on, from a
// share of the run on. A search and a pause do not count: their ends are unknown.
func checkTimeLeft(t *testing.T, all []contract.Event, from float64) {
	t.Helper()
	began, end := all[0].At, all[len(all)-1].At
	for i, e := range all[:len(all)-1] {
		if e.Phase == contract.PhasePaused { // before the pause nobody can know it
			end = end.Add(e.At.Sub(all[i+1].At))
		}
	}
	worst, at, checked := 0.0, "", 0
	for i, e := range all[:len(all)-1] {
		if e.Phase == contract.PhasePaused {
			end = end.Add(all[i+1].At.Sub(e.At))
			continue
		}
		if e.LeftUnknown == contract.LeftUnknownSearching {
			began = e.At
		}
		if took := e.At.Sub(began).Seconds(); took == 0 || took < from*end.Sub(began).Seconds() {
			continue
		}
		if e.LeftSeconds == nil {
			t.Errorf("after %s of %s: unknown, %s", e.At.Sub(began), end.Sub(began), e.LeftUnknown)
			continue
		}
		checked++
		left := end.Sub(e.At).Seconds()
		// A few pauses are as long as they are drawn: the sum of 37 between 1 s and 3 s has a standard
		// deviation of 3.5 s. In the last 75 seconds, 15 seconds are allowed.
		if off := math.Abs(*e.LeftSeconds-left) / max(75, left); off > worst {
			worst, at = off, fmt.Sprintf("after %s of %s: %.0f s", e.At.Sub(began), end.Sub(began), *e.LeftSeconds)
		}
	}
	t.Logf("%d events, the worst %.0f %% off %s", checked, 100*worst, at)
	if checked < 15 || worst > 0.2 {
		t.Errorf("%d events, the worst %.0f %% off %s", checked, 100*worst, at)
	}
}
