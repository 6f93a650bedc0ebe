// Package delay waits: for a duration or until a context ends, periodically, and with a backoff. It
// also reports steps of the wall clock.
package delay

import (
	"context"
	"math"
	"sync"
	"time"
)

// Sleep waits for d, not at all if d is not positive. If ctx ends before, it returns the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Every calls do each time d has passed, until stop is called, which waits for a running call.
func Every(d time.Duration, do func()) (stop func()) {
	done := make(chan struct{})
	var doing sync.WaitGroup
	doing.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				do()
			}
		}
	})
	return func() {
		close(done)
		doing.Wait()
	}
}

// Exponential is an exponential backoff: Base·Factor^(n−1) before retry n, at most Max, with equal
// jitter: drawn from the upper half of that. So requests that failed together do not retry
// together, and none retries at once. See
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
type Exponential struct {
	Base   time.Duration
	Factor float64
	Max    time.Duration
}

// Before is the wait before retry n, the first being 1; zero for n below 1. draw is a random number
// in [0, 1).
func (e Exponential) Before(n int, draw float64) time.Duration {
	if n <= 0 || e.Base <= 0 { // a base of none times a power that overflowed is no number
		return 0
	}
	whole := float64(e.Base) * math.Pow(e.Factor, float64(n-1))
	if limit := float64(e.Max); !(whole < limit) { // also when the power overflowed
		whole = limit
	}
	return time.Duration(whole/2 + whole/2*draw)
}

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
