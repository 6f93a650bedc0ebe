package delay

import (
	"context"
	"time"
)

const (
	// stepTick is how often the two clocks are compared.
	stepTick = 500 * time.Millisecond
	// minStep is the smallest difference between two ticks that is a step. A clock that is slewed to the right time differs by less
	// than a millisecond.
	minStep = 2 * time.Second
)

// ClockSteps calls stepped with the size of each step of the wall clock until ctx ends: how much further the wall clock moved than
// the monotonic clock, negative when it was set back. A step of less than two seconds is not told. A machine that was suspended looks like a
// clock that was set forward.
func ClockSteps(ctx context.Context, stepped func(by time.Duration)) {
	began := time.Now()
	watchSteps(ctx, stepped, func() clockReading {
		now := time.Now()
		return clockReading{wall: now.Round(0), elapsed: now.Sub(began)}
	})
}

// clockReading is what both clocks said at one instant.
type clockReading struct {
	wall time.Time
	// elapsed is by the monotonic clock.
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

// Until is the instant on the monotonic clock at which a wait ends that was stored as an instant of the wall clock. It is never further
// from now than most, which is how long the wait was when it was stored, so that a wall clock that was set back since does not make
// it longer. A wait that is over ends at now.
func Until(now, end time.Time, most time.Duration) time.Time {
	return now.Add(max(0, min(end.Sub(now), most)))
}
