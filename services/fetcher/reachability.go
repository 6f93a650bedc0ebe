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

// errReturnJob hands a job back at once: it has not been asked for.
const errReturnJob = retryLater(bus.NoDelay)

// reachability says whether one fetcher has reached the site in this round of a run. Until the first
// HTTP answer, whatever its status, a failure to connect is a failure of the site and not of a
// number: it costs no attempt, and one request at a time is tried, with backoff, for backoff.Max
// from the first failure on.
type reachability struct {
	backoff Backoff

	mu      sync.Mutex
	reached bool
	// lastError is why the last try failed; empty before the first failure.
	lastError string
	// firstFailure is the first failure, failed the last one that was counted, next when to try again.
	firstFailure, lastFailure, nextTry time.Time
	tries                              int
	// tryingNumber is the number whose request is the current try; 0 for none.
	tryingNumber int
	// changed is closed and made anew when a try has ended.
	changed chan struct{}
}

func newReachability(backoff Backoff) *reachability {
	return &reachability{backoff: backoff, changed: make(chan struct{})}
}

// connectResult is what an attempt says of the connection to the site.
type connectResult struct {
	// unsent says that the site is not reached so far and that nothing was sent to it; first, that
	// it is the first such failure, and over, that the time for more tries has passed.
	unsent, isFirstFailure, timeUp bool
	cause                          string
	// reached says that this was the first answer.
	reached bool
	// firstFailure is the first failure to connect; zero when there was none.
	firstFailure time.Time
}

// untilNextTry is how long the next try is to wait, 0 when it may begin now. changed is closed when that may
// have become less.
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

// awaitTry returns when a job may be asked for. The error is the cause of ctx.
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

// failing says that the site could not be reached so far.
func (r *reachability) failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.reached && !r.firstFailure.IsZero()
}

// siteReached says that the site has answered.
func (r *reachability) siteReached() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reached
}

// startTry lets the first request of a number go; false when it is not due, or another one is tried.
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

// recordAttempt takes in what the attempt of a number brought; cut says that it was broken off.
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
	case !last.Unsent: // the connection was made: what became of the request is the number's matter
		r.firstFailure, r.lastFailure, r.lastError, r.tries = time.Time{}, time.Time{}, "", 0
		return result
	case r.firstFailure.IsZero():
		r.firstFailure, result.isFirstFailure = now, true
		r.countFailure(last, now)
	case last.StartedAt.After(r.lastFailure): // else it failed together with one that was counted
		r.countFailure(last, now)
	}
	result.unsent, result.cause, result.firstFailure = true, r.lastError, r.firstFailure
	result.timeUp = !aborted && now.Sub(r.firstFailure) >= r.backoff.Max
	return result
}

// countFailure sets the pause after a failed try; the last one before the end of the time begins with it.
func (r *reachability) countFailure(x contract.Exchange, now time.Time) {
	r.tries++
	r.lastFailure, r.lastError = now, strings.TrimPrefix(x.Error, site.ErrRobotsUnreachable.Error()+": ")
	if r.lastError == "" {
		r.lastError = fmt.Sprintf("the proxy answers with status %d", x.Status)
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

// currentWait is the pause between two tries, nil while there is none or it is short.
func (r *reachability) currentWait() *reportedWait {
	r.mu.Lock()
	defer r.mu.Unlock()
	pausing := !r.reached && !r.firstFailure.IsZero() && r.tryingNumber == 0 && time.Now().Before(r.nextTry)
	if !pausing || r.nextTry.Sub(r.lastFailure) <= minReportedWait {
		return nil
	}
	return &reportedWait{Wait: contract.Wait{Reason: unreachableReason(r.lastError), Until: r.nextTry}}
}

// unreachableReason is the reason of a wait, or of the end of a run, for a site that was never reached.
func unreachableReason(cause string) string { return "the site cannot be reached: " + cause }

// recordConnection takes in what an attempt says of the connection to the site, and says whether the attempt
// counts for nothing because the site is not reached so far. It ends the run when no fetcher of the
// run has reached the site and the time for tries is over. Of the first exchange after failures it
// fills in for how long they held it.
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

// endUnreachableRun ends the run as a safe stop, unless another fetcher of the run has reached the site.
func (w *runWorker) endUnreachableRun(cause string) {
	ctx := context.WithoutCancel(w.finishCtx)
	elsewhere, err := w.reachedByOther(ctx)
	if err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		return // the next try decides
	}
	if elsewhere || w.startCtx.Err() != nil {
		return
	}
	halt := contract.Halt{Status: contract.SafeStop, Reason: unreachableReason(cause), At: time.Now().UTC()}
	w.stop(runs.Halted{Halt: halt})
	if err := runs.Halt(ctx, w.runs, w.manifest.RunID, halt); err != nil {
		w.fail(err)
	}
}

// reachedByOther says whether another fetcher that works on the run has reached the site.
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
