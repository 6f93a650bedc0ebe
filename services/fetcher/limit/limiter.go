// Package limit decides whether a fetcher may send a request to a site now: the pace, the turn and
// the slots that all processes share, the limit of cases in flight, the quiet hours, and the state
// of a site in trouble.
package limit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	*pacer
	*siteState
	*inFlightLimit
	// pools are the turn and the slots; empty if this process is alone.
	pools []*messagePool
}

// New opens the state of the site and, if it is shared, creates its turn and its slots.
func New(ctx context.Context, opts Options) (*Limiter, error) {
	sites, err := opts.Bus.KV(ctx, contract.BucketSites)
	if err != nil {
		return nil, err
	}
	l := &Limiter{newPacer(opts.Pace), newSiteState(opts, sites), newInFlightLimit(opts.Concurrency), nil}
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
	maintainers.Go(func() { l.keepReserved(ctx) })
	return l.watch(ctx, ready)
}

// Tune changes the pace and how many cases may be in flight, while requests are sent. A pause that has
// begun is kept within the new bounds; with other processes, where the turn has its delay, it ends as
// it was drawn. Cases in flight are finished. concurrency is at most maxConcurrency.
func (l *Limiter) Tune(pace Pace, concurrency int) {
	if *l.pace.Load() == pace && l.Concurrency() == concurrency {
		return
	}
	l.pace.Store(&pace)
	l.setConcurrency(concurrency)
	if len(l.pools) > 0 {
		turnPool, slotPool := l.pools[0], l.pools[1]
		turnPool.retune(poolTuning{subjects: turnPool.subjects, ackWait: turnAckWait(pace), maxAckPending: 1})
		slotPool.retune(poolTuning{subjects: slotSubjects(l.opts.Site, concurrency), maxAckPending: concurrency})
	}
}

// Settings returns the pace and how many cases may be in flight, as New or Tune set them.
func (l *Limiter) Settings() (Pace, int) { return *l.pace.Load(), l.Concurrency() }

// turnAckWait returns the least ack-wait of a turn: one that is lost with its holder is redelivered
// only when that cannot shorten a pause.
func turnAckWait(pace Pace) time.Duration {
	longest := pace.Max
	if pace.RestEvery > 0 {
		longest = max(longest, pace.RestFor)
	}
	return longest + brokerRetryDelay
}

func slotSubjects(site string, count int) (subjects []string) {
	for n := 1; n <= count; n++ {
		subjects = append(subjects, contract.SlotSubject(site, n))
	}
	return subjects
}

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
	maxPause := func() time.Duration { return max(l.pace.Load().Max, l.crawlDelay()) }
	turnPool := newPool(turnConfig, []string{contract.TurnSubject(opts.Site)}, maxPause)
	turnPool.want.AckWait = max(turnPool.want.AckWait, turnAckWait(opts.Pace))
	slotPool := newPool(slotConfig, slotSubjects(opts.Site, opts.Concurrency), func() time.Duration { return 0 })
	active, err := fetchersActive(ctx, opts.Bus)
	if err != nil {
		return err
	}
	for _, p := range []*messagePool{turnPool, slotPool} {
		if err := p.ensure(ctx, active); err != nil {
			return err
		}
	}
	l.sharedTurn = &siteTurn{pool: turnPool, maxPause: func() time.Duration { return l.pace.Load().Max }}
	l.slots = &slots{slotPool, l.Concurrency}
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

// CurrentPace returns how requests are sent now.
func (l *Limiter) CurrentPace() contract.FetcherPace {
	pace, crawl := l.pace.Load(), l.crawlDelay()
	_, offset := time.Now().Zone()
	current := contract.FetcherPace{
		DelayMin: max(pace.Min, crawl), DelayMax: max(pace.Max, crawl), RestEvery: pace.RestEvery, RestFor: pace.RestFor,
		QuietFrom: pace.Quiet.From, QuietTo: pace.Quiet.To, Location: time.Local.String(), UTCOffset: offset,
		Concurrency: l.Concurrency(),
	}
	if pace.RestEvery > 0 {
		current.SinceRest = int(l.sent.Load()) % pace.RestEvery
	}
	if level := l.Slowdown().Level; level > 0 {
		current.SlowedMin, current.SlowedMax = l.opts.Backoff.pause(level, 0), l.opts.Backoff.pause(level, 1)
	}
	return current
}

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
	permit, err := a.limiter.wait(ctx, !first, a.limiter.hold)
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

// inFlightLimit is the semaphore of the cases in flight, shared by all runs of a fetcher. If other
// processes fetch from the same site, each case also needs a slot, which the processes share.
//
// Waiters are served in the order in which they came: a run that waits with a job gets an admission
// after at most one admission of each other run. With slots, a run that was the only waiter may get
// up to maxExtraSlots more.
type inFlightLimit struct {
	// sem has maxConcurrency units at least; reserved of them are kept, so that concurrency are left.
	// changed receives word that concurrency has changed.
	sem         chan struct{}
	concurrency atomic.Int64
	reserved    int
	changed     chan struct{}

	slots *slots
	// requestingSlots is held by the one caller that requests slots from the server. A request is
	// repeated after a while and then goes to the end of the server's queue, so the server does not
	// keep the order of several requests. waiters counts all callers.
	requestingSlots chan struct{}
	waiters         atomic.Int64
}

// maxConcurrency is the most cases in flight that Tune may set.
const maxConcurrency = 64

func newInFlightLimit(concurrency int) *inFlightLimit {
	l := &inFlightLimit{sem: make(chan struct{}, max(maxConcurrency, concurrency)), changed: make(chan struct{}, 1),
		requestingSlots: make(chan struct{}, 1)}
	l.concurrency.Store(int64(concurrency))
	for ; l.reserved < cap(l.sem)-concurrency; l.reserved++ {
		l.sem <- struct{}{}
	}
	return l
}

// Concurrency returns how many cases may be in flight.
func (l *inFlightLimit) Concurrency() int { return int(l.concurrency.Load()) }

func (l *inFlightLimit) setConcurrency(n int) {
	l.concurrency.Store(int64(n))
	select {
	case l.changed <- struct{}{}:
	default: // it will be read
	}
}

// keepReserved reserves and frees units of the semaphore as concurrency changes, until ctx ends. To
// reserve one it waits like a case.
func (l *inFlightLimit) keepReserved(ctx context.Context) {
	for {
		want := cap(l.sem) - l.Concurrency()
		for ; l.reserved > want; l.reserved-- {
			<-l.sem
		}
		var reserve chan<- struct{}
		if l.reserved < want {
			reserve = l.sem
		}
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		case reserve <- struct{}{}:
			l.reserved++
		}
	}
}

// maxExtraSlots is how many slots a caller takes at once in addition to the first. Measured: one by
// one, a process fetched 640 cases a second. If a process took all free slots, it kept them from
// the others, and four processes together fetched 350.
const maxExtraSlots = 7

// Admission is the right to have one case in flight until it is released.
type Admission struct{ release func() }

// Release ends the case.
func (a Admission) Release() { a.release() }

// FreeAdmissions returns how many admissions are free now; with slots, at most as many as one call
// of Admit returns.
func (l *inFlightLimit) FreeAdmissions() int {
	idle := cap(l.sem) - len(l.sem)
	if l.slots != nil {
		return min(idle, 1+maxExtraSlots)
	}
	return idle
}

// Admit waits until a case may be in flight and returns between one and limit admissions. The error
// is the cause of ctx.
func (l *inFlightLimit) Admit(ctx context.Context, limit int) ([]Admission, error) {
	if l.slots != nil {
		return l.admitShared(ctx, limit)
	}
	if err := acquireSem(ctx, l.sem); err != nil {
		return nil, err
	}
	admissions := []Admission{{l.release}}
	for range l.tryAcquire(limit - 1) {
		admissions = append(admissions, Admission{l.release})
	}
	return admissions, nil
}

// admitShared is Admit where each admission needs a slot.
func (l *inFlightLimit) admitShared(ctx context.Context, limit int) ([]Admission, error) {
	l.waiters.Add(1)
	defer l.waiters.Add(-1)
	if err := acquireSem(ctx, l.requestingSlots); err != nil {
		return nil, err
	}
	defer func() { <-l.requestingSlots }()
	if err := acquireSem(ctx, l.sem); err != nil {
		return nil, err
	}
	slot, err := l.slots.take(ctx)
	if err != nil {
		l.release()
		return nil, err
	}
	admissions := []Admission{l.withSlot(slot)}
	if l.waiters.Load() > 1 { // the free slots are for the other waiters
		return admissions, nil
	}
	more := l.tryAcquire(min(limit-1, maxExtraSlots))
	slots := l.slots.takeMore(more)
	for _, slot := range slots {
		admissions = append(admissions, l.withSlot(slot))
	}
	for range more - len(slots) {
		l.release()
	}
	return admissions, nil
}

// tryAcquire takes up to limit units of the semaphore without waiting and returns how many.
func (l *inFlightLimit) tryAcquire(limit int) (taken int) {
	for ; taken < limit; taken++ {
		select {
		case l.sem <- struct{}{}:
		default:
			return taken
		}
	}
	return taken
}

func (l *inFlightLimit) withSlot(slot slot) Admission {
	return Admission{func() {
		slot.release()
		l.release()
	}}
}

func (l *inFlightLimit) release() { <-l.sem }

// acquireSem takes one unit of a semaphore. Waiters are served in the order in which they came.
func acquireSem(ctx context.Context, semaphore chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case semaphore <- struct{}{}:
		return nil
	}
}
