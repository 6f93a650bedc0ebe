package fetcher

import (
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// shared makes a consumer of the pace over one message of the subject, with a short ack-wait.
func shared(t *testing.T, b *bus.Bus, config jetstream.ConsumerConfig, err error, subject string) jetstream.Consumer {
	t.Helper()
	var consumer jetstream.Consumer
	if err == nil {
		_, err = b.Publish(t.Context(), nats.NewMsg(subject))
	}
	if err == nil {
		config.AckWait = 200 * time.Millisecond
		consumer, err = b.JetStream().CreateConsumer(t.Context(), contract.StreamPace, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

// frozen is when a process asked that stood still since.
func frozen() time.Time { return time.Now().Add(-slipShared - time.Second) }

func TestATurnThatCameTooLateIsNotUsed(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.TurnConsumer("sim")
		consumer := shared(t, b, config, err, contract.TurnSubject("sim"))
		turn := &token{pool: &pool{bus: b, consumer: consumer}}
		msg, asked, err := bus.Next(t.Context(), consumer, holding)
		if err != nil || time.Since(asked) > slipShared {
			t.Fatal(err, asked)
		}
		if _, err := turn.held(msg, frozen()); !errors.Is(err, errSlipped) {
			t.Errorf("%v, want %v", err, errSlipped)
		}
		// It comes again by itself, and whoever takes it then may ask.
		giveOn, err := turn.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		giveOn(func(n int) time.Duration {
			if n != 2 {
				t.Errorf("it was taken %d times, want twice", n)
			}
			return 0
		})
	})
}

func TestASlotThatSlippedIsNotGivenBack(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.SlotsConsumer("sim", 1)
		consumer := shared(t, b, config, err, contract.SlotSubject("sim", 1))
		msg, _, err := bus.Next(t.Context(), consumer, holding)
		if err != nil {
			t.Fatal(err)
		}
		late := slot{grasp(msg, frozen(), holding, slipShared), &pool{}}
		msg, asked, err := bus.Next(t.Context(), consumer, holding)
		if err != nil {
			t.Fatal(err)
		}
		mine := slot{grasp(msg, asked, 20*time.Millisecond, slipShared), &pool{}}
		late.free()
		if _, _, err := bus.Next(t.Context(), consumer, holding/4); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%v: the slot of another was given away", err)
		}
		mine.free()
		msg, asked, err = bus.Next(t.Context(), consumer, holding)
		if err != nil {
			t.Fatal("a slot that was given back did not come:", err)
		}
		slot{grasp(msg, asked, holding, slipShared), &pool{}}.free()
	})
}
