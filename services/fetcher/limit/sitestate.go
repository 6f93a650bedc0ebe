package limit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// siteState is what all fetchers know about one site: whether it blocks requests, and how far its
// trouble slows requests down. It is stored in the bucket of sites, so that it outlives a process
// and reaches the others. Each request checks the copy in memory.
type siteState struct {
	bus     *bus.Bus
	bucket  jetstream.KeyValue
	site    string
	backoff Backoff
	// cooldown is how long a block lasts if the site does not say.
	cooldown time.Duration
	log      *slog.Logger
	// probe is held by the one case that is fetched while the site is half-open.
	probe chan struct{}

	mu       sync.Mutex
	slowdown contract.SiteSlowdown
	block    *contract.SiteBlock
	// blockChanged is closed and replaced when a block is set.
	blockChanged chan struct{}
}

func newSiteState(opts Options, bucket jetstream.KeyValue) *siteState {
	return &siteState{bus: opts.Bus, bucket: bucket, site: opts.Site, backoff: opts.Backoff, cooldown: opts.Cooldown,
		log: opts.Log, probe: make(chan struct{}, 1), blockChanged: make(chan struct{})}
}

// watch reads what is stored about the site, calls ready, and applies changes until ctx ends.
func (s *siteState) watch(ctx context.Context, ready func()) error {
	keys := bus.Keys{Bucket: contract.BucketSites,
		Filters: []string{contract.BlockKey(s.site), contract.SlowdownKey(s.site)}}
	err := s.bus.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
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
	return fmt.Errorf("watching site %s: %w", s.site, err)
}

// apply takes over what another fetcher, or this one before a restart, has stored. An unreadable
// value may have been a block, and is handled safely: a block lasts for the cool-down, a slowdown
// starts half-open.
func (s *siteState) apply(entry jetstream.KeyValueEntry, now time.Time) {
	exists := entry.Operation() == jetstream.KeyValuePut
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry.Key() == contract.BlockKey(s.site) {
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
				Until: entry.Created().UTC().Add(s.cooldown)}
			s.log.Error("site.block.unreadable", "site", s.site, "until", block.Until, "error", err)
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
				Until:  created.Add(s.backoff.pause(halfOpenLevel, 1)),
			}
			s.log.Error("site.slowdown.unreadable", "site", s.site, "error", err)
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
		s.log.Warn("site.slowed", "site", s.site, "level", slowdown.Level, "until", slowdown.Until.UTC(), "reason",
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

// activeBlock returns the block in force at now, nil if there is none, and a channel that is closed
// when another block is set.
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

// enterHalfOpen waits, while the site is half-open, until no other case of this process probes it.
// leave lets the next case in. The error is the cause of ctx.
func (s *siteState) enterHalfOpen(ctx context.Context) (leave func(), err error) {
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

func (s *siteState) halfOpen() bool { return s.currentSlowdown().Level >= halfOpenLevel }

func (s *siteState) currentSlowdown() contract.SiteSlowdown {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slowdown
}

// record updates the slowdown with the exchanges of an attempt and stores it for the other fetchers
// if their pace changes. retry says that the number has failed before. The next update replaces one
// that is not stored.
func (s *siteState) record(
	ctx context.Context, exchanges []contract.Exchange, retry bool, retryAfter func(contract.Exchange,
		time.Time) time.Duration,
) {
	now, levelBefore, changed := time.Now(), 0, false
	s.mu.Lock()
	levelBefore = s.slowdown.Level
	for _, x := range exchanges {
		next, differ := s.backoff.after(s.slowdown, x, retry, retryAfter(x, now), now, rand.Float64())
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
		s.log.Warn("site.slowed", "site", s.site, "level", slowdown.Level, "until", slowdown.Until.UTC(), "reason",
			slowdown.Reason)
	} else {
		s.log.Info("site.recovering", "site", s.site, "level", slowdown.Level)
	}
	value, err := json.Marshal(slowdown)
	if err == nil {
		_, err = s.bucket.Put(ctx, contract.SlowdownKey(s.site), value)
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("site.slowdown.kept", "site", s.site, "error", err)
	}
}

// setBlock stores a block of the site, for all fetchers now and later.
func (s *siteState) setBlock(ctx context.Context, block contract.SiteBlock) error {
	value, err := json.Marshal(block)
	s.mu.Lock()
	block.Until = delay.Until(time.Now(), block.Until, block.Until.Sub(block.At))
	s.setBlockLocked(block)
	s.mu.Unlock()
	if err == nil {
		_, err = s.bucket.Put(ctx, contract.BlockKey(s.site), value)
	}
	if err != nil {
		return fmt.Errorf("storing the block of site %s: %w", s.site, err)
	}
	return nil
}

// clearBlock removes a block from the bucket.
func (s *siteState) clearBlock(ctx context.Context) error {
	if err := s.bucket.Delete(ctx, contract.BlockKey(s.site)); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("removing the block of site %s: %w", s.site, err)
	}
	return nil
}
