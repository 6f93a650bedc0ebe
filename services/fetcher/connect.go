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

// leastPause is the shortest pause between two tries to connect, also without a backoff.
const leastPause = 100 * time.Millisecond

// errGiveBack hands a job back at once: it has not been asked for.
const errGiveBack = waiting(bus.NoDelay)

// connecting says whether one fetcher has reached the site in this round of a run. Until the first
// HTTP answer, whatever its status, a failure to connect is a failure of the site and not of a
// number: it costs no attempt, and one request at a time is tried, with backoff, for backoff.Max
// from the first failure on.
type connecting struct {
	backoff Backoff

	mu      sync.Mutex
	reached bool
	// cause is why the last try failed; empty before the first failure.
	cause string
	// since is the first failure, failed the last one that was counted, next when to try again.
	since, failed, next time.Time
	tries               int
	// trying is the number whose request is the current try; 0 for none.
	trying int
	// changed is closed and made anew when a try has ended.
	changed chan struct{}
}

func newConnecting(backoff Backoff) *connecting {
	return &connecting{backoff: backoff, changed: make(chan struct{})}
}

// result is what an attempt says of the connection to the site.
type result struct {
	// unsent says that the site is not reached so far and that nothing was sent to it; first, that
	// it is the first such failure, and over, that the time for more tries has passed.
	unsent, first, over bool
	cause               string
	// reached says that this was the first answer.
	reached bool
	// since is the first failure to connect; zero when there was none.
	since time.Time
}

// left is how long the next try is to wait, 0 when it may begin now. changed is closed when that may
// have become less.
func (c *connecting) left() (left time.Duration, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.reached || c.since.IsZero():
		return 0, c.changed
	case c.trying != 0:
		return max(lookAgain, time.Until(c.next)), c.changed
	default:
		return max(0, time.Until(c.next)), c.changed
	}
}

// wait returns when a job may be asked for. The error is the cause of ctx.
func (c *connecting) wait(ctx context.Context) error {
	for {
		left, changed := c.left()
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
func (c *connecting) failing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.reached && !c.since.IsZero()
}

// done says that the site has answered.
func (c *connecting) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached
}

// begin lets the first request of a number go; false when it is not due, or another one is tried.
func (c *connecting) begin(number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reached || c.since.IsZero() {
		return true
	}
	if c.trying != 0 || time.Now().Before(c.next) {
		return false
	}
	c.trying = number
	return true
}

// end takes in what the attempt of a number brought; cut says that it was broken off.
func (c *connecting) end(number int, exchanges []contract.Exchange, cut bool) (r result) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reached {
		return r
	}
	if c.trying == number {
		c.trying = 0
		defer c.notify()
	}
	for _, x := range exchanges {
		if x.Status != 0 && !x.Unsent {
			c.reached = true
			return result{reached: true, since: c.since}
		}
	}
	if len(exchanges) == 0 {
		return r
	}
	last := exchanges[len(exchanges)-1]
	switch {
	case last.Unsent && cut:
	case !last.Unsent: // the connection was made: what became of the request is the number's matter
		c.since, c.failed, c.cause, c.tries = time.Time{}, time.Time{}, "", 0
		return r
	case c.since.IsZero():
		c.since, r.first = now, true
		c.count(last, now)
	case last.StartedAt.After(c.failed): // else it failed together with one that was counted
		c.count(last, now)
	}
	r.unsent, r.cause, r.since = true, c.cause, c.since
	r.over = !cut && now.Sub(c.since) >= c.backoff.Max
	return r
}

// count sets the pause after a failed try; the last one before the end of the time begins with it.
func (c *connecting) count(x contract.Exchange, now time.Time) {
	c.tries++
	c.failed, c.cause = now, strings.TrimPrefix(x.Error, site.ErrRobotsUnreachable.Error()+": ")
	if c.cause == "" {
		c.cause = fmt.Sprintf("the proxy answers with status %d", x.Status)
	}
	c.next = now.Add(max(leastPause, c.backoff.pause(c.tries, rand.Float64())))
	if limit := c.since.Add(c.backoff.Max); now.Before(limit) && limit.Before(c.next) {
		c.next = limit
	}
}

func (c *connecting) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// waiting is the pause between two tries, nil while there is none or it is short.
func (c *connecting) waiting() *wait {
	c.mu.Lock()
	defer c.mu.Unlock()
	pausing := !c.reached && !c.since.IsZero() && c.trying == 0 && time.Now().Before(c.next)
	if !pausing || c.next.Sub(c.failed) <= tellFrom {
		return nil
	}
	return &wait{Wait: contract.Wait{Reason: unreachable(c.cause), Until: c.next}}
}

// unreachable is the reason of a wait, or of the end of a run, for a site that was never reached.
func unreachable(cause string) string { return "the site cannot be reached: " + cause }

// unsent takes in what an attempt says of the connection to the site, and says whether the attempt
// counts for nothing because the site is not reached so far. It ends the run when no fetcher of the
// run has reached the site and the time for tries is over. Of the first exchange after failures it
// fills in for how long they held it.
func (w *shift) unsent(id contract.CaseID, exchanges []contract.Exchange, cut bool) bool {
	r := w.connecting.end(id.Number, exchanges, cut)
	switch {
	case r.first:
		w.Log.Warn("site.unreachable", "run_id", w.manifest.RunID, "site", w.SiteName, "reason", r.cause,
			"tried_until", r.since.Add(w.Backoff.Max).UTC().Round(time.Second))
	case r.reached:
		if !r.since.IsZero() {
			held := exchanges[0].StartedAt.Sub(r.since).Seconds()
			exchanges[0].WaitedSeconds = max(exchanges[0].WaitedSeconds, held)
			exchanges[0].SlowedSeconds = max(exchanges[0].SlowedSeconds, held)
			w.Log.Info("site.reached", "run_id", w.manifest.RunID, "site", w.SiteName, "after_seconds", held)
		}
		if w.Shared {
			w.present()
		}
	}
	if r.over {
		w.giveUpSite(r.cause)
	}
	return r.unsent
}

// giveUpSite ends the run as a safe stop, unless another fetcher of the run has reached the site.
func (w *shift) giveUpSite(cause string) {
	ctx := context.WithoutCancel(w.finish)
	elsewhere, err := w.reachedElsewhere(ctx)
	if err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		return // the next try decides
	}
	if elsewhere || w.begin.Err() != nil {
		return
	}
	halt := contract.Halt{Status: contract.SafeStop, Reason: unreachable(cause), At: time.Now().UTC()}
	w.end(runs.Halted{Halt: halt})
	if err := runs.Halt(ctx, w.runs, w.manifest.RunID, halt); err != nil {
		w.fail(err)
	}
}

// reachedElsewhere says whether another fetcher that works on the run has reached the site.
func (w *shift) reachedElsewhere(ctx context.Context) (reached bool, err error) {
	if !w.Shared {
		return false, nil
	}
	run := w.manifest.RunID
	err = runs.EachFetcher(ctx, w.Bus, run, func(key string, p contract.Presence) {
		reached = reached || p.Reached && key != run.FetcherKey(w.ID)
	})
	return reached, err
}
