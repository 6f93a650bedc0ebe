package fetcher

import (
	"log/slog"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

func TestUnreadableKeysOfASiteAreReadSafely(t *testing.T) {
	t.Parallel()
	bucket, err := fcttest.Broker(t).KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	const cooldown = 15 * time.Minute
	for name, value := range map[string]string{"no JSON": "\x00", "empty": "", "no end": "{}", "unknown version": `{"v":99,"until":"2001-01-01T00:00:00Z"}`} {
		c := newClimate(bucket, "sim", Backoff{Base: time.Second, Factor: 2, Max: time.Minute}, cooldown, slog.New(slog.DiscardHandler))
		for _, key := range []string{contract.BlockKey("sim"), contract.SlowdownKey("sim")} {
			if _, err := bucket.Put(t.Context(), key, []byte(value)); err != nil {
				t.Fatal(err)
			}
			entry, err := bucket.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			c.learn(entry, time.Now())
			if key == contract.SlowdownKey("sim") {
				continue
			}
			if block, _ := c.blocked(time.Now()); block == nil || !block.Until.Equal(entry.Created().UTC().Add(cooldown)) {
				t.Errorf("%s: %+v, want a block for the cool-down", name, block)
			}
		}
		if name != "no end" && !c.open() { // {} is a slowdown that slows nobody down
			t.Errorf("%s: slowdown %+v, want one case at a time", name, c.slowdown)
		}
	}
}
