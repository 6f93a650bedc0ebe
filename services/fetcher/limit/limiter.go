// Package limit decides whether a fetcher may send a request to a site now: the pace, the turn and
// the slots that all processes share, the limit of cases in flight, the quiet hours, and the state
// of a site in trouble.
package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/lease"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// Options are the settings and the dependencies of a Limiter.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Fetcher names this process among the fetchers of the site; it is safe as a part of a key.
	Fetcher string
	Site    string
	Pace    Pace
	// Concurrency is how many cases may be in flight.
	Concurrency int
	// Shared says that other processes may send requests to the site over this broker: pace and
	// concurrency then apply to all of them together.
	Shared bool
	// Backoff slows requests down while the site is in trouble.
	Backoff Backoff
	// Cooldown is how long a block lasts if the site does not say.
	Cooldown time.Duration
}

// Limiter decides for all runs of one process when the next case may start and when the next
// request may be sent. It is safe for concurrent use.
type Limiter struct {
	pacer    *pacer
	site     *siteState
	inFlight *inFlightLimit
	// pools are the turn and the slots; empty if this process is alone.
	pools []*messagePool
}

// New opens the state of the site and, if it is shared, creates its turn and its slots.
func New(ctx context.Context, opts Options) (*Limiter, error) {
	sites, err := opts.Bus.KV(ctx, contract.BucketSites)
	if err != nil {
		return nil, err
	}
	l := &Limiter{pacer: newPacer(opts.Pace), site: newSiteState(opts, sites), inFlight: newInFlightLimit(opts.Concurrency)}
	if opts.Shared {
		if err := l.createPools(ctx, opts); err != nil {
			return nil, fmt.Errorf("creating the turn and the slots of site %s: %w", opts.Site, err)
		}
	}
	return l, nil
}

// Run follows what is stored about the site, and repairs the turn and the slots, until ctx ends,
// which is no error. It calls ready when the stored state is known: no request may be sent before.
func (l *Limiter) Run(ctx context.Context, ready func()) error {
	ctx, stop := context.WithCancel(ctx)
	var maintainers sync.WaitGroup
	defer maintainers.Wait()
	defer stop()
	for _, p := range l.pools {
		maintainers.Go(func() { p.maintain(ctx) })
	}
	return l.site.watch(ctx, ready)
}

// FreeAdmissions returns how many admissions are free now, as far as one call of Admit may return
// them.
func (l *Limiter) FreeAdmissions() int { return l.inFlight.available() }

// Admit waits until a case may be in flight and returns between one and limit admissions. The error
// is the cause of ctx.
func (l *Limiter) Admit(ctx context.Context, limit int) ([]Admission, error) {
	return l.inFlight.acquire(ctx, limit)
}

// EnterHalfOpen waits, while the site is half-open, until no other case of this process probes it.
// leave lets the next case in. The error is the cause of ctx.
func (l *Limiter) EnterHalfOpen(ctx context.Context) (leave func(), err error) {
	return l.site.enterHalfOpen(ctx)
}

// SetCrawlDelay sets the crawl delay of robots.txt, which applies if it is longer than the pause.
func (l *Limiter) SetCrawlDelay(pause time.Duration) { l.pacer.setCrawlDelay(pause) }

// RetryAfter returns how long a response asks clients to wait; 0 if it does not.
type RetryAfter func(x contract.Exchange, now time.Time) time.Duration

// Record slows requests down, or speeds them up again, by the exchanges of an attempt. retry says
// that the number has failed before.
func (l *Limiter) Record(ctx context.Context, exchanges []contract.Exchange, retry bool, retryAfter RetryAfter) {
	l.site.record(ctx, exchanges, retry, retryAfter)
}

// SetBlock stores a block of the site, for all fetchers now and later.
func (l *Limiter) SetBlock(ctx context.Context, block contract.SiteBlock) error {
	return l.site.setBlock(ctx, block)
}

// ClearBlock removes a block of the site. It must be called before Run.
func (l *Limiter) ClearBlock(ctx context.Context) error { return l.site.clearBlock(ctx) }

// Block returns the block in force, nil if there is none, and a channel that is closed when another
// block is set.
func (l *Limiter) Block() (*contract.SiteBlock, <-chan struct{}) {
	return l.site.activeBlock(time.Now())
}

// Slowdown returns how far trouble of the site slows requests down.
func (l *Limiter) Slowdown() contract.SiteSlowdown { return l.site.currentSlowdown() }

// CurrentWait returns why the next request is held beyond its pause; nil while it is not, or not
// for long.
func (l *Limiter) CurrentWait() *Wait { return l.pacer.currentWait.Load() }

// createPools creates the turn and the slots of the site, unless another fetcher did, and lets the
// pacer and the limit of cases in flight take from them.
func (l *Limiter) createPools(ctx context.Context, opts Options) error {
	fetchers, err := opts.Bus.KV(ctx, contract.BucketFetchers)
	if err != nil {
		return err
	}
	turnConfig, err := streams.TurnConsumer(opts.Site)
	if err != nil {
		return err
	}
	slotConfig, err := streams.SlotsConsumer(opts.Site, opts.Concurrency)
	if err != nil {
		return err
	}
	newPool := func(config jetstream.ConsumerConfig, subjects []string, minFree func() time.Duration) *messagePool {
		return &messagePool{
			bus: opts.Bus, log: opts.Log, fetchers: fetchers, holderKey: contract.HolderKey(config.Durable, opts.Fetcher),
			subjects: subjects, want: config, term: lease.Term(config.AckWait), minFree: minFree,
		}
	}
	pace := opts.Pace
	maxPause := func() time.Duration { return max(pace.Max, l.pacer.crawlDelay()) }
	turnPool := newPool(turnConfig, []string{contract.TurnSubject(opts.Site)}, maxPause)
	// A turn that is lost with its holder is redelivered only when that cannot shorten a pause.
	turnPool.want.AckWait = max(turnPool.want.AckWait, pace.Max+brokerRetryDelay)
	if pace.RestEvery > 0 {
		turnPool.want.AckWait = max(turnPool.want.AckWait, pace.RestFor+brokerRetryDelay)
	}
	var slotSubjects []string
	for n := 1; n <= opts.Concurrency; n++ {
		slotSubjects = append(slotSubjects, contract.SlotSubject(opts.Site, n))
	}
	slotPool := newPool(slotConfig, slotSubjects, func() time.Duration { return 0 })
	active, err := fetchersActive(ctx, opts.Bus)
	if err != nil {
		return err
	}
	for _, p := range []*messagePool{turnPool, slotPool} {
		if err := p.ensure(ctx, active); err != nil {
			return err
		}
	}
	if !pace.unlimited() {
		l.pacer.sharedTurn = &siteTurn{pool: turnPool, maxPause: pace.Max}
	}
	l.inFlight.slots = &slots{slotPool}
	l.pools = []*messagePool{turnPool, slotPool}
	return nil
}

// fetchersActive reports whether any fetcher works on a run.
func fetchersActive(ctx context.Context, b *bus.Bus) (active bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{"*.*"}}
	err = b.Scan(ctx, keys, func(jetstream.KeyValueEntry) error {
		active = true
		return nil
	})
	return active, err
}
