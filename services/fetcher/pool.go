package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// poolCheckInterval is how often a pool is looked at.
	poolCheckInterval = time.Second
	// poolUnheldTime is for how long no process may say that it holds a message of a damaged pool before the pool is made again: each
	// has looked at it several times by then.
	poolUnheldTime = 3 * time.Second
)

// messagePool is what the fetchers of a site share: messages of FCT_PACE and the consumer that gives each of them to one fetcher
// at a time. When somebody else removes a message or the consumer, a fetcher can still hold a message that the server would give
// to the next. So every fetcher then takes nothing until all have given back what they held, and one makes the pool again.
type messagePool struct {
	bus      *bus.Bus
	log      *slog.Logger
	fetchers jetstream.KeyValue
	// holderKey is the key that says that this process still holds a message of the damaged pool.
	holderKey string
	// subjects are those of the messages, want the consumer.
	subjects []string
	want     jetstream.ConsumerConfig
	// minUnheld is how long nobody may have held a message before a damaged pool is made again.
	minUnheld func() time.Duration

	mu       sync.Mutex
	consumer jetstream.Consumer
	version  poolVersion
	held     int
	damaged  bool
	// unheldSince is since when no process says that it holds a message of the damaged pool; zero while one does.
	unheldSince time.Time
	announced   bool
}

// poolVersion is the same for two looks at a pool exactly when neither a message nor the consumer was removed in between.
type poolVersion struct {
	streamCreated, consumerCreated time.Time
	removed                        uint64
}

// poolStatus is how a pool is found; damage is empty when every message and the consumer are there.
type poolStatus struct {
	poolVersion
	damage  string
	missing []string
	config  jetstream.ConsumerConfig
}

// ensure makes what is missing of the pool. When another fetcher is at work a damaged pool is left to keep.
func (p *messagePool) ensure(ctx context.Context, othersActive bool) error {
	status, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	if status.damage != "" && othersActive {
		p.damaged = true
		return nil
	}
	if consumerDefect(p.want, status.config) != "" {
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.publish(ctx, status.missing); err != nil {
		return err
	}
	if _, err := p.bus.JetStream().CreateOrUpdateConsumer(ctx, contract.StreamPace, p.want); err != nil {
		return fmt.Errorf("making consumer %s: %w", p.want.Durable, err)
	}
	if status, err = p.inspect(ctx); err != nil {
		return err
	}
	return p.open(ctx, status)
}

// activeConsumer is the consumer to take from; nil while the pool is damaged.
func (p *messagePool) activeConsumer() jetstream.Consumer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		return nil
	}
	return p.consumer
}

// addHeld counts a message that was taken, and says whether it may be used.
func (p *messagePool) addHeld() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		return false
	}
	p.held++
	return true
}

func (p *messagePool) removeHeld() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
}

// maintain looks after the pool until ctx ends.
func (p *messagePool) maintain(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	for lastError, watched := "", false; delay.Sleep(ctx, poolCheckInterval) == nil; {
		if consumer := p.activeConsumer(); consumer != nil && !watched {
			stop, watched = p.bus.WatchStalls(ctx, consumer), true
		}
		err := p.check(ctx)
		if ctx.Err() != nil {
			return
		}
		// Once for each change: the pool may be out of reach for long.
		if err != nil && err.Error() != lastError {
			p.log.Warn("fetcher.pool.unseen", "consumer", p.want.Durable, "error", err)
		}
		lastError = ""
		if err != nil {
			lastError = err.Error()
		}
	}
}

// check does what is to be done for the pool now.
func (p *messagePool) check(ctx context.Context) error {
	status, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	heldCount, healthy := p.assess(&status)
	switch {
	case healthy:
		return p.adjust(ctx, status.config)
	case consumerDefect(p.want, status.config) != "":
		// A consumer that was put right in place would not give again what it has given up. What is gone every fetcher notices.
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.announceHeld(ctx, heldCount > 0); err != nil || heldCount > 0 {
		p.unheldSince = time.Time{}
		return err
	}
	if status.damage == damageRecreated {
		return p.open(ctx, status)
	}
	heldElsewhere, err := p.heldByOthers(ctx)
	if err != nil || heldElsewhere {
		p.unheldSince = time.Time{}
		return err
	}
	if p.unheldSince.IsZero() {
		p.unheldSince = time.Now()
	}
	if time.Since(p.unheldSince) < max(poolUnheldTime, p.minUnheld()) {
		return nil
	}
	return p.restore(ctx)
}

// damageRecreated is the damage of a pool that somebody else has made again.
const damageRecreated = "it was made again"

// assess compares a pool with what it was, and has nothing taken from a damaged one. held is how many of its messages this
// process holds.
func (p *messagePool) assess(status *poolStatus) (heldCount int, healthy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if status.damage == "" && (p.damaged || status.poolVersion != p.version) {
		status.damage = damageRecreated
	}
	if status.damage == "" {
		return p.held, true
	}
	if !p.damaged {
		p.log.Warn("fetcher.pool.damaged", "consumer", p.want.Durable, "reason", status.damage)
	}
	p.damaged = true
	return p.held, false
}

// restore makes a damaged pool again, of which nobody holds a message.
func (p *messagePool) restore(ctx context.Context) error {
	status, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	if status.damage != "" {
		if err := p.publish(ctx, status.missing); err != nil {
			return err
		}
		_, err := p.bus.JetStream().CreateConsumer(ctx, contract.StreamPace, p.want)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			return fmt.Errorf("making consumer %s: %w", p.want.Durable, err)
		}
		if status, err = p.inspect(ctx); err != nil || status.damage != "" {
			return err
		}
	}
	return p.open(ctx, status)
}

// open has messages taken from a pool that is there.
func (p *messagePool) open(ctx context.Context, status poolStatus) error {
	consumer, err := p.bus.JetStream().Consumer(ctx, contract.StreamPace, p.want.Durable)
	if err != nil {
		return fmt.Errorf("opening consumer %s: %w", p.want.Durable, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		p.log.Warn("fetcher.pool.restored", "consumer", p.want.Durable)
	}
	p.consumer, p.version, p.damaged, p.unheldSince = consumer, status.poolVersion, false, time.Time{}
	return nil
}

func (p *messagePool) publish(ctx context.Context, subjects []string) error {
	for _, subject := range subjects {
		if _, err := p.bus.Publish(ctx, nats.NewMsg(subject)); err != nil && !errors.Is(err, bus.ErrExists) {
			return err
		}
	}
	return nil
}

// inspect looks at the pool.
func (p *messagePool) inspect(ctx context.Context) (status poolStatus, err error) {
	stream, err := p.bus.JetStream().Stream(ctx, contract.StreamPace)
	if err != nil {
		return status, fmt.Errorf("looking into %s: %w", contract.StreamPace, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(p.want.FilterSubject))
	if err != nil {
		return status, fmt.Errorf("looking into %s: %w", contract.StreamPace, err)
	}
	status.streamCreated, status.removed = info.Created, info.State.LastSeq-info.State.Msgs
	for _, subject := range p.subjects {
		if info.State.Subjects[subject] == 0 {
			status.missing = append(status.missing, subject)
		}
	}
	consumer, err := p.bus.JetStream().Consumer(ctx, contract.StreamPace, p.want.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		status.damage = "its consumer was removed"
	case err != nil:
		return status, fmt.Errorf("opening consumer %s: %w", p.want.Durable, err)
	default:
		status.consumerCreated, status.config = consumer.CachedInfo().Created, consumer.CachedInfo().Config
		status.damage = consumerDefect(p.want, status.config)
	}
	if len(status.missing) > 0 {
		status.damage = strings.TrimPrefix(status.damage+"; messages were removed: "+strings.Join(status.missing, " "), "; ")
	}
	return status, nil
}

// consumerDefect says what keeps a consumer from giving every message again and again; empty when nothing does, or when it is not there.
func consumerDefect(want, have jetstream.ConsumerConfig) string {
	switch {
	case have.Durable == "":
		return ""
	case have.MaxDeliver != want.MaxDeliver:
		return fmt.Sprintf("max_deliver: have %d, want %d", have.MaxDeliver, want.MaxDeliver)
	case have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0:
		return fmt.Sprintf("filter: have %q, want %q", append(have.FilterSubjects, have.FilterSubject), want.FilterSubject)
	default:
		return ""
	}
}

// adjust puts right, in place, what would have the consumer give a message to two fetchers or give more than are to be held. Of
// fetchers with different settings the strictest one decides. A consumer that waits for longer, or gives less, is the operator's.
func (p *messagePool) adjust(ctx context.Context, have jetstream.ConsumerConfig) error {
	maxAckPending := have.MaxAckPending
	if maxAckPending <= 0 || maxAckPending > p.want.MaxAckPending {
		maxAckPending = p.want.MaxAckPending
	}
	if have.AckWait >= p.want.AckWait && len(have.BackOff) == 0 && have.MaxAckPending == maxAckPending && have.InactiveThreshold == 0 {
		return nil
	}
	changed := have
	changed.AckWait, changed.BackOff, changed.MaxAckPending, changed.InactiveThreshold = max(have.AckWait, p.want.AckWait), nil, maxAckPending, 0
	if _, err := p.bus.JetStream().UpdateConsumer(ctx, contract.StreamPace, changed); err != nil {
		return fmt.Errorf("changing consumer %s: %w", p.want.Durable, err)
	}
	p.log.Warn("fetcher.pool.adjusted", "consumer", p.want.Durable, "ack_wait_seconds", changed.AckWait.Seconds(), "max_ack_pending", maxAckPending)
	return nil
}

// announceHeld tells the other fetchers whether this process holds a message of the damaged pool. What a process that died has said expires.
func (p *messagePool) announceHeld(ctx context.Context, holding bool) error {
	var err error
	switch {
	case holding:
		p.announced = true // also when it is not known whether it was stored
		_, err = p.fetchers.Put(ctx, p.holderKey, []byte("{}"))
	case p.announced:
		if err = p.fetchers.Delete(ctx, p.holderKey); err == nil {
			p.announced = false
		}
	}
	if err != nil {
		return fmt.Errorf("saying what is held of %s: %w", p.want.Durable, err)
	}
	return nil
}

// heldByOthers says whether another process holds a message of the damaged pool.
func (p *messagePool) heldByOthers(ctx context.Context) (held bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{contract.HolderKey(p.want.Durable, "*")}}
	err = p.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		held = held || entry.Key() != p.holderKey
		return nil
	})
	return held, err
}

// fetchersActive says whether any fetcher works on a run.
func (s *Service) fetchersActive(ctx context.Context) (active bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{"*.*"}}
	err = s.Bus.Scan(ctx, keys, func(jetstream.KeyValueEntry) error {
		active = true
		return nil
	})
	return active, err
}

// createSharedPools makes the turn and the slots of the site, unless another fetcher has, and takes pace and places from them.
func (s *Service) createSharedPools(ctx context.Context) error {
	turnConfig, err := streams.TurnConsumer(s.SiteName)
	if err != nil {
		return err
	}
	// A turn that is lost with its holder comes again when no pause can be broken by it.
	turnConfig.AckWait = max(turnConfig.AckWait, s.Pace.Max+brokerRetryDelay)
	if s.Pace.RestEvery > 0 {
		turnConfig.AckWait = max(turnConfig.AckWait, s.Pace.RestFor+brokerRetryDelay)
	}
	slotConfig, err := streams.SlotsConsumer(s.SiteName, s.Concurrency)
	if err != nil {
		return err
	}
	var slotSubjects []string
	for n := 1; n <= s.Concurrency; n++ {
		slotSubjects = append(slotSubjects, contract.SlotSubject(s.SiteName, n))
	}
	maxPause := func() time.Duration { return max(s.Pace.Max, s.pacer.crawlDelay()) }
	active, err := s.fetchersActive(ctx)
	if err != nil {
		return err
	}
	turnPool := s.newMessagePool(turnConfig, []string{contract.TurnSubject(s.SiteName)}, maxPause)
	slotPool := s.newMessagePool(slotConfig, slotSubjects, func() time.Duration { return 0 })
	for _, p := range []*messagePool{turnPool, slotPool} {
		if err := p.ensure(ctx, active); err != nil {
			return err
		}
	}
	if !s.Pace.unlimited() {
		s.pacer.sharedTurn = &siteTurn{messagePool: turnPool, maxPause: s.Pace.Max}
	}
	s.inFlightLimit.slots = &slots{slotPool}
	s.pools = []*messagePool{turnPool, slotPool}
	return nil
}

func (s *Service) newMessagePool(want jetstream.ConsumerConfig, subjects []string, pause func() time.Duration) *messagePool {
	return &messagePool{
		bus: s.Bus, log: s.Log, fetchers: s.fetchers, holderKey: contract.HolderKey(want.Durable, s.ID),
		subjects: subjects, want: want, minUnheld: pause,
	}
}
