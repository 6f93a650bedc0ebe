package fetcher

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"
)

// minConnectPause is the shortest pause between two tries to connect, also without a backoff.
const minConnectPause = 100 * time.Millisecond

// errReturnJob returns a job at once: no request was sent for it.
const errReturnJob = retryLater(bus.NoDelay)

// reachability tracks whether this fetcher has reached the site in this round of a run. Until the
// first HTTP response, whatever its status, a failure to connect counts against the site and not
// against a number: it costs no attempt. One request at a time is tried, with backoff, for
// backoff.Max from the first failure on.
type reachability struct {
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

func newReachability(backoff Backoff) *reachability {
	return &reachability{backoff: backoff, changed: make(chan struct{})}
}

// connectResult is what an attempt shows about the connection to the site.
type connectResult struct {
	// unsent says that the site was not reached so far and that nothing was sent to it.
	// isFirstFailure says that it is the first such failure, timeUp that the time for tries is
	// over.
	unsent, isFirstFailure, timeUp bool
	cause                          string
	// reached says that this was the first response.
	reached bool
	// firstFailure is the time of the first failure to connect; zero if there was none.
	firstFailure time.Time
}

// untilNextTry returns how long the next try must wait, 0 if it may start now. changed is closed
// when that may have become shorter.
func (r *reachability) untilNextTry() (left time.Duration, changed <-chan struct{}) {
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

// awaitTry returns when a request may be sent. The error is the cause of ctx.
func (r *reachability) awaitTry(ctx context.Context) error {
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

// failing reports whether tries have failed and none has reached the site.
func (r *reachability) failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.reached && !r.firstFailure.IsZero()
}

// siteReached reports whether the site has responded.
func (r *reachability) siteReached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// startTry permits the first request of a number. It reports false if no try is due, or another one
// runs.
func (r *reachability) startTry(number int) bool {
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

// recordAttempt records the exchanges of the attempt at a number. aborted says that the attempt was
// canceled.
func (r *reachability) recordAttempt(number int, exchanges []contract.Exchange, aborted bool) (result connectResult) {
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
			return connectResult{reached: true, firstFailure: r.firstFailure}
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
		r.firstFailure, result.isFirstFailure = now, true
		r.countFailure(last, now)
	case last.StartedAt.After(r.lastFailure): // otherwise it failed together with one that was counted
		r.countFailure(last, now)
	}
	result.unsent, result.cause, result.firstFailure = true, r.lastError, r.firstFailure
	result.timeUp = !aborted && now.Sub(r.firstFailure) >= r.backoff.Max
	return result
}

// countFailure sets the pause after a failed try. The last try starts when the time for tries ends.
func (r *reachability) countFailure(x contract.Exchange, now time.Time) {
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

func (r *reachability) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// currentWait returns the pause between two tries; nil if there is none or it is short.
func (r *reachability) currentWait() *reportedWait {
	r.mu.Lock()
	defer r.mu.Unlock()
	pausing := !r.reached && !r.firstFailure.IsZero() && r.tryingNumber == 0 && time.Now().Before(r.nextTry)
	if !pausing || r.nextTry.Sub(r.lastFailure) <= minReportedWait {
		return nil
	}
	return &reportedWait{Wait: contract.Wait{Reason: unreachableReason(r.lastError), Until: r.nextTry}}
}

// unreachableReason is the reason of a wait, or of the end of a run, for a site that was never
// reached.
func unreachableReason(cause string) string { return "the site cannot be reached: " + cause }

// recordConnection records what an attempt shows about the connection to the site, and reports
// whether the attempt does not count because the site was not reached so far. It ends the run if no
// fetcher of the run has reached the site and the time for tries is over. In the first exchange
// after failures it fills in for how long they held it.
func (w *runWorker) recordConnection(id contract.CaseID, exchanges []contract.Exchange, aborted bool) bool {
	result := w.reachability.recordAttempt(id.Number, exchanges, aborted)
	switch {
	case result.isFirstFailure:
		w.Log.Warn("site.unreachable", "run_id", w.manifest.RunID, "site", w.SiteName, "reason", result.cause,
			"tried_until", result.firstFailure.Add(w.Backoff.Max).UTC().Round(time.Second))
	case result.reached:
		if !result.firstFailure.IsZero() {
			held := exchanges[0].StartedAt.Sub(result.firstFailure).Seconds()
			exchanges[0].WaitedSeconds = max(exchanges[0].WaitedSeconds, held)
			exchanges[0].SlowedSeconds = max(exchanges[0].SlowedSeconds, held)
			w.Log.Info("site.reached", "run_id", w.manifest.RunID, "site", w.SiteName, "after_seconds", held)
		}
		if w.Shared {
			w.refreshPresence()
		}
	}
	if result.timeUp {
		w.endUnreachableRun(result.cause)
	}
	return result.unsent
}

// endUnreachableRun ends the run with a safe stop, unless another fetcher of the run has reached
// the site.
func (w *runWorker) endUnreachableRun(cause string) {
	ctx := context.WithoutCancel(w.finishCtx)
	reachedByOther, err := w.reachedByOther(ctx)
	if err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		return // the next try decides
	}
	if reachedByOther || w.startCtx.Err() != nil {
		return
	}
	halt := contract.Halt{Status: contract.SafeStop, Reason: unreachableReason(cause), At: time.Now().UTC()}
	w.stop(runs.Halted{Halt: halt})
	if err := runs.Halt(ctx, w.runs, w.manifest.RunID, halt); err != nil {
		w.fail(err)
	}
}

// reachedByOther reports whether another fetcher of the run has reached the site.
func (w *runWorker) reachedByOther(ctx context.Context) (reached bool, err error) {
	if !w.Shared {
		return false, nil
	}
	runID := w.manifest.RunID
	err = runs.EachFetcher(ctx, w.Bus, runID, func(key string, p contract.Presence) {
		reached = reached || p.Reached && key != runID.FetcherKey(w.ID)
	})
	return reached, err
}
