package limit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"

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
	pool *messagePool
	// maxPause is the longest pause. A server that was away may have forgotten the delay of the
	// turn.
	maxPause func() time.Duration
	epoch    uint64
}

// turn is the right to send the next request, one for all processes.
type turn struct {
	heldMessage
	// taken is how many times the turn was taken, by any process, this time included.
	taken int
}

// pass passes the turn on: it can be taken again after pause. If the message that returns the turn
// is lost, the turn is redelivered after its ack-wait, which is longer than any pause. An expired
// turn is not returned: it may belong to another process.
func (t *turn) pass(pause time.Duration) {
	defer t.pool.removeHeld()
	t.lease.Settle(bus.NakAfter(pause))
}

// take waits for the turn. After a reconnect it first waits for the longest pause. The error is the
// cause of ctx, except for a message that has no metadata.
func (t *siteTurn) take(ctx context.Context) (*turn, error) {
	for {
		if epoch := t.pool.bus.Epoch(); epoch != t.epoch {
			if err := delay.Sleep(ctx, t.maxPause()); err != nil {
				return nil, err
			}
			t.epoch = epoch
		}
		msg, requestedAt, err := t.pool.pull(ctx)
		if err != nil {
			return nil, err
		}
		if msg == nil || t.pool.bus.Epoch() != t.epoch {
			continue
		}
		metadata, err := msg.Metadata()
		if err != nil {
			return nil, fmt.Errorf("taking the turn: %w", err)
		}
		if held, ok := t.pool.acquire(msg, requestedAt); ok {
			return &turn{held, int(metadata.NumDelivered)}, nil
		}
	}
}

// slots are the messages of a site that permit one case in flight each. A holder that dies, or does
// not run for the ack-wait, loses its slot.
//
// The pool may have more slots than cases are allowed now: the server delivers those that were delivered
// before, whatever its consumer's max_ack_pending is now. So a surplus slot is returned unused.
type slots struct {
	pool *messagePool
	// allowed returns how many slots may be used: those up to this number.
	allowed func() int
}

// surplusDelay is how long a surplus slot stays away.
const surplusDelay = time.Second

// acquire leases a slot, unless it is surplus.
func (s *slots) acquire(msg jetstream.Msg, requestedAt time.Time) (slot, bool) {
	held, ok := s.pool.acquire(msg, requestedAt)
	if !ok {
		return slot{}, false
	}
	subject := msg.Subject()
	number, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil || number > s.allowed() {
		s.pool.removeHeld()
		held.lease.Settle(bus.NakAfter(surplusDelay))
		return slot{}, false
	}
	return slot{held}, true
}

// slot is one slot, held until it is released.
type slot struct{ heldMessage }

// take waits for one slot. The error is the cause of ctx.
func (s *slots) take(ctx context.Context) (slot, error) {
	for {
		msg, requestedAt, err := s.pool.pull(ctx)
		if err != nil {
			return slot{}, err
		}
		if msg == nil {
			continue
		}
		if taken, ok := s.acquire(msg, requestedAt); ok {
			return taken, nil
		}
	}
}

// takeMoreWait is how long takeMore waits for further slots. A request that does not wait at all is
// of no use: if slots were removed before, the server counts them as free and holds such a request
// for a second.
const takeMoreWait = 10 * time.Millisecond

// takeMore takes up to limit slots that are free now.
func (s *slots) takeMore(limit int) (taken []slot) {
	consumer := s.pool.activeConsumer()
	if limit == 0 || consumer == nil {
		return nil
	}
	requestedAt := time.Now()
	batch, err := consumer.Fetch(limit, jetstream.FetchMaxWait(takeMoreWait))
	if err != nil {
		return nil
	}
	for msg := range batch.Messages() {
		if one, ok := s.acquire(msg, requestedAt); ok {
			taken = append(taken, one)
		}
	}
	return taken
}

// release returns the slot. If that message is lost, or the server restarts, the slot comes back
// after its ack-wait. An expired slot is not returned: another case is in flight with it.
func (s slot) release() {
	defer s.pool.removeHeld()
	s.lease.Settle(bus.Nak)
}

// damagedPollInterval is how often a taker checks whether a damaged pool was restored.
const damagedPollInterval = 100 * time.Millisecond

// brokerRetryDelay is the pause before the next request to a broker that returned an error.
const brokerRetryDelay = time.Second

// pull requests one message of the pool and waits for it for one heartbeat; msg is nil if none
// came. The error is the cause of ctx.
func (p *messagePool) pull(ctx context.Context) (msg jetstream.Msg, requestedAt time.Time, err error) {
	consumer := p.activeConsumer()
	if consumer == nil {
		return nil, requestedAt, delay.Sleep(ctx, damagedPollInterval)
	}
	msg, requestedAt, err = p.bus.Next(ctx, consumer, p.term.Heartbeat())
	switch {
	case err == nil:
		return msg, requestedAt, nil
	case ctx.Err() != nil:
		return nil, requestedAt, context.Cause(ctx)
	case errors.Is(err, nats.ErrTimeout):
		return nil, requestedAt, nil
	default:
		return nil, requestedAt, delay.Sleep(ctx, brokerRetryDelay)
	}
}

// heldMessage is a leased message of a pool.
type heldMessage struct {
	lease *lease.Message
	pool  *messagePool
}

// acquire leases a message of the pool that was requested at requestedAt; ok is false if the lease
// has expired or the pool was damaged in the meantime. It sends the first heartbeat at once: until
// then, a server that becomes the leader of a cluster, or restarts, takes the delivery time of the
// message for the time of its creation and delivers it to another process within a second.
func (p *messagePool) acquire(msg jetstream.Msg, requestedAt time.Time) (held heldMessage, ok bool) {
	held = heldMessage{lease.HoldMessage(p.bus, msg, requestedAt, p.term), p}
	if !held.lease.Valid() {
		held.lease.Settle(bus.Leave)
		return held, false
	}
	held.lease.Renew()
	if !p.addHeld() {
		held.lease.Settle(bus.NakAfter(brokerRetryDelay))
		return held, false
	}
	return held, true
}
