package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// share makes the turn and the slots of the site, unless another fetcher has, and takes pace and places from them.
func (s *Service) share(ctx context.Context) error {
	js := s.Bus.JetStream()
	subjects := []string{contract.TurnSubject(s.SiteName)}
	for slot := 1; slot <= s.Concurrency; slot++ {
		subjects = append(subjects, contract.SlotSubject(s.SiteName, slot))
	}
	there, err := s.Bus.Subjects(ctx, contract.StreamPace, ">")
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		if there[subject] > 0 {
			continue
		}
		if _, err := s.Bus.Publish(ctx, nats.NewMsg(subject)); err != nil && !errors.Is(err, bus.ErrExists) {
			return err
		}
	}
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
	turns, err := js.CreateOrUpdateConsumer(ctx, contract.StreamPace, turn)
	if err != nil {
		return fmt.Errorf("making consumer %s: %w", turn.Durable, err)
	}
	held, err := js.CreateOrUpdateConsumer(ctx, contract.StreamPace, slot)
	if err != nil {
		return fmt.Errorf("making consumer %s: %w", slot.Durable, err)
	}
	if s.Pace.Max > 0 || s.Pace.RestEvery > 0 {
		s.pacer.shared = &token{bus: s.Bus, consumer: turns, pause: s.Pace.Max}
	}
	s.places.shared = &slots{held}
	s.paced = []jetstream.Consumer{turns, held}
	return nil
}

// token is the one turn of a site: a message that is taken, held until the request has left, and given back with the pause
// as its delay. Given back before the request leaves, as it was at first, a process that was kept waiting by a busy machine asked
// 60 ms after the one that came next had been let in. Tokens published one by one broke the pace too, and a compare-and-set kept a
// third of the rate from being used.
type token struct {
	bus      *bus.Bus
	consumer jetstream.Consumer
	// pause is the longest pause: a server that was away may have forgotten how long the turn was to stay.
	pause time.Duration
	epoch uint64
}

// holding is how often it is said that a turn or a slot is held; a third of their ack-wait, which is short: what a process that
// died has held keeps the others waiting.
const holding = 2 * time.Second

// stumble is how long a broker in trouble is left alone.
const stumble = time.Second

func (t *token) take(ctx context.Context) (giveOn func(func(n int) time.Duration), err error) {
	for {
		if epoch := t.bus.Epoch(); epoch != t.epoch {
			if err := delay.For(ctx, t.pause); err != nil {
				return nil, err
			}
			t.epoch = epoch
		}
		msg, asked, err := bus.Next(ctx, t.consumer, holding)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, context.Cause(ctx)
		case err == nil && t.bus.Epoch() == t.epoch:
			if giveOn, err := t.held(msg, asked); !errors.Is(err, errSlipped) {
				return giveOn, err
			}
		case err != nil && !errors.Is(err, nats.ErrTimeout):
			if err := delay.For(ctx, stumble); err != nil {
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
	grip, kept := graspShared(msg, asked)
	if !kept {
		return nil, errSlipped
	}
	return func(pause func(n int) time.Duration) {
		if !grip.letGo() {
			return
		}
		_ = msg.NakWithDelay(max(bus.AtOnce, pause(int(metadata.NumDelivered))))
	}, nil
}

// slots are what all fetchers of a site share: whoever holds one of them may have a case in flight. A holder that dies
// loses its slot after the ack-wait, and so does one that stands still for so long.
type slots struct{ consumer jetstream.Consumer }

// slot is one that is held until it is given back.
type slot struct{ grip *grip }

func (s *slots) take(ctx context.Context) (slot, error) {
	for {
		msg, asked, err := bus.Next(ctx, s.consumer, holding)
		if err == nil {
			if grip, kept := graspShared(msg, asked); kept {
				return slot{grip}, nil
			}
			continue
		}
		if ctx.Err() != nil {
			return slot{}, context.Cause(ctx)
		}
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		if err := delay.For(ctx, renew/10); err != nil {
			return slot{}, err
		}
	}
}

// moreWait is how long it is looked whether there are more slots. A request that is not to wait at all is of no use: where there
// have been more slots before, the server takes those that nobody may have for free ones, and lets it wait for a second.
const moreWait = 10 * time.Millisecond

// more are slots that are free now, at most so many.
func (s *slots) more(most int) (held []slot) {
	if most == 0 {
		return nil
	}
	asked := time.Now()
	batch, err := s.consumer.Fetch(most, jetstream.FetchMaxWait(moreWait))
	if err != nil {
		return nil
	}
	for msg := range batch.Messages() {
		if grip, kept := graspShared(msg, asked); kept {
			held = append(held, slot{grip})
		}
	}
	return held
}

// free gives the slot back; a word that is lost costs the ack-wait, and so does a restart of the server. One that has slipped is
// not given back: another case is in flight for it.
func (s slot) free() {
	if s.grip.letGo() {
		_ = s.grip.msg.Nak()
	}
}
