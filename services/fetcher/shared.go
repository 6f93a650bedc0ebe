package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// siteTurn is the one turn of a site: a message that is taken, held until the request has left, and given back with the pause
// as its delay. Given back before the request leaves, as it was at first, a process that was kept waiting by a busy machine asked
// 60 ms after the one that came next had been let in. Tokens published one by one broke the pace too, and a compare-and-set kept a
// third of the rate from being used.
type siteTurn struct {
	*messagePool
	// maxPause is the longest pause: a server that was away may have forgotten how long the turn was to stay.
	maxPause time.Duration
	epoch    uint64
}

// sharedHeartbeat is how often it is said that a turn or a slot is held; a third of their ack-wait, which is short: what a process that
// died has held keeps the others waiting.
const sharedHeartbeat = 2 * time.Second

// damagedPollInterval is how often it is looked whether a damaged pool is there again.
const damagedPollInterval = 100 * time.Millisecond

// brokerRetryDelay is how long a broker in trouble is left alone.
const brokerRetryDelay = time.Second

func (t *siteTurn) take(ctx context.Context) (passOn func(func(n int) time.Duration), err error) {
	for {
		if epoch := t.bus.Epoch(); epoch != t.epoch {
			if err := delay.Sleep(ctx, t.maxPause); err != nil {
				return nil, err
			}
			t.epoch = epoch
		}
		consumer := t.activeConsumer()
		if consumer == nil {
			if err := delay.Sleep(ctx, damagedPollInterval); err != nil {
				return nil, err
			}
			continue
		}
		msg, requestedAt, err := bus.Next(ctx, consumer, sharedHeartbeat)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, context.Cause(ctx)
		case err == nil && t.bus.Epoch() == t.epoch:
			if passOn, err := t.accept(msg, requestedAt); !errors.Is(err, errLeaseExpired) {
				return passOn, err
			}
		case err != nil && !errors.Is(err, nats.ErrTimeout):
			if err := delay.Sleep(ctx, brokerRetryDelay); err != nil {
				return nil, err
			}
		}
	}
}

// accept is what becomes of a turn that was taken. When the word that gives it on is lost it comes again after its ack-wait, which
// is longer than any pause between two requests. One that may be somebody else's by now is left to him.
func (t *siteTurn) accept(msg jetstream.Msg, requestedAt time.Time) (passOn func(func(n int) time.Duration), err error) {
	metadata, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("taking the turn: %w", err)
	}
	lease, ok := t.acquire(msg, requestedAt)
	if !ok {
		return nil, errLeaseExpired
	}
	return func(pause func(n int) time.Duration) {
		defer t.removeHeld()
		if !lease.release() {
			return
		}
		_ = msg.NakWithDelay(max(bus.NoDelay, pause(int(metadata.NumDelivered))))
	}, nil
}

// slots are what all fetchers of a site share: whoever holds one of them may have a case in flight. A holder that dies
// loses its slot after the ack-wait, and so does one that stands still for so long.
type slots struct{ *messagePool }

// slot is one that is held until it is given back.
type slot struct {
	lease *messageLease
	pool  *messagePool
}

func (s *slots) take(ctx context.Context) (slot, error) {
	for {
		consumer := s.activeConsumer()
		if consumer == nil {
			if err := delay.Sleep(ctx, damagedPollInterval); err != nil {
				return slot{}, err
			}
			continue
		}
		msg, requestedAt, err := bus.Next(ctx, consumer, sharedHeartbeat)
		if err == nil {
			if lease, ok := s.acquire(msg, requestedAt); ok {
				return slot{lease, s.messagePool}, nil
			}
			continue
		}
		if ctx.Err() != nil {
			return slot{}, context.Cause(ctx)
		}
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		if err := delay.Sleep(ctx, presenceInterval/10); err != nil {
			return slot{}, err
		}
	}
}

// takeMoreWait is how long it is looked whether there are more slots. A request that is not to wait at all is of no use: where there
// have been more slots before, the server takes those that nobody may have for free ones, and lets it wait for a second.
const takeMoreWait = 10 * time.Millisecond

// takeMore are slots that are free now, at most so many.
func (s *slots) takeMore(limit int) (taken []slot) {
	consumer := s.activeConsumer()
	if limit == 0 || consumer == nil {
		return nil
	}
	requestedAt := time.Now()
	batch, err := consumer.Fetch(limit, jetstream.FetchMaxWait(takeMoreWait))
	if err != nil {
		return nil
	}
	for msg := range batch.Messages() {
		if lease, ok := s.acquire(msg, requestedAt); ok {
			taken = append(taken, slot{lease, s.messagePool})
		}
	}
	return taken
}

// release gives the slot back; a word that is lost costs the ack-wait, and so does a restart of the server. One that has slipped is
// not given back: another case is in flight for it.
func (s slot) release() {
	defer s.pool.removeHeld()
	if s.lease.release() {
		_ = s.lease.msg.Nak()
	}
}

// acquire holds a message of the pool that was asked for at an instant, unless it has slipped or the pool was damaged meanwhile.
func (p *messagePool) acquire(msg jetstream.Msg, requestedAt time.Time) (lease *messageLease, ok bool) {
	lease, ok = acquireSharedLease(msg, requestedAt)
	if ok && !p.addHeld() {
		if lease.release() {
			_ = msg.NakWithDelay(brokerRetryDelay)
		}
		return nil, false
	}
	return lease, ok
}
