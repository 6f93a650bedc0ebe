package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxSlots is the highest concurrency that may be set.
const maxSlots = 64

// share makes the turn and the slots of the site, unless another fetcher has, and takes pace and places from them.
func (s *Service) share(ctx context.Context) error {
	js := s.Bus.JetStream()
	subjects := []string{contract.TurnSubject(s.SiteName)}
	for slot := 1; slot <= maxSlots; slot++ {
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
	return nil
}

// token is the one turn of a site: a message that is taken, given back at once with the pause as its delay, and then the
// request starts. Over three processes and 44 kills that kept every gap and used the whole rate, where tokens published one by
// one broke the pace and a compare-and-set kept a third of it from being used.
type token struct {
	bus      *bus.Bus
	consumer jetstream.Consumer
	// pause is the longest pause: a server that was away may have forgotten how long the turn was to stay.
	pause time.Duration
	epoch uint64
}

// stumble is how long a broker in trouble is left alone.
const stumble = time.Second

// take holds the turn only when the server has said that it knows of the pause: a word that was lost would let the next
// request come too early, so the turn is then taken anew.
func (t *token) take(ctx context.Context, pause func(n int) time.Duration) error {
	for {
		if epoch := t.bus.Epoch(); epoch != t.epoch {
			if err := sleep(ctx, t.pause); err != nil {
				return err
			}
			t.epoch = epoch
		}
		msg, err := t.consumer.Next(jetstream.FetchContext(ctx))
		if err == nil {
			err = t.giveOn(ctx, msg, pause)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && t.bus.Epoch() == t.epoch:
			return nil
		case err != nil && !errors.Is(err, nats.ErrTimeout):
			if err := sleep(ctx, stumble); err != nil {
				return err
			}
		}
	}
}

func (t *token) giveOn(ctx context.Context, msg jetstream.Msg, pause func(n int) time.Duration) error {
	metadata, err := msg.Metadata()
	if err != nil {
		return err
	}
	delay, err := json.Marshal(struct {
		Delay time.Duration `json:"delay"`
	}{max(time.Nanosecond, pause(int(metadata.NumDelivered)))})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stumble)
	defer cancel()
	// The library's own NakWithDelay does not wait for the server's word.
	_, err = t.bus.Conn().RequestWithContext(ctx, msg.Reply(), append([]byte("-NAK "), delay...))
	return err
}

// slots are what all fetchers of a site share: whoever holds one of them may have a case in flight. A holder that dies
// loses its slot after the ack-wait.
type slots struct{ consumer jetstream.Consumer }

// slot is one that is held until it is given back.
type slot struct {
	msg  jetstream.Msg
	stop func()
}

func (s *slots) take(ctx context.Context) (slot, error) {
	for {
		msg, err := s.consumer.Next(jetstream.FetchContext(ctx))
		if err == nil {
			return slot{msg, heartbeats(msg)}, nil
		}
		if ctx.Err() != nil {
			return slot{}, context.Cause(ctx)
		}
		if err := sleep(ctx, renew/10); err != nil {
			return slot{}, err
		}
	}
}

// free gives the slot back; a word that is lost costs the ack-wait.
func (s slot) free() {
	s.stop()
	_ = s.msg.NakWithDelay(handBack)
}
