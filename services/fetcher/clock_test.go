package fetcher

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// TestWaitsAreNoLongerThanTheyWere: what was stored before the wall clock was set back by a day, while no process ran.
func TestWaitsAreNoLongerThanTheyWere(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	sites, err := b.KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	stored := time.Now().Add(24 * time.Hour).UTC()
	put := func(key string, value any) {
		data, err := json.Marshal(value)
		if err == nil {
			_, err = sites.Put(t.Context(), key, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(contract.BlockKey("sim"), contract.SiteBlock{CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 1}, RunID: "run", Rule: "status", At: stored, Until: stored.Add(time.Minute)})
	put(contract.SlowdownKey("sim"), contract.SiteSlowdown{Level: 2, RaisedAt: stored, Until: stored.Add(time.Minute), ChangedAt: stored})
	c := newClimate(sites, "sim", Backoff{}, time.Minute, fcttest.Logger(t))
	begun, ready, ended := time.Now(), make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- c.watch(ctx, b, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	known := time.Now()
	if block, _ := c.blocked(begun.Add(59 * time.Second)); block == nil {
		t.Error("the block is over before its time")
	}
	if block, _ := c.blocked(known.Add(61 * time.Second)); block != nil {
		t.Errorf("the block lasts until %s, want a minute from now", block.Until)
	}
	if hold, _ := c.hold(); hold <= 0 || hold > time.Minute {
		t.Errorf("nobody asks for %s more, want at most a minute", hold)
	}
	// A failure counts at once, and not when the wall clock has come to the last one's time.
	failed := contract.Exchange{StartedAt: time.Now(), Status: 503}
	for range spared + 1 {
		c.note(t.Context(), []contract.Exchange{failed}, false, func(contract.Exchange, time.Time) time.Duration { return 0 })
	}
	if level := c.slowdown.Level; level != 3 {
		t.Errorf("level %d after one more failure, want 3", level)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRetryIsDueAfterItsWait(t *testing.T) {
	t.Parallel()
	const slack = 10 * time.Millisecond // between two readings
	now := time.Now()
	for name, c := range map[string]struct {
		retryAt, stored time.Time
		most            time.Duration
	}{
		"clocks agree":                        {now.Add(10 * time.Second), now.Add(-20 * time.Second), 10 * time.Second},
		"clock set back since":                {now.Add(24*time.Hour + 30*time.Second), now.Add(24 * time.Hour), 30 * time.Second},
		"clock set back before it was stored": {now.Add(24 * time.Hour), now, time.Minute},
		"over":                                {now.Add(-time.Second), now.Add(-time.Minute), 0},
	} {
		l := ledger{longest: time.Minute}
		due := l.due(c.retryAt.Round(0), c.stored.Round(0))
		if least, most := time.Until(due), due.Sub(now); least > c.most || most < c.most-slack {
			t.Errorf("%s: due in %s to %s, want %s", name, least, most, c.most)
		}
	}
}
