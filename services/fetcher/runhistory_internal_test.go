package fetcher

import (
	"testing"
	"time"
)

func TestRunHistoryRetryDue_WallClockSetBack(t *testing.T) {
	t.Parallel()
	const slack = 10 * time.Millisecond // between two readings of the clock
	now := time.Now()
	for name, c := range map[string]struct {
		retryAt, stored time.Time
		most            time.Duration
	}{
		"clocks agree": {now.Add(10 * time.Second), now.Add(-20 * time.Second),
			10 * time.Second},
		"clock set back since": {now.Add(24*time.Hour + 30*time.Second), now.Add(24 * time.Hour),
			30 * time.Second},
		"clock set back before it was stored": {now.Add(24 * time.Hour), now, time.Minute},
		"already due":                         {now.Add(-time.Second), now.Add(-time.Minute), 0},
	} {
		h := runHistory{maxWait: time.Minute}
		due := h.retryDue(c.retryAt.Round(0), c.stored.Round(0))
		if shortest, longest := time.Until(due), due.Sub(now); shortest > c.most || longest < c.most-slack {
			t.Errorf("%s: due in %s to %s, want %s", name, shortest, longest, c.most)
		}
	}
}
