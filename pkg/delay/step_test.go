package delay

import (
	"testing"
	"time"
)

func TestStepBetween(t *testing.T) {
	t.Parallel()
	last := time.Now()
	if by := stepBetween(last, last.Add(time.Second)); by != 0 {
		t.Errorf("%s between two readings of clocks that agree", by)
	}
	// A reading keeps its two clocks apart from Add, so a step is the difference of two pairs of readings.
	now := time.Now()
	if by := stepBetween(last, now); by.Abs() >= stepLeast {
		t.Errorf("%s between two readings of this machine", by)
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		end  time.Time
		want time.Duration
	}{
		"clocks agree":         {now.Add(10 * time.Second), 10 * time.Second},
		"clock was set back":   {now.Add(24 * time.Hour), time.Minute},
		"over":                 {now.Add(-time.Second), 0},
		"stored without clock": {time.Time{}, 0},
	} {
		if got := Until(now, c.end.Round(0), time.Minute).Sub(now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := Until(now, now.Add(time.Hour), -time.Minute).Sub(now); got != 0 {
		t.Errorf("%s with a wait that makes no sense, want none", got)
	}
}
