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
	// poolLook is how often a pool is looked at.
	poolLook = time.Second
	// poolSettle is for how long no process may say that it holds a message of a damaged pool before the pool is made again: each
	// has looked at it several times by then.
	poolSettle = 3 * time.Second
)

// pool is what the fetchers of a site share: messages of FCT_PACE and the consumer that gives each of them to one fetcher
// at a time. When somebody else removes a message or the consumer, a fetcher can still hold a message that the server would give
// to the next. So every fetcher then takes nothing until all have given back what they held, and one makes the pool again.
type pool struct {
	bus      *bus.Bus
	log      *slog.Logger
	fetchers jetstream.KeyValue
	// holder is the key that says that this process still holds a message of the damaged pool.
	holder string
	// subjects are those of the messages, want the consumer.
	subjects []string
	want     jetstream.ConsumerConfig
	// pause is how long nobody may have held a message before a damaged pool is made again.
	pause func() time.Duration

	mu       sync.Mutex
	consumer jetstream.Consumer
	known    generation
	held     int
	damaged  bool
	// quiet is since when no process says that it holds a message of the damaged pool; zero while one does.
	quiet time.Time
	said  bool
}

// generation is the same for two looks at a pool exactly when neither a message nor the consumer was removed in between.
type generation struct {
	stream, consumer time.Time
	removed          uint64
}

// condition is how a pool is found; damage is empty when every message and the consumer are there.
type condition struct {
	generation
	damage  string
	missing []string
	config  jetstream.ConsumerConfig
}

// begin makes what is missing of the pool. When another fetcher is at work a damaged pool is left to keep.
func (p *pool) begin(ctx context.Context, busy bool) error {
	now, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	if now.damage != "" && busy {
		p.damaged = true
		return nil
	}
	if spoiledPool(p.want, now.config) != "" {
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.publish(ctx, now.missing); err != nil {
		return err
	}
	if _, err := p.bus.JetStream().CreateOrUpdateConsumer(ctx, contract.StreamPace, p.want); err != nil {
		return fmt.Errorf("making consumer %s: %w", p.want.Durable, err)
	}
	if now, err = p.inspect(ctx); err != nil {
		return err
	}
	return p.open(ctx, now)
}

// source is the consumer to take from; nil while the pool is damaged.
func (p *pool) source() jetstream.Consumer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		return nil
	}
	return p.consumer
}

// hold counts a message that was taken, and says whether it may be used.
func (p *pool) hold() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		return false
	}
	p.held++
	return true
}

func (p *pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
}

// keep looks after the pool until ctx ends.
func (p *pool) keep(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	for trouble, watched := "", false; delay.Sleep(ctx, poolLook) == nil; {
		if consumer := p.source(); consumer != nil && !watched {
			stop, watched = p.bus.WatchStalls(ctx, consumer), true
		}
		err := p.look(ctx)
		if ctx.Err() != nil {
			return
		}
		// Once for each change: the pool may be out of reach for long.
		if err != nil && err.Error() != trouble {
			p.log.Warn("fetcher.pool.unseen", "consumer", p.want.Durable, "error", err)
		}
		trouble = ""
		if err != nil {
			trouble = err.Error()
		}
	}
}

// look does what is to be done for the pool now.
func (p *pool) look(ctx context.Context) error {
	now, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	held, healthy := p.judge(&now)
	switch {
	case healthy:
		return p.adjust(ctx, now.config)
	case spoiledPool(p.want, now.config) != "":
		// A consumer that was put right in place would not give again what it has given up. What is gone every fetcher notices.
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.say(ctx, held > 0); err != nil || held > 0 {
		p.quiet = time.Time{}
		return err
	}
	if now.damage == anew {
		return p.open(ctx, now)
	}
	others, err := p.othersHold(ctx)
	if err != nil || others {
		p.quiet = time.Time{}
		return err
	}
	if p.quiet.IsZero() {
		p.quiet = time.Now()
	}
	if time.Since(p.quiet) < max(poolSettle, p.pause()) {
		return nil
	}
	return p.restore(ctx)
}

// anew is the damage of a pool that somebody else has made again.
const anew = "it was made again"

// judge compares a pool with what it was, and has nothing taken from a damaged one. held is how many of its messages this
// process holds.
func (p *pool) judge(now *condition) (held int, healthy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.damage == "" && (p.damaged || now.generation != p.known) {
		now.damage = anew
	}
	if now.damage == "" {
		return p.held, true
	}
	if !p.damaged {
		p.log.Warn("fetcher.pool.damaged", "consumer", p.want.Durable, "reason", now.damage)
	}
	p.damaged = true
	return p.held, false
}

// restore makes a damaged pool again, of which nobody holds a message.
func (p *pool) restore(ctx context.Context) error {
	now, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	if now.damage != "" {
		if err := p.publish(ctx, now.missing); err != nil {
			return err
		}
		_, err := p.bus.JetStream().CreateConsumer(ctx, contract.StreamPace, p.want)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			return fmt.Errorf("making consumer %s: %w", p.want.Durable, err)
		}
		if now, err = p.inspect(ctx); err != nil || now.damage != "" {
			return err
		}
	}
	return p.open(ctx, now)
}

// open has messages taken from a pool that is there.
func (p *pool) open(ctx context.Context, now condition) error {
	consumer, err := p.bus.JetStream().Consumer(ctx, contract.StreamPace, p.want.Durable)
	if err != nil {
		return fmt.Errorf("opening consumer %s: %w", p.want.Durable, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		p.log.Warn("fetcher.pool.restored", "consumer", p.want.Durable)
	}
	p.consumer, p.known, p.damaged, p.quiet = consumer, now.generation, false, time.Time{}
	return nil
}

func (p *pool) publish(ctx context.Context, subjects []string) error {
	for _, subject := range subjects {
		if _, err := p.bus.Publish(ctx, nats.NewMsg(subject)); err != nil && !errors.Is(err, bus.ErrExists) {
			return err
		}
	}
	return nil
}

// inspect looks at the pool.
func (p *pool) inspect(ctx context.Context) (now condition, err error) {
	stream, err := p.bus.JetStream().Stream(ctx, contract.StreamPace)
	if err != nil {
		return now, fmt.Errorf("looking into %s: %w", contract.StreamPace, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(p.want.FilterSubject))
	if err != nil {
		return now, fmt.Errorf("looking into %s: %w", contract.StreamPace, err)
	}
	now.stream, now.removed = info.Created, info.State.LastSeq-info.State.Msgs
	for _, subject := range p.subjects {
		if info.State.Subjects[subject] == 0 {
			now.missing = append(now.missing, subject)
		}
	}
	consumer, err := p.bus.JetStream().Consumer(ctx, contract.StreamPace, p.want.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		now.damage = "its consumer was removed"
	case err != nil:
		return now, fmt.Errorf("opening consumer %s: %w", p.want.Durable, err)
	default:
		now.consumer, now.config = consumer.CachedInfo().Created, consumer.CachedInfo().Config
		now.damage = spoiledPool(p.want, now.config)
	}
	if len(now.missing) > 0 {
		now.damage = strings.TrimPrefix(now.damage+"; messages were removed: "+strings.Join(now.missing, " "), "; ")
	}
	return now, nil
}

// spoiledPool says what keeps a consumer from giving every message again and again; empty when nothing does, or when it is not there.
func spoiledPool(want, have jetstream.ConsumerConfig) string {
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
func (p *pool) adjust(ctx context.Context, have jetstream.ConsumerConfig) error {
	most := have.MaxAckPending
	if most <= 0 || most > p.want.MaxAckPending {
		most = p.want.MaxAckPending
	}
	if have.AckWait >= p.want.AckWait && len(have.BackOff) == 0 && have.MaxAckPending == most && have.InactiveThreshold == 0 {
		return nil
	}
	change := have
	change.AckWait, change.BackOff, change.MaxAckPending, change.InactiveThreshold = max(have.AckWait, p.want.AckWait), nil, most, 0
	if _, err := p.bus.JetStream().UpdateConsumer(ctx, contract.StreamPace, change); err != nil {
		return fmt.Errorf("changing consumer %s: %w", p.want.Durable, err)
	}
	p.log.Warn("fetcher.pool.adjusted", "consumer", p.want.Durable, "ack_wait_seconds", change.AckWait.Seconds(), "max_ack_pending", most)
	return nil
}

// say tells the other fetchers whether this process holds a message of the damaged pool. What a process that died has said expires.
func (p *pool) say(ctx context.Context, holds bool) error {
	var err error
	switch {
	case holds:
		p.said = true // also when it is not known whether it was stored
		_, err = p.fetchers.Put(ctx, p.holder, []byte("{}"))
	case p.said:
		if err = p.fetchers.Delete(ctx, p.holder); err == nil {
			p.said = false
		}
	}
	if err != nil {
		return fmt.Errorf("saying what is held of %s: %w", p.want.Durable, err)
	}
	return nil
}

// othersHold says whether another process holds a message of the damaged pool.
func (p *pool) othersHold(ctx context.Context) (hold bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{contract.HolderKey(p.want.Durable, "*")}}
	err = p.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		hold = hold || entry.Key() != p.holder
		return nil
	})
	return hold, err
}

// busy says whether any fetcher works on a run.
func (s *Service) busy(ctx context.Context) (busy bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{"*.*"}}
	err = s.Bus.Scan(ctx, keys, func(jetstream.KeyValueEntry) error {
		busy = true
		return nil
	})
	return busy, err
}

// share makes the turn and the slots of the site, unless another fetcher has, and takes pace and places from them.
func (s *Service) share(ctx context.Context) error {
	turn, err := streams.TurnConsumer(s.SiteName)
	if err != nil {
		return err
	}
	// A turn that is lost with its holder comes again when no pause can be broken by it.
	turn.AckWait = max(turn.AckWait, s.Pace.Max+stumble)
	if s.Pace.RestEvery > 0 {
		turn.AckWait = max(turn.AckWait, s.Pace.RestFor+stumble)
	}
	slot, err := streams.SlotsConsumer(s.SiteName, s.Concurrency)
	if err != nil {
		return err
	}
	var slotSubjects []string
	for n := 1; n <= s.Concurrency; n++ {
		slotSubjects = append(slotSubjects, contract.SlotSubject(s.SiteName, n))
	}
	longest := func() time.Duration { return max(s.Pace.Max, s.pacer.crawlDelay()) }
	busy, err := s.busy(ctx)
	if err != nil {
		return err
	}
	turns := s.newPool(turn, []string{contract.TurnSubject(s.SiteName)}, longest)
	held := s.newPool(slot, slotSubjects, func() time.Duration { return 0 })
	for _, p := range []*pool{turns, held} {
		if err := p.begin(ctx, busy); err != nil {
			return err
		}
	}
	if !s.Pace.none() {
		s.pacer.shared = &token{pool: turns, pause: s.Pace.Max}
	}
	s.places.shared = &slots{held}
	s.pools = []*pool{turns, held}
	return nil
}

func (s *Service) newPool(want jetstream.ConsumerConfig, subjects []string, pause func() time.Duration) *pool {
	return &pool{
		bus: s.Bus, log: s.Log, fetchers: s.fetchers, holder: contract.HolderKey(want.Durable, s.ID),
		subjects: subjects, want: want, pause: pause,
	}
}
