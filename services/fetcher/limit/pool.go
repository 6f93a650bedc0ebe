package limit

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
	"fct-scraper/pkg/lease"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// poolCheckInterval is how often a process checks a pool.
	poolCheckInterval = time.Second
	// minFreeTime is for how long no process may announce that it holds a message of a damaged
	// pool before the pool is restored. Each process has checked the pool several times by then.
	minFreeTime = 3 * time.Second
)

// messagePool is a set of messages of FCT_PACE that the fetchers of a site share, and the consumer
// that delivers each of them to one fetcher at a time.
//
// If a message or the consumer is removed from outside, a fetcher may still hold a message that the
// server would deliver to the next one. Therefore every fetcher then takes nothing until all have
// released what they hold, and one of them restores the pool. The first row that applies decides;
// the check that finds the damage goes on with the rows of damaged.
//
//	state    a check finds                                  then                  next
//	open     nothing removed, recreated or misconfigured    adjust                open
//	open     anything else                                  take nothing          damaged
//	damaged  this process holds a message                   announce that         damaged
//	damaged  messages and consumer exist again              use the new consumer  open
//	damaged  another process announces a message            wait                  damaged
//	damaged  none announced for max(minFreeTime, minFree)   restore               open
//	damaged  none announced                                 wait                  damaged
type messagePool struct {
	bus      *bus.Bus
	log      *slog.Logger
	fetchers jetstream.KeyValue
	// holderKey announces that this process still holds a message of the damaged pool.
	holderKey string
	// subjects are the subjects of the messages. want is the configuration of the consumer. Once
	// maintain runs, only it reads and changes them. term is how long a message is leased.
	subjects []string
	want     jetstream.ConsumerConfig
	term     lease.Term
	// minFree returns how long a damaged pool must be free of holders before it is restored.
	minFree func() time.Duration

	// raise: the consumer may deliver more messages than before, once.
	raise bool

	mu sync.Mutex
	// tuning is what is to be changed; nil if nothing is.
	tuning   *poolTuning
	consumer jetstream.Consumer
	version  poolVersion
	held     int
	damaged  bool
	// freeSince is since when no process holds a message of the damaged pool; zero while one does.
	freeSince time.Time
	announced bool
}

// poolVersion is equal at two checks of a pool exactly if neither a message nor the consumer was
// removed in between.
type poolVersion struct {
	streamCreated, consumerCreated time.Time
	removed                        uint64
}

// poolStatus is the result of inspecting a pool. damage is empty if all messages and the consumer
// exist.
type poolStatus struct {
	poolVersion
	damage  string
	missing []string
	config  jetstream.ConsumerConfig
}

// ensure creates what is missing of the pool. If another fetcher works, it leaves a damaged pool to
// maintain.
func (p *messagePool) ensure(ctx context.Context, othersActive bool) error {
	status, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	if status.damage != "" && othersActive {
		p.damaged = true
		return nil
	}
	if streams.DeliveryFault(p.want, status.config) != "" {
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.publish(ctx, status.missing); err != nil {
		return err
	}
	if _, err := p.bus.JetStream().CreateOrUpdateConsumer(ctx, contract.StreamPace, p.want); err != nil {
		return fmt.Errorf("creating consumer %s: %w", p.want.Durable, err)
	}
	if status, err = p.inspect(ctx); err != nil {
		return err
	}
	return p.open(ctx, status)
}

// activeConsumer returns the consumer to take messages from; nil while the pool is damaged.
func (p *messagePool) activeConsumer() jetstream.Consumer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged {
		return nil
	}
	return p.consumer
}

// addHeld counts a message that was taken. It reports false if the message must not be used because
// the pool is damaged.
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

// maintain checks the pool every poolCheckInterval, and restores it if needed, until ctx ends.
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
		// Log each change once: the pool may be out of reach for long.
		if err != nil && err.Error() != lastError {
			p.log.Warn("fetcher.pool.unseen", "consumer", p.want.Durable, "error", err)
		}
		lastError = ""
		if err != nil {
			lastError = err.Error()
		}
	}
}

// poolTuning changes a pool: it has these messages at least, and its consumer this ack-wait at least
// and as many deliveries without an acknowledgement at once.
type poolTuning struct {
	subjects      []string
	ackWait       time.Duration
	maxAckPending int
}

// retune has maintain change the pool.
func (p *messagePool) retune(t poolTuning) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tuning = &t
}

// applyTuning changes what is wanted of the pool. Messages that other fetchers do not know yet are
// published first: they are missing for nobody.
func (p *messagePool) applyTuning(ctx context.Context) error {
	p.mu.Lock()
	t := p.tuning
	p.tuning = nil
	p.mu.Unlock()
	if t == nil {
		return nil
	}
	if more := t.subjects[min(len(p.subjects), len(t.subjects)):]; len(more) > 0 {
		if err := p.publish(ctx, more); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.tuning == nil { // else a newer one
				p.tuning = t
			}
			return fmt.Errorf("adding messages to the pool of %s: %w", p.want.Durable, err)
		}
		p.subjects = t.subjects
	}
	p.raise = t.maxAckPending > p.want.MaxAckPending
	p.want.AckWait, p.want.MaxAckPending = max(p.want.AckWait, t.ackWait), t.maxAckPending
	return nil
}

// check inspects the pool once and takes the next step of its repair.
func (p *messagePool) check(ctx context.Context) error {
	if err := p.applyTuning(ctx); err != nil {
		return err
	}
	status, err := p.inspect(ctx)
	if err != nil {
		return err
	}
	heldCount, healthy := p.assess(&status)
	switch {
	case healthy:
		return p.adjust(ctx, status.config)
	case streams.DeliveryFault(p.want, status.config) != "":
		// A consumer that is corrected in place does not redeliver what it has given up. Every fetcher
		// notices a consumer that is gone.
		if err := streams.DeleteConsumer(ctx, p.bus.JetStream(), contract.StreamPace, p.want.Durable); err != nil {
			return err
		}
	}
	if err := p.announceHeld(ctx, heldCount > 0); err != nil || heldCount > 0 {
		p.freeSince = time.Time{}
		return err
	}
	if status.damage == damageRecreated {
		return p.open(ctx, status)
	}
	heldElsewhere, err := p.heldByOthers(ctx)
	if err != nil || heldElsewhere {
		p.freeSince = time.Time{}
		return err
	}
	if p.freeSince.IsZero() {
		p.freeSince = time.Now()
	}
	if time.Since(p.freeSince) < max(minFreeTime, p.minFree()) {
		return nil
	}
	return p.restore(ctx)
}

// damageRecreated is the damage of a pool that another process has recreated.
const damageRecreated = "it was recreated"

// assess compares the status of a pool with the known one and stops takers of a damaged pool.
// heldCount is how many of its messages this process holds.
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

// restore recreates a damaged pool of which no process holds a message.
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
			return fmt.Errorf("creating consumer %s: %w", p.want.Durable, err)
		}
		if status, err = p.inspect(ctx); err != nil || status.damage != "" {
			return err
		}
	}
	return p.open(ctx, status)
}

// open opens the consumer of an existing pool and lets takers use it.
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
	p.consumer, p.version, p.damaged, p.freeSince = consumer, status.poolVersion, false, time.Time{}
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

func (p *messagePool) inspect(ctx context.Context) (status poolStatus, err error) {
	stream, err := p.bus.JetStream().Stream(ctx, contract.StreamPace)
	if err != nil {
		return status, fmt.Errorf("inspecting %s: %w", contract.StreamPace, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(p.want.FilterSubject))
	if err != nil {
		return status, fmt.Errorf("inspecting %s: %w", contract.StreamPace, err)
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
		status.damage = streams.DeliveryFault(p.want, status.config)
	}
	if len(status.missing) > 0 {
		status.damage = strings.TrimPrefix(
			status.damage+"; messages were removed: "+strings.Join(status.missing, " "), "; ")
	}
	return status, nil
}

// adjust corrects, in place, settings that would let the consumer deliver a message to two fetchers
// or more messages than allowed. Of fetchers with different settings the strictest one decides. A
// consumer that waits longer or delivers less was set so by the operator and is left alone, unless
// this process was just tuned to allow more.
func (p *messagePool) adjust(ctx context.Context, have jetstream.ConsumerConfig) error {
	maxAckPending := have.MaxAckPending
	if maxAckPending <= 0 || maxAckPending > p.want.MaxAckPending || p.raise {
		maxAckPending = p.want.MaxAckPending
	}
	if have.AckWait >= p.want.AckWait && len(have.BackOff) == 0 && have.MaxAckPending == maxAckPending &&
		have.InactiveThreshold == 0 {
		p.raise = false
		return nil
	}
	changed := have
	changed.AckWait, changed.BackOff = max(have.AckWait, p.want.AckWait), nil
	changed.MaxAckPending, changed.InactiveThreshold = maxAckPending, 0
	if _, err := p.bus.JetStream().UpdateConsumer(ctx, contract.StreamPace, changed); err != nil {
		return fmt.Errorf("changing consumer %s: %w", p.want.Durable, err)
	}
	p.log.Warn("fetcher.pool.adjusted", "consumer", p.want.Durable, "ack_wait_seconds", changed.AckWait.Seconds(),
		"max_ack_pending", maxAckPending)
	return nil
}

// announceHeld tells the other fetchers whether this process holds a message of the damaged pool.
// The announcement of a dead process expires.
func (p *messagePool) announceHeld(ctx context.Context, holding bool) error {
	var err error
	switch {
	case holding:
		p.announced = true // also if it is unknown whether the put was stored
		_, err = p.fetchers.Put(ctx, p.holderKey, []byte("{}"))
	case p.announced:
		if err = p.fetchers.Delete(ctx, p.holderKey); err == nil {
			p.announced = false
		}
	}
	if err != nil {
		return fmt.Errorf("announcing what is held of %s: %w", p.want.Durable, err)
	}
	return nil
}

// heldByOthers reports whether another process announces a message of the damaged pool.
func (p *messagePool) heldByOthers(ctx context.Context) (found bool, err error) {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{contract.HolderKey(p.want.Durable, "*")}}
	err = p.bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		found = found || entry.Key() != p.holderKey
		return nil
	})
	return found, err
}
