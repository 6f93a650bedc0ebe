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

// newSharedConsumer creates a consumer of the stream FCT_PACE over one message, with a short
// ack-wait.
func newSharedConsumer(
	t *testing.T, b *bus.Bus, config jetstream.ConsumerConfig, err error, subject string,
) jetstream.Consumer {
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

// frozenSince returns the time of a request of a process that was frozen since.
func frozenSince() time.Time { return time.Now().Add(-sharedExpiry - time.Second) }

func TestExpiredTurnNotUsed(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.TurnConsumer("sim")
		consumer := newSharedConsumer(t, b, config, err, contract.TurnSubject("sim"))
		turn := &siteTurn{messagePool: &messagePool{bus: b, consumer: consumer}}
		msg, requestedAt, err := bus.Next(t.Context(), consumer, sharedHeartbeat)
		if err != nil || time.Since(requestedAt) > sharedExpiry {
			t.Fatal(err, requestedAt)
		}
		if _, err := turn.accept(msg, frozenSince()); !errors.Is(err, errLeaseExpired) {
			t.Errorf("%v, want %v", err, errLeaseExpired)
		}
		// It is redelivered after its ack-wait, and can be used then.
		passOn, err := turn.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		passOn(func(n int) time.Duration {
			if n != 2 {
				t.Errorf("taken %d times, want twice", n)
			}
			return 0
		})
	})
}

func TestExpiredSlotNotReleased(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.SlotsConsumer("sim", 1)
		consumer := newSharedConsumer(t, b, config, err, contract.SlotSubject("sim", 1))
		msg, _, err := bus.Next(t.Context(), consumer, sharedHeartbeat)
		if err != nil {
			t.Fatal(err)
		}
		late := slot{acquireLease(msg, frozenSince(), sharedHeartbeat, sharedExpiry), &messagePool{}}
		msg, requestedAt, err := bus.Next(t.Context(), consumer, sharedHeartbeat)
		if err != nil {
			t.Fatal(err)
		}
		mine := slot{acquireLease(msg, requestedAt, 20*time.Millisecond, sharedExpiry), &messagePool{}}
		late.release()
		if _, _, err := bus.Next(t.Context(), consumer, sharedHeartbeat/4); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%v: the expired lease returned the slot of another", err)
		}
		mine.release()
		msg, requestedAt, err = bus.Next(t.Context(), consumer, sharedHeartbeat)
		if err != nil {
			t.Fatal("a released slot was not delivered again:", err)
		}
		slot{acquireLease(msg, requestedAt, sharedHeartbeat, sharedExpiry), &messagePool{}}.release()
	})
}
