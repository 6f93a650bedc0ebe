package limit

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

func TestSiteState_UnreadableKeys(t *testing.T) {
	t.Parallel()
	bucket, err := fcttest.Broker(t).KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	const cooldown = 15 * time.Minute
	for name, value := range map[string]string{"no JSON": "\x00", "empty": "", "no end": "{}",
		"unknown version": `{"v":99,"until":"2001-01-01T00:00:00Z"}`} {
		s := newSiteState(Options{Site: "sim", Backoff: Backoff{Base: time.Second, Factor: 2, Max: time.Minute},
			Cooldown: cooldown, Log: slog.New(slog.DiscardHandler)}, bucket)
		for _, key := range []string{contract.BlockKey("sim"), contract.SlowdownKey("sim")} {
			if _, err := bucket.Put(t.Context(), key, []byte(value)); err != nil {
				t.Fatal(err)
			}
			entry, err := bucket.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			s.apply(entry, time.Now())
			if key == contract.SlowdownKey("sim") {
				continue
			}
			if block, _ := s.activeBlock(time.Now()); block == nil ||
				!block.Until.Equal(entry.Created().UTC().Add(cooldown)) {
				t.Errorf("%s: %+v, want a block for the cool-down", name, block)
			}
		}
		if name != "no end" && !s.halfOpen() { // {} is a slowdown of level 0
			t.Errorf("%s: slowdown %+v, want half-open", name, s.slowdown)
		}
	}
}

// TestSiteState_WallClockSetBack checks waits that were stored before the wall clock was set back
// by a day, while no process ran: they must not become longer.
func TestSiteState_WallClockSetBack(t *testing.T) {
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
	put(contract.BlockKey("sim"), contract.SiteBlock{CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 1},
		RunID: "run", Rule: "status", At: stored, Until: stored.Add(time.Minute)})
	put(contract.SlowdownKey("sim"), contract.SiteSlowdown{Level: 2, RaisedAt: stored,
		Until: stored.Add(time.Minute), ChangedAt: stored})
	s := newSiteState(Options{Bus: b, Site: "sim", Cooldown: time.Minute, Log: fcttest.Logger(t)}, sites)
	start, ready, ended := time.Now(), make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- s.watch(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	known := time.Now()
	if block, _ := s.activeBlock(start.Add(59 * time.Second)); block == nil {
		t.Error("the block ends too early")
	}
	if block, _ := s.activeBlock(known.Add(61 * time.Second)); block != nil {
		t.Errorf("the block lasts until %s, want a minute from now", block.Until)
	}
	if hold, _ := s.hold(); hold <= 0 || hold > time.Minute {
		t.Errorf("requests are held for %s, want at most a minute", hold)
	}
	// A failure counts at once, not only when the wall clock has reached the time of the last one.
	failed := contract.Exchange{StartedAt: time.Now(), Status: 503}
	for range toleratedFailures + 1 {
		s.Record(t.Context(), []contract.Exchange{failed}, false,
			func(contract.Exchange, time.Time) time.Duration { return 0 })
	}
	if level := s.slowdown.Level; level != 3 {
		t.Errorf("level %d after one more failure, want 3", level)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
