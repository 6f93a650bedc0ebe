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

// token is the one turn of a site: a message that is taken, held until the request has left, and given back with the pause
// as its delay. Given back before the request leaves, as it was at first, a process that was kept waiting by a busy machine asked
// 60 ms after the one that came next had been let in. Tokens published one by one broke the pace too, and a compare-and-set kept a
// third of the rate from being used.
type token struct {
	*pool
	// pause is the longest pause: a server that was away may have forgotten how long the turn was to stay.
	pause time.Duration
	epoch uint64
}

// holding is how often it is said that a turn or a slot is held; a third of their ack-wait, which is short: what a process that
// died has held keeps the others waiting.
const holding = 2 * time.Second

// damaged is how often it is looked whether a damaged pool is there again.
const damaged = 100 * time.Millisecond

// stumble is how long a broker in trouble is left alone.
const stumble = time.Second

func (t *token) take(ctx context.Context) (giveOn func(func(n int) time.Duration), err error) {
	for {
		if epoch := t.bus.Epoch(); epoch != t.epoch {
			if err := delay.Sleep(ctx, t.pause); err != nil {
				return nil, err
			}
			t.epoch = epoch
		}
		consumer := t.source()
		if consumer == nil {
			if err := delay.Sleep(ctx, damaged); err != nil {
				return nil, err
			}
			continue
		}
		msg, asked, err := bus.Next(ctx, consumer, holding)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, context.Cause(ctx)
		case err == nil && t.bus.Epoch() == t.epoch:
			if giveOn, err := t.held(msg, asked); !errors.Is(err, errSlipped) {
				return giveOn, err
			}
		case err != nil && !errors.Is(err, nats.ErrTimeout):
			if err := delay.Sleep(ctx, stumble); err != nil {
				return nil, err
			}
		}
	}
}

// held is what becomes of a turn that was taken. When the word that gives it on is lost it comes again after its ack-wait, which
// is longer than any pause between two requests. One that may be somebody else's by now is left to him.
func (t *token) held(msg jetstream.Msg, asked time.Time) (giveOn func(func(n int) time.Duration), err error) {
	metadata, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("taking the turn: %w", err)
	}
	grip, kept := t.grasp(msg, asked)
	if !kept {
		return nil, errSlipped
	}
	return func(pause func(n int) time.Duration) {
		defer t.release()
		if !grip.letGo() {
			return
		}
		_ = msg.NakWithDelay(max(bus.NoDelay, pause(int(metadata.NumDelivered))))
	}, nil
}

// slots are what all fetchers of a site share: whoever holds one of them may have a case in flight. A holder that dies
// loses its slot after the ack-wait, and so does one that stands still for so long.
type slots struct{ *pool }

// slot is one that is held until it is given back.
type slot struct {
	grip *grip
	pool *pool
}

func (s *slots) take(ctx context.Context) (slot, error) {
	for {
		consumer := s.source()
		if consumer == nil {
			if err := delay.Sleep(ctx, damaged); err != nil {
				return slot{}, err
			}
			continue
		}
		msg, asked, err := bus.Next(ctx, consumer, holding)
		if err == nil {
			if grip, kept := s.grasp(msg, asked); kept {
				return slot{grip, s.pool}, nil
			}
			continue
		}
		if ctx.Err() != nil {
			return slot{}, context.Cause(ctx)
		}
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		if err := delay.Sleep(ctx, renew/10); err != nil {
			return slot{}, err
		}
	}
}

// moreWait is how long it is looked whether there are more slots. A request that is not to wait at all is of no use: where there
// have been more slots before, the server takes those that nobody may have for free ones, and lets it wait for a second.
const moreWait = 10 * time.Millisecond

// more are slots that are free now, at most so many.
func (s *slots) more(most int) (held []slot) {
	consumer := s.source()
	if most == 0 || consumer == nil {
		return nil
	}
	asked := time.Now()
	batch, err := consumer.Fetch(most, jetstream.FetchMaxWait(moreWait))
	if err != nil {
		return nil
	}
	for msg := range batch.Messages() {
		if grip, kept := s.grasp(msg, asked); kept {
			held = append(held, slot{grip, s.pool})
		}
	}
	return held
}

// free gives the slot back; a word that is lost costs the ack-wait, and so does a restart of the server. One that has slipped is
// not given back: another case is in flight for it.
func (s slot) free() {
	defer s.pool.release()
	if s.grip.letGo() {
		_ = s.grip.msg.Nak()
	}
}

// grasp holds a message of the pool that was asked for at an instant, unless it has slipped or the pool was damaged meanwhile.
func (p *pool) grasp(msg jetstream.Msg, asked time.Time) (held *grip, kept bool) {
	held, kept = graspShared(msg, asked)
	if kept && !p.hold() {
		if held.letGo() {
			_ = msg.NakWithDelay(stumble)
		}
		return nil, false
	}
	return held, kept
}
