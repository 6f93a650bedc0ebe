package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go/jetstream"
)

// siteState is what all fetchers know about one site: whether it blocks requests, and how far its
// trouble slows requests down. It is stored in the bucket of sites, so that it outlives a process
// and reaches the others. Each request checks the copy in memory.
type siteState struct {
	opts   Options
	bucket jetstream.KeyValue
	// probe is held by the one case that is fetched while the site is half-open.
	probe chan struct{}

	mu       sync.Mutex
	slowdown contract.SiteSlowdown
	block    *contract.SiteBlock
	// blockChanged is closed and replaced when a block is set.
	blockChanged chan struct{}
}

func newSiteState(opts Options, bucket jetstream.KeyValue) *siteState {
	return &siteState{opts: opts, bucket: bucket, probe: make(chan struct{}, 1), blockChanged: make(chan struct{})}
}

// watch reads what is stored about the site, calls ready, and applies changes until ctx ends.
func (s *siteState) watch(ctx context.Context, ready func()) error {
	keys := bus.Keys{Bucket: contract.BucketSites,
		Filters: []string{contract.BlockKey(s.opts.Site), contract.SlowdownKey(s.opts.Site)}}
	err := s.opts.Bus.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if entry == nil {
			ready()
			return nil
		}
		s.apply(entry, time.Now())
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching site %s: %w", s.opts.Site, err)
}

// apply takes over what another fetcher, or this one before a restart, has stored. An unreadable
// value may have been a block, and is handled safely: a block lasts for the cool-down, a slowdown
// starts half-open.
func (s *siteState) apply(entry jetstream.KeyValueEntry, now time.Time) {
	exists := entry.Operation() == jetstream.KeyValuePut
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry.Key() == contract.BlockKey(s.opts.Site) {
		if !exists {
			s.block = nil
			return
		}
		block, err := runs.Decode[contract.SiteBlock](entry.Key(), entry.Value())
		if err == nil && block.Until.IsZero() {
			err = fmt.Errorf("%w: %s: no end is set", runs.ErrUnreadable, entry.Key())
		}
		if err != nil {
			block = contract.SiteBlock{Rule: "unreadable-block", At: entry.Created().UTC(),
				Until: entry.Created().UTC().Add(s.opts.Cooldown)}
			s.opts.Log.Error("site.block.unreadable", "site", s.opts.Site, "until", block.Until, "error", err)
		}
		if s.block != nil && s.block.At.Equal(block.At) {
			return // stored by this fetcher
		}
		block.Until = delay.Until(now, block.Until, block.Until.Sub(block.At))
		s.setBlockLocked(block)
		return
	}
	var slowdown contract.SiteSlowdown
	if exists {
		var err error
		if slowdown, err = runs.Decode[contract.SiteSlowdown](entry.Key(), entry.Value()); err != nil {
			created := entry.Created()
			slowdown = contract.SiteSlowdown{
				Streak: toleratedFailures + 1, Level: halfOpenLevel, RaisedAt: created, ChangedAt: created,
				Reason: err.Error(),
				Until:  created.Add(s.opts.Backoff.pause(halfOpenLevel, 1)),
			}
			s.opts.Log.Error("site.slowdown.unreadable", "site", s.opts.Site, "error", err)
		}
	}
	if slowdown.ChangedAt.Equal(s.slowdown.ChangedAt) {
		return // stored by this fetcher
	}
	slowdown.Until = delay.Until(now, slowdown.Until, slowdown.Until.Sub(slowdown.ChangedAt))
	if slowdown.RaisedAt.After(now) { // otherwise no failure would count until the wall clock has caught up
		slowdown.RaisedAt = now
	}
	if slowdown.Until.Sub(now) >= minReportedWait {
		s.opts.Log.Warn("site.slowed", "site", s.opts.Site, "level", slowdown.Level, "until", slowdown.Until.UTC(),
			"reason",
			slowdown.Reason)
	}
	s.slowdown = slowdown
}

// setBlockLocked sets the block in memory. The caller holds mu.
func (s *siteState) setBlockLocked(block contract.SiteBlock) {
	s.block = &block
	close(s.blockChanged)
	s.blockChanged = make(chan struct{})
}

// Block returns the block in force, nil if there is none, and a channel that is closed when another
// block is set.
func (s *siteState) Block() (*contract.SiteBlock, <-chan struct{}) { return s.activeBlock(time.Now()) }

// activeBlock is Block at the time now.
func (s *siteState) activeBlock(now time.Time) (*contract.SiteBlock, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || !s.block.Until.After(now) {
		return nil, s.blockChanged
	}
	block := *s.block
	return &block, s.blockChanged
}

// hold is a holdFunc for the slowdown of the site.
func (s *siteState) hold() (left time.Duration, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason = "the site recovers from trouble"
	if s.slowdown.Reason != "" {
		reason = "the site is in trouble: " + s.slowdown.Reason
	}
	return time.Until(s.slowdown.Until), reason
}

// EnterHalfOpen waits, while the site is half-open, until no other case of this process probes it.
// leave lets the next case in. The error is the cause of ctx.
func (s *siteState) EnterHalfOpen(ctx context.Context) (leave func(), err error) {
	if !s.halfOpen() {
		return func() {}, nil
	}
	select {
	case s.probe <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release := sync.OnceFunc(func() { <-s.probe })
	if !s.halfOpen() {
		release()
	}
	return release, nil
}

func (s *siteState) halfOpen() bool { return s.Slowdown().Level >= halfOpenLevel }

// Slowdown returns how far trouble of the site slows requests down.
func (s *siteState) Slowdown() contract.SiteSlowdown {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slowdown
}

// RetryAfter returns how long a response asks clients to wait; 0 if it does not.
type RetryAfter func(x contract.Exchange, now time.Time) time.Duration

// Record slows requests down, or speeds them up again, by the exchanges of an attempt, and stores
// that for the other fetchers if their pace changes. retry says that the number has failed before.
// The next update replaces one that is not stored.
func (s *siteState) Record(ctx context.Context, exchanges []contract.Exchange, retry bool, retryAfter RetryAfter) {
	now, levelBefore, changed := time.Now(), 0, false
	s.mu.Lock()
	levelBefore = s.slowdown.Level
	for _, x := range exchanges {
		next, differ := s.opts.Backoff.after(s.slowdown, x, retry, retryAfter(x, now), now, rand.Float64())
		s.slowdown, changed = next, changed || differ
	}
	if changed {
		s.slowdown.ChangedAt = now.UTC().Round(0)
	}
	slowdown := s.slowdown
	s.mu.Unlock()
	if !changed {
		return
	}
	if slowdown.Level > levelBefore || slowdown.Reason != "" {
		s.opts.Log.Warn("site.slowed", "site", s.opts.Site, "level", slowdown.Level, "until", slowdown.Until.UTC(),
			"reason",
			slowdown.Reason)
	} else {
		s.opts.Log.Info("site.recovering", "site", s.opts.Site, "level", slowdown.Level)
	}
	if err := runs.Put(ctx, s.bucket, contract.SlowdownKey(s.opts.Site), slowdown); err != nil && ctx.Err() == nil {
		s.opts.Log.Warn("site.slowdown.kept", "site", s.opts.Site, "error", err)
	}
}

// SetBlock stores a block of the site, for all fetchers now and later.
func (s *siteState) SetBlock(ctx context.Context, block contract.SiteBlock) error {
	stored := block
	s.mu.Lock()
	block.Until = delay.Until(time.Now(), block.Until, block.Until.Sub(block.At))
	s.setBlockLocked(block)
	s.mu.Unlock()
	if err := runs.Put(ctx, s.bucket, contract.BlockKey(s.opts.Site), stored); err != nil {
		return fmt.Errorf("storing the block of site %s: %w", s.opts.Site, err)
	}
	return nil
}

// ClearBlock removes a block of the site. It must be called before Run.
func (s *siteState) ClearBlock(ctx context.Context) error {
	if err := s.bucket.Delete(ctx, contract.BlockKey(s.opts.Site)); err != nil &&
		!errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("removing the block of site %s: %w", s.opts.Site, err)
	}
	return nil
}

// Backoff is how much the pause between two requests grows while a site is in trouble: at level n
// it grows by the wait before the n-th retry.
type Backoff delay.Exponential

const (
	// toleratedFailures is how many requests in a row may fail before all requests are slowed down:
	// single failures are handled by their own retries. If one request in five fails by chance, one
	// in 125 is the third failure in a row.
	toleratedFailures = 2
	// halfOpenLevel is the level from which one case at a time probes the site, until an answer is
	// clean.
	halfOpenLevel = 3
	// maxLevel bounds how long the site takes to recover from a long outage: each clean answer
	// lowers the level by one.
	maxLevel = 12
)

// after returns the slowdown after an exchange, and whether more than its count changed. wait is
// the site's Retry-After; draw, in [0, 1), is a random number. Requests that were in flight
// together when the site went down raise the level once.
//
// retry says that the number has failed before. A number raises the level at most once, so that a
// few numbers that always fail do not count as trouble of the site. A retry that fails while the
// level is raised repeats the wait of that level.
func (b Backoff) after(
	s contract.SiteSlowdown, x contract.Exchange, retry bool, wait time.Duration, now time.Time, draw float64,
) (contract.SiteSlowdown, bool) {
	reason := troubleReason(x)
	if reason == "" {
		changed := s.Level > 0
		s.Streak, s.Level = 0, max(0, s.Level-1)
		if changed {
			s.Until, s.Reason = now.Add(b.pause(s.Level, draw)), ""
		}
		return s, changed
	}
	if !retry {
		s.Streak++
	}
	changed := false
	if counts := !x.StartedAt.Before(s.RaisedAt); counts &&
		(retry && s.Level > 0 || !retry && s.Streak > toleratedFailures) {
		if !retry {
			s.Level = min(s.Level+1, maxLevel)
		}
		s.RaisedAt, s.Reason = now, reason
		if until := now.Add(b.pause(s.Level, draw)); until.After(s.Until) {
			s.Until = until
		}
		changed = true
	}
	if retryAt := now.Add(wait); wait > 0 && retryAt.After(s.Until) {
		s.Until, s.Reason = retryAt, reason
		changed = true
	}
	return s, changed
}

func (b Backoff) pause(level int, draw float64) time.Duration {
	return delay.Exponential(b).Before(level, draw)
}

// troubleReason returns why an exchange counts as trouble of the site; empty if it does not.
func troubleReason(x contract.Exchange) string {
	switch {
	case x.Status == http.StatusRequestTimeout || x.Status >= http.StatusInternalServerError:
		return fmt.Sprintf("status %d", x.Status)
	case x.Error != "":
		return x.Error
	default:
		return ""
	}
}

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
