package runtime

import (
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// outage is a court that is down for a while, from its n-th request on.
type outage struct {
	court    http.Handler
	from     int64
	lasts    time.Duration
	header   http.Header
	requests atomic.Int64
	begun    atomic.Pointer[time.Time]
	// asked counts the requests while it is down.
	asked atomic.Int64
}

func (o *outage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.requests.Add(1) == o.from {
		now := time.Now()
		o.begun.Store(&now)
	}
	if begun := o.begun.Load(); begun != nil && time.Since(*begun) < o.lasts {
		o.asked.Add(1)
		maps.Copy(w.Header(), o.header)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	o.court.ServeHTTP(w, r)
}

// A court that is down for twenty minutes is asked a few times only, by one case at a time; afterwards the run is as fast as
// before. Without backing off there would be 800 requests.
func TestOutage_SlowsRun(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		numbers := fcttest.Scaled(160, 300)
		p := newFixture(t, courtsim.Options{Seed: 61, Max: 99999, Latency: 200 * time.Millisecond},
			map[string]string{"end": strconv.Itoa(numbers), "delay_min": "1s", "delay_max": "2s", "concurrency": "4",
				"max_retries": "10", "safe_stop_fails": "0"})
		down := &outage{court: p.memory.court, from: 50, lasts: 20 * time.Minute}
		p.memory.court = down
		report := p.report(nil)
		if report.Status != contract.Completed || report.Succeeded != numbers {
			t.Errorf("%s: %d succeeded, %d failed", report.Status, report.Succeeded, report.Failed)
		}
		if asked := down.asked.Load(); asked < 3 || asked > 80 {
			t.Errorf("%d requests while the court was down", asked)
		}
		if slowed := time.Duration(report.SlowedSeconds * float64(time.Second)); slowed < 15*time.Minute ||
			report.WaitedSeconds <= 0 {
			t.Errorf("slowed for %s, waited for %.0f s", slowed, report.WaitedSeconds)
		}
		times := p.memory.times
		last := times[len(times)-100:]
		if took := last[99].Sub(last[0]); took > 4*time.Minute {
			t.Errorf("the last hundred requests took %s: the run has not become fast again", took)
		}
		t.Logf("%d requests in the outage, %d in all, %s", down.asked.Load(), len(times),
			times[len(times)-1].Sub(times[0]))
	})
}

// A court that says when to come back is asked nothing before, not even by a process that was started anew.
func TestRetryAfter_SharedAndStored(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 62, Max: 99999},
			map[string]string{"end": "40", "delay_min": "1s", "delay_max": "1s", "concurrency": "4",
				"max_retries": "10"})
		down := &outage{court: p.memory.court, from: 20, lasts: time.Minute,
			header: http.Header{"Retry-After": {"120"}}}
		p.memory.court = down
		p.cut(20, nil)
		if report := p.report(nil); report.Succeeded != 40 {
			t.Errorf("%d succeeded, want 40", report.Succeeded)
		}
		if asked := down.asked.Load(); asked > 4 {
			t.Errorf("%d requests while the court was to be left alone, want those under way", asked)
		}
		for i := 20 + int(down.asked.Load()) - 1; i < len(p.memory.times); i++ {
			if since := p.memory.times[i].Sub(*down.begun.Load()); since < 2*time.Minute {
				t.Errorf("request %d came %s after the court had asked for two minutes", i+1, since)
			}
		}
	})
}
