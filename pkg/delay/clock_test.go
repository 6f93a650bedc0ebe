package delay

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockSteps_ReportedOnce sets the wall clock between the ticks. The first difference is too
// small for a step, as of a slewed clock.
func TestClockSteps_ReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var set atomic.Int64
		read := func() clockReading {
			elapsed := time.Since(begun)
			return clockReading{wall: begun.Add(elapsed + time.Duration(set.Load())).Round(0), elapsed: elapsed}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var told []time.Duration
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watchSteps(ctx, func(by time.Duration) { told = append(told, by) }, read)
		}()
		want := []time.Duration{-10 * time.Minute, time.Hour, -24 * time.Hour, -minStep}
		for _, by := range append([]time.Duration{time.Second}, want...) {
			synctest.Wait()
			set.Add(int64(by))
			time.Sleep(3 * stepTick)
		}
		cancel()
		<-ended
		if !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

// TestClockSteps_RealClocks reads the real clocks, which agree.
func TestClockSteps_RealClocks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*stepTick)
	defer cancel()
	ClockSteps(ctx, func(by time.Duration) { t.Errorf("a step of %s", by) })
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
