// Package delay waits: no longer than a context allows, again and again, and longer the more often something has failed.
package delay

import (
	"context"
	"math"
	"sync"
	"time"
)

// Sleep waits for d, and for nothing when d is not positive; its error is the cause why ctx has ended before.
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

// Every does something each time d has gone by, until the function it returns is called, which waits for what is being done.
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

// Exponential is an exponential backoff: Base·Factor^(n−1) before the n-th further try, at most Max, drawn from the upper
// half of that. Drawn, so that many that failed together do not come back together; from the upper half, so that none
// comes back at once. It is the "equal jitter" of
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, with a factor of one's own.
type Exponential struct {
	Base   time.Duration
	Factor float64
	Max    time.Duration
}

// Before is how long to wait before the n-th further try, 1 being the first; before none, it is no time at all. draw is a
// chance in [0, 1).
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
