package fetcher_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/fetcher/limit"
)

// gauge counts the cases in flight and notes when each began.
type gauge struct {
	mu            sync.Mutex
	inFlight, max int
	begun         []time.Time
}

func (g *gauge) answer(ctx context.Context, n int) (contract.Exchange, error) {
	g.mu.Lock()
	g.inFlight++
	g.max = max(g.max, g.inFlight)
	g.begun = append(g.begun, time.Now())
	g.mu.Unlock()
	_ = delay.Sleep(ctx, 30*time.Millisecond)
	g.mu.Lock()
	g.inFlight--
	g.mu.Unlock()
	return okExchange(ctx, n)
}

// reset returns the most cases in flight and the starts since the last call, and forgets them.
func (g *gauge) reset() (most int, begun []time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, begun = g.max, g.begun
	g.max, g.begun = g.inFlight, nil
	return most, begun
}

func (g *gauge) now() (inFlight, begun, most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inFlight, len(g.begun), g.max
}

// Two fetchers of one run obey what is tuned together, while they send requests.
func TestTune_TwoFetchers(t *testing.T) {
	t.Parallel()
	f, g := newFixture(t, 3000), &gauge{}
	f.site.answer = g.answer
	for _, id := range []string{"one", "two"} {
		defer f.startFetcher(func(o *fetcher.Options) {
			o.ID, o.Process, o.Shared, o.Concurrency = id, id, true, 2
			o.Pace = limit.Pace{}
		})()
	}
	begun := func(n int) {
		f.waitUntil(func() bool { _, started, _ := g.now(); return started >= n })
	}
	begun(20)
	if most, _ := g.reset(); most > 2 {
		t.Fatalf("%d cases in flight, want 2", most)
	}
	tune := func(least, most time.Duration, cases int) {
		f.put(runID.ControlKey(), contract.Control{
			Tuning: contract.Tuning{DelayMin: &least, DelayMax: &most, Concurrency: &cases}})
	}
	tune(0, 0, 6)
	f.waitUntil(func() bool { _, _, most := g.now(); return most >= 6 })
	begun(100)
	if most, _ := g.reset(); most > 6 {
		t.Errorf("%d cases in flight, want 6", most)
	}
	const pause = 100 * time.Millisecond
	tune(pause, pause, 1)
	f.waitUntil(func() bool { // until the last cases of the former pace have ended
		g.reset()
		time.Sleep(5 * pause)
		_, started, most := g.now()
		return started <= 5 && most <= 1
	})
	g.reset()
	begun(10)
	most, starts := g.reset()
	if most > 1 {
		t.Errorf("%d cases in flight, want 1", most)
	}
	for i := 1; i < len(starts); i++ {
		if gap := starts[i].Sub(starts[i-1]); gap < pause*9/10 {
			t.Errorf("requests %d and %d are %s apart", i-1, i, gap)
		}
	}
	f.put(runID.ControlKey(), contract.Control{}) // the settings apply again
	f.waitUntil(func() bool { _, _, most := g.now(); return most == 2 })
	begun(50)
	if most, _ := g.reset(); most > 2 {
		t.Errorf("%d cases in flight, want 2", most)
	}
}

// A pause of a run stops both its fetchers, and none of them has a case twice.
func TestPause_TwoFetchers(t *testing.T) {
	t.Parallel()
	const jobs = 200
	f, g := newFixture(t, jobs), &gauge{}
	f.site.answer = g.answer
	for _, id := range []string{"one", "two"} {
		defer f.startFetcher(func(o *fetcher.Options) { o.ID, o.Process, o.Shared = id, id, true })()
	}
	for _, requests := range []int{20, 60, 100} {
		f.waitUntil(func() bool { total, _ := f.site.requests(); return total >= requests })
		f.put(runID.ControlKey(), contract.Control{Paused: true, Reason: "lunch"})
		f.waitUntil(func() bool { // both have left the run
			presences := 0
			fetchers, err := f.bus.KV(t.Context(), contract.BucketFetchers)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"one", "two"} {
				if _, err := fetchers.Get(t.Context(), runID.FetcherKey(id)); err == nil {
					presences++
				}
			}
			inFlight, _, _ := g.now()
			return presences == 0 && inFlight == 0
		})
		before, _ := f.site.requests()
		time.Sleep(100 * time.Millisecond) // no condition: nothing may happen
		if after, _ := f.site.requests(); after != before {
			t.Errorf("%d requests at the pause, %d later", before, after)
		}
		f.put(runID.ControlKey(), contract.Control{})
	}
	f.waitUntil(func() bool { total, _ := f.site.requests(); return total >= jobs })
	if total, most := f.site.requests(); total != jobs || most != 1 {
		t.Errorf("%d requests, %d for one number", total, most)
	}
}
