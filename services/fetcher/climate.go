package fetcher

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

// climate is what all fetchers know of one site: whether it told us to go away, and how far its trouble slows everybody
// down. It lies in the bucket of sites, so that it outlives a process and every other one hears of it; it is looked at in
// memory, ahead of each request.
type climate struct {
	bucket  jetstream.KeyValue
	site    string
	backoff Backoff
	// cooldown is how long a block without a word from the site lasts.
	cooldown time.Duration
	log      *slog.Logger
	// trial is held by the one case that is asked for while the site is in bad trouble.
	trial chan struct{}

	mu       sync.Mutex
	slowdown contract.SiteSlowdown
	block    *contract.SiteBlock
	// told is closed and made anew when a block comes.
	told chan struct{}
}

func newClimate(bucket jetstream.KeyValue, site string, backoff Backoff, cooldown time.Duration, log *slog.Logger) *climate {
	return &climate{bucket: bucket, site: site, backoff: backoff, cooldown: cooldown, log: log, trial: make(chan struct{}, 1), told: make(chan struct{})}
}

// watch reads what is known of the site, calls ready, and follows it until ctx ends.
func (c *climate) watch(ctx context.Context, b *bus.Bus, ready func()) error {
	keys := bus.Keys{Bucket: contract.BucketSites, Filters: []string{contract.BlockKey(c.site), contract.SlowdownKey(c.site)}}
	err := b.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if entry == nil {
			ready()
			return nil
		}
		c.learn(entry, time.Now())
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching site %s: %w", c.site, err)
}

// learn takes in what another fetcher, or this one before it was started anew, has found. A value that cannot be read may
// have told to leave the site alone, and is read so: a block lasts for the cool-down of one without a word from the site, a
// slowdown begins where one case at a time is asked for.
func (c *climate) learn(entry jetstream.KeyValueEntry, now time.Time) {
	there := entry.Operation() == jetstream.KeyValuePut
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry.Key() == contract.BlockKey(c.site) {
		if !there {
			c.block = nil
			return
		}
		block, err := runs.Decode[contract.SiteBlock](entry.Key(), entry.Value())
		if err == nil && block.Until.IsZero() {
			err = fmt.Errorf("%w: %s: it has no end", runs.ErrUnreadable, entry.Key())
		}
		if err != nil {
			block = contract.SiteBlock{Rule: "unreadable-block", At: entry.Created().UTC(), Until: entry.Created().UTC().Add(c.cooldown)}
			c.log.Error("site.block.unreadable", "site", c.site, "until", block.Until, "error", err)
		}
		if c.block != nil && c.block.At.Equal(block.At) {
			return // this fetcher's own word
		}
		block.Until = delay.Until(now, block.Until, block.Until.Sub(block.At))
		c.set(block)
		return
	}
	var slowdown contract.SiteSlowdown
	if there {
		var err error
		if slowdown, err = runs.Decode[contract.SiteSlowdown](entry.Key(), entry.Value()); err != nil {
			created := entry.Created()
			slowdown = contract.SiteSlowdown{
				Streak: spared + 1, Level: opening, RaisedAt: created, ChangedAt: created, Reason: err.Error(),
				Until: created.Add(c.backoff.pause(opening, 1)),
			}
			c.log.Error("site.slowdown.unreadable", "site", c.site, "error", err)
		}
	}
	if slowdown.ChangedAt.Equal(c.slowdown.ChangedAt) {
		return // this fetcher's own word
	}
	slowdown.Until = delay.Until(now, slowdown.Until, slowdown.Until.Sub(slowdown.ChangedAt))
	if slowdown.RaisedAt.After(now) { // else no failure would count before the wall clock has caught up
		slowdown.RaisedAt = now
	}
	if slowdown.Until.Sub(now) >= tellFrom {
		c.log.Warn("site.slowed", "site", c.site, "level", slowdown.Level, "until", slowdown.Until.UTC(), "reason", slowdown.Reason)
	}
	c.slowdown = slowdown
}

// set takes in a block; the lock is held.
func (c *climate) set(block contract.SiteBlock) {
	c.block = &block
	close(c.told)
	c.told = make(chan struct{})
}

// blocked is the block in force at the time now, nil when there is none, and a channel that is closed when another comes.
func (c *climate) blocked(now time.Time) (*contract.SiteBlock, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.block == nil || !c.block.Until.After(now) {
		return nil, c.told
	}
	block := *c.block
	return &block, c.told
}

// hold is how much longer nobody may ask, and why.
func (c *climate) hold() (left time.Duration, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	why = "the site recovers from trouble"
	if c.slowdown.Reason != "" {
		why = "the site is in trouble: " + c.slowdown.Reason
	}
	return time.Until(c.slowdown.Until), why
}

// enter waits, while the site is in bad trouble, until no other case of this process is being tried; leave lets the next one in.
func (c *climate) enter(ctx context.Context) (leave func(), err error) {
	if !c.open() {
		return func() {}, nil
	}
	select {
	case c.trial <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release := sync.OnceFunc(func() { <-c.trial })
	if !c.open() {
		release()
	}
	return release, nil
}

func (c *climate) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slowdown.Level >= opening
}

// note takes in how an attempt went and tells the other fetchers when that changes how fast everybody asks. retry says that
// the number has failed before. A word that is lost is made good by the next.
func (c *climate) note(
	ctx context.Context, exchanges []contract.Exchange, retry bool, retryAfter func(contract.Exchange, time.Time) time.Duration,
) {
	now, before, changed := time.Now(), 0, false
	c.mu.Lock()
	before = c.slowdown.Level
	for _, x := range exchanges {
		next, differs := c.backoff.After(c.slowdown, x, retry, retryAfter(x, now), now, rand.Float64())
		c.slowdown, changed = next, changed || differs
	}
	if changed {
		c.slowdown.ChangedAt = now.UTC().Round(0)
	}
	slowdown := c.slowdown
	c.mu.Unlock()
	if !changed {
		return
	}
	if slowdown.Level > before || slowdown.Reason != "" {
		c.log.Warn("site.slowed", "site", c.site, "level", slowdown.Level, "until", slowdown.Until.UTC(), "reason", slowdown.Reason)
	} else {
		c.log.Info("site.recovering", "site", c.site, "level", slowdown.Level)
	}
	value, err := json.Marshal(slowdown)
	if err == nil {
		_, err = c.bucket.Put(ctx, contract.SlowdownKey(c.site), value)
	}
	if err != nil && ctx.Err() == nil {
		c.log.Warn("site.slowdown.kept", "site", c.site, "error", err)
	}
}

// shut keeps that the site told us to go away, for every fetcher and for those to come.
func (c *climate) shut(ctx context.Context, block contract.SiteBlock) error {
	value, err := json.Marshal(block)
	c.mu.Lock()
	block.Until = delay.Until(time.Now(), block.Until, block.Until.Sub(block.At))
	c.set(block)
	c.mu.Unlock()
	if err == nil {
		_, err = c.bucket.Put(ctx, contract.BlockKey(c.site), value)
	}
	if err != nil {
		return fmt.Errorf("keeping the block of site %s: %w", c.site, err)
	}
	return nil
}

// unblock takes a block back.
func (c *climate) unblock(ctx context.Context) error {
	if err := c.bucket.Delete(ctx, contract.BlockKey(c.site)); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("taking back the block of site %s: %w", c.site, err)
	}
	return nil
}
