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

// siteTurn is the one turn of a site: a message that a process takes, holds until its request has
// left the machine, and returns with the pause as the redelivery delay.
//
// Rejected designs: when the turn was returned before the request left, a process that was delayed
// by a busy machine sent its request 60 ms after the next one. Turn messages published one by one
// broke the pace too. A compare-and-set left a third of the rate unused.
type siteTurn struct {
	*messagePool
	// maxPause is the longest pause. A server that was away may have forgotten the delay of the
	// turn.
	maxPause time.Duration
	epoch    uint64
}

// sharedHeartbeat is the interval of the heartbeats of a turn or a slot: a third of their ack-wait.
// That is short because the other processes wait for what a dead process held.
const sharedHeartbeat = 2 * time.Second

// damagedPollInterval is how often a taker checks whether a damaged pool was restored.
const damagedPollInterval = 100 * time.Millisecond

// brokerRetryDelay is the pause before the next request to a broker that returned an error.
const brokerRetryDelay = time.Second

// take implements turnSource. After a reconnect it first waits for the longest pause.
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

// accept leases a turn that was delivered. If the message that returns the turn is lost, the turn
// is redelivered after its ack-wait, which is longer than any pause. The error is errLeaseExpired
// if the turn may belong to another process; then it is not settled.
func (t *siteTurn) accept(
	msg jetstream.Msg, requestedAt time.Time,
) (passOn func(func(n int) time.Duration), err error) {
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

// slots are the messages of a site that permit one case in flight each. A holder that dies, or does
// not run for the ack-wait, loses its slot.
type slots struct{ *messagePool }

// slot is one slot, held until it is released.
type slot struct {
	lease *messageLease
	pool  *messagePool
}

// take waits for one slot. The error is the cause of ctx.
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

// takeMoreWait is how long takeMore waits for further slots. A request that does not wait at all is
// of no use: if slots were removed before, the server counts them as free and holds such a request
// for a second.
const takeMoreWait = 10 * time.Millisecond

// takeMore takes up to limit slots that are free now.
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

// release returns the slot. If that message is lost, or the server restarts, the slot comes back
// after its ack-wait. An expired slot is not returned: another case is in flight with it.
func (s slot) release() {
	defer s.pool.removeHeld()
	if s.lease.release() {
		_ = s.lease.msg.Nak()
	}
}

// acquire leases a message of the pool that was requested at requestedAt; ok is false if the lease
// has expired or the pool was damaged in the meantime.
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
