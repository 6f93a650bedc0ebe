package delay

import (
	"context"
	"time"
)

const (
	// stepTick is how often the two clocks are compared.
	stepTick = 500 * time.Millisecond
	// minStep is the smallest difference between two ticks that counts as a step. A slewed clock
	// differs by less than a millisecond.
	minStep = 2 * time.Second
)

// ClockSteps calls stepped with the size of each step of the wall clock until ctx ends: how much
// further the wall clock moved than the monotonic clock, negative if it was set back. Steps of less
// than two seconds are not reported. A suspended machine looks like a clock that was set forward.
func ClockSteps(ctx context.Context, stepped func(by time.Duration)) {
	began := time.Now()
	watchSteps(ctx, stepped, func() clockReading {
		now := time.Now()
		return clockReading{wall: now.Round(0), elapsed: now.Sub(began)}
	})
}

// clockReading is the value of both clocks at one instant.
type clockReading struct {
	wall time.Time
	// elapsed is measured by the monotonic clock.
	elapsed time.Duration
}

func watchSteps(ctx context.Context, stepped func(by time.Duration), read func() clockReading) {
	ticker := time.NewTicker(stepTick)
	defer ticker.Stop()
	for last := read(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := read()
		if by := now.wall.Sub(last.wall) - (now.elapsed - last.elapsed); by.Abs() >= minStep {
			stepped(by)
		}
		last = now
	}
}

// Until converts the stored end of a wait, an instant of the wall clock, to the monotonic clock.
// most is the length of the wait when it was stored; the result is at most that far from now, so
// that a wall clock that was set back does not extend the wait. A wait that is over ends at now.
func Until(now, end time.Time, most time.Duration) time.Time {
	return now.Add(max(0, min(end.Sub(now), most)))
}
