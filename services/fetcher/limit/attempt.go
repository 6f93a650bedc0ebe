package limit

import (
	"context"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

// Attempt are the requests of one attempt, each sent when the Limiter permits it.
type Attempt struct {
	limiter *Limiter

	mu sync.Mutex
	// started is the Started of the request that is about to leave the machine; nil if there is
	// none.
	started func()
	// firstSent is when the first request of the attempt was permitted.
	firstSent time.Time
	// permits are the permits of all requests of the attempt.
	permits []sendPermit
}

// NewAttempt returns an attempt without requests.
func (l *Limiter) NewAttempt() *Attempt { return &Attempt{limiter: l} }

// WaitTurn waits until the next request may be sent, and returns the time since the start of the
// previous request of any attempt. If ctx ends first, it returns its cause and uses no turn. Sent
// must be called when the request has left the machine, or will never be sent.
func (a *Attempt) WaitTurn(ctx context.Context) (sinceLast time.Duration, err error) {
	a.Sent()
	a.mu.Lock()
	first := len(a.permits) == 0
	a.mu.Unlock()
	permit, err := a.limiter.pacer.wait(ctx, !first, a.limiter.site.hold)
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = permit.Started
	a.permits = append(a.permits, permit)
	if a.firstSent.IsZero() {
		a.firstSent = time.Now()
	}
	return permit.Gap, nil
}

// Sent notes that the request has left, or will never be sent: the pause to the next one starts.
func (a *Attempt) Sent() {
	a.mu.Lock()
	started := a.started
	a.started = nil
	a.mu.Unlock()
	if started != nil {
		started()
	}
}

// FillWaits fills in for how long each request was held.
func (a *Attempt) FillWaits(exchanges []contract.Exchange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range exchanges[:min(len(exchanges), len(a.permits))] {
		exchanges[i].WaitedSeconds = a.permits[i].Waited.Seconds()
		exchanges[i].SlowedSeconds = a.permits[i].Slowed.Seconds()
	}
}

// Seconds returns the time since the first request was permitted, by the monotonic clock; 0 if none
// was.
func (a *Attempt) Seconds() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.firstSent.IsZero() {
		return 0
	}
	return time.Since(a.firstSent).Seconds()
}
