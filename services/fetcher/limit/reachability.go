package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// minConnectPause is the shortest pause between two tries to connect, also without a backoff.
const minConnectPause = 100 * time.Millisecond

// Reachability tracks whether this fetcher has reached the site in this round of a run. Until the
// first HTTP response, whatever its status, a failure to connect counts against the site and not
// against a number: it costs no attempt. One request at a time is tried, with backoff, for
// backoff.Max from the first failure on.
type Reachability struct {
	backoff Backoff

	mu      sync.Mutex
	reached bool
	// lastError is why the last try failed; empty before the first failure.
	lastError string
	// firstFailure and lastFailure are the times of the first and the last counted failure; nextTry
	// is when the next try may start.
	firstFailure, lastFailure, nextTry time.Time
	tries                              int
	// tryingNumber is the number whose request is the current try; 0 if there is none.
	tryingNumber int
	// changed is closed and replaced when a try has ended.
	changed chan struct{}
}

// NewReachability returns the state of a round in which no request was sent yet. backoff.Max is the
// time for tries.
func NewReachability(backoff Backoff) *Reachability {
	return &Reachability{backoff: backoff, changed: make(chan struct{})}
}

// ConnectResult is what an attempt shows about the connection to the site.
type ConnectResult struct {
	// Unsent says that the site was not reached so far and that nothing was sent to it.
	// IsFirstFailure says that it is the first such failure, TimeUp that the time for tries is
	// over.
	Unsent, IsFirstFailure, TimeUp bool
	Cause                          string
	// Reached says that this was the first response.
	Reached bool
	// FirstFailure is the time of the first failure to connect; zero if there was none.
	FirstFailure time.Time
}

// untilNextTry returns how long the next try must wait, 0 if it may start now. changed is closed
// when that may have become shorter.
func (r *Reachability) untilNextTry() (left time.Duration, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.reached || r.firstFailure.IsZero():
		return 0, r.changed
	case r.tryingNumber != 0:
		return max(recheckInterval, time.Until(r.nextTry)), r.changed
	default:
		return max(0, time.Until(r.nextTry)), r.changed
	}
}

// AwaitTry returns when a request may be sent. The error is the cause of ctx.
func (r *Reachability) AwaitTry(ctx context.Context) error {
	for {
		left, changed := r.untilNextTry()
		if left <= 0 {
			return context.Cause(ctx)
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// Failing reports whether tries have failed and none has reached the site.
func (r *Reachability) Failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.reached && !r.firstFailure.IsZero()
}

// Reached reports whether the site has responded.
func (r *Reachability) Reached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// StartTry permits the first request of a number. It reports false if no try is due, or another one
// runs.
func (r *Reachability) StartTry(number int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reached || r.firstFailure.IsZero() {
		return true
	}
	if r.tryingNumber != 0 || time.Now().Before(r.nextTry) {
		return false
	}
	r.tryingNumber = number
	return true
}

// Record records the exchanges of the attempt at a number. aborted says that the attempt was
// canceled.
func (r *Reachability) Record(number int, exchanges []contract.Exchange, aborted bool) (result ConnectResult) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reached {
		return result
	}
	if r.tryingNumber == number {
		r.tryingNumber = 0
		defer r.notify()
	}
	for _, x := range exchanges {
		if x.Status != 0 && !x.Unsent {
			r.reached = true
			return ConnectResult{Reached: true, FirstFailure: r.firstFailure}
		}
	}
	if len(exchanges) == 0 {
		return result
	}
	last := exchanges[len(exchanges)-1]
	switch {
	case last.Unsent && aborted:
	case !last.Unsent: // connected: the failure counts against the number
		r.firstFailure, r.lastFailure, r.lastError, r.tries = time.Time{}, time.Time{}, "", 0
		return result
	case r.firstFailure.IsZero():
		r.firstFailure, result.IsFirstFailure = now, true
		r.countFailure(last, now)
	case last.StartedAt.After(r.lastFailure): // otherwise it failed together with one that was counted
		r.countFailure(last, now)
	}
	result.Unsent, result.Cause, result.FirstFailure = true, r.lastError, r.firstFailure
	result.TimeUp = !aborted && now.Sub(r.firstFailure) >= r.backoff.Max
	return result
}

// countFailure sets the pause after a failed try. The last try starts when the time for tries ends.
func (r *Reachability) countFailure(x contract.Exchange, now time.Time) {
	r.tries++
	r.lastFailure, r.lastError = now, strings.TrimPrefix(x.Error, site.ErrRobotsUnreachable.Error()+": ")
	if r.lastError == "" {
		r.lastError = fmt.Sprintf("the proxy responds with status %d", x.Status)
	}
	r.nextTry = now.Add(max(minConnectPause, r.backoff.pause(r.tries, rand.Float64())))
	if limit := r.firstFailure.Add(r.backoff.Max); now.Before(limit) && limit.Before(r.nextTry) {
		r.nextTry = limit
	}
}

func (r *Reachability) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// CurrentWait returns the pause between two tries; nil if there is none or it is short.
func (r *Reachability) CurrentWait() *Wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	pausing := !r.reached && !r.firstFailure.IsZero() && r.tryingNumber == 0 && time.Now().Before(r.nextTry)
	if !pausing || r.nextTry.Sub(r.lastFailure) <= minReportedWait {
		return nil
	}
	return &Wait{Wait: contract.Wait{Reason: UnreachableReason(r.lastError), Until: r.nextTry}}
}

// UnreachableReason is the reason of a wait, or of the end of a run, for a site that was never
// reached.
func UnreachableReason(cause string) string { return "the site cannot be reached: " + cause }
