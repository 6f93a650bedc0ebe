package limit

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/lease"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSharedPacer returns the pacer of a process that shares the site with others.
func newSharedPacer(t *testing.T, b *bus.Bus) *pacer {
	t.Helper()
	limiter, err := New(t.Context(), Options{Bus: b, Log: fcttest.Logger(t), Fetcher: "one", Site: "sim",
		Pace: Pace{Min: time.Millisecond, Max: time.Millisecond}, Concurrency: 1, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	return limiter.pacer
}

// TestTurnReleasedWhenHolderStops checks that a process that is stopped just when it gets the turn
// returns it. It used to renew the turn, and no process sent a request as long as that one lived.
func TestTurnReleasedWhenHolderStops(t *testing.T) {
	t.Parallel()
	pacer := newSharedPacer(t, fcttest.Broker(t))
	ctx, stop := context.WithCancel(t.Context())
	checks := 0
	_, err := pacer.wait(ctx, true, func() (time.Duration, string) {
		if checks++; checks == 2 { // the first check is before the turn is taken, the second after
			stop()
		}
		return 0, ""
	})
	if !errors.Is(err, context.Canceled) || checks < 2 {
		t.Fatalf("%v after %d checks, want to be stopped at the second", err, checks)
	}
	again, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	permit, err := pacer.wait(again, true, nil)
	if err != nil {
		t.Fatalf("the turn was not delivered again: %v", err)
	}
	permit.Started()
}

// TestTurnHeldAcrossLeaderChange checks that a turn in use is not delivered to another process when
// another server becomes the leader. Such a server took the creation of the turn for its delivery,
// and delivered it again within 160 ms.
func TestTurnHeldAcrossLeaderChange(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	_, b := fcttest.Cluster(t, bus.Options{})
	first := newSharedPacer(t, b)
	turn, err := b.JetStream().Consumer(t.Context(), contract.StreamPace, "turn-sim")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(turn.CachedInfo().Config.AckWait + time.Second) // no condition: the turn must be older than that
	permit, err := first.wait(t.Context(), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer permit.Started()
	if _, err := turn.Info(t.Context()); err != nil { // by now the server has received the heartbeat
		t.Fatal(err)
	}
	if _, err := b.Conn().Request("$JS.API.CONSUMER.LEADER.STEPDOWN.FCT_PACE.turn-sim", nil,
		5*time.Second); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
		if msg, err := turn.Next(jetstream.FetchMaxWait(500 * time.Millisecond)); err == nil {
			t.Error("another process got the turn while it was held")
			_ = msg.Nak()
			break
		}
	}
}

// newSharedConsumer creates a consumer of the stream FCT_PACE over one message.
func newSharedConsumer(
	t *testing.T, b *bus.Bus, config jetstream.ConsumerConfig, err error, subject string,
) jetstream.Consumer {
	t.Helper()
	var consumer jetstream.Consumer
	if err == nil {
		_, err = b.Publish(t.Context(), nats.NewMsg(subject))
	}
	if err == nil {
		consumer, err = b.JetStream().CreateConsumer(t.Context(), contract.StreamPace, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

// testTerm is the term of the turn and the slots.
const testTerm = lease.Term(6 * time.Second)

// frozenSince returns the time of a request of a process that was frozen since.
func frozenSince() time.Time { return time.Now().Add(-testTerm.Validity() - time.Second) }

func TestExpiredTurnNotUsed(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.TurnConsumer("sim")
		consumer := newSharedConsumer(t, b, config, err, contract.TurnSubject("sim"))
		pool := &messagePool{bus: b, consumer: consumer, term: testTerm}
		msg, requestedAt, err := b.Next(t.Context(), consumer, testTerm.Heartbeat())
		if err != nil || time.Since(requestedAt) > testTerm.Validity() {
			t.Fatal(err, requestedAt)
		}
		if _, ok := pool.acquire(msg, frozenSince()); ok {
			t.Error("an expired turn was taken")
		}
		// It is redelivered after its ack-wait, and can be used then.
		turn, err := (&siteTurn{pool: pool}).take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if turn.taken != 2 {
			t.Errorf("taken %d times, want twice", turn.taken)
		}
		turn.pass(0)
	})
}

func TestExpiredSlotNotReleased(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		config, err := streams.SlotsConsumer("sim", 1)
		consumer := newSharedConsumer(t, b, config, err, contract.SlotSubject("sim", 1))
		msg, _, err := b.Next(t.Context(), consumer, testTerm.Heartbeat())
		if err != nil {
			t.Fatal(err)
		}
		late := slot{heldMessage{lease.HoldMessage(b, msg, frozenSince(), testTerm), &messagePool{}}}
		time.Sleep(time.Duration(testTerm) - time.Second) // it is redelivered after its ack-wait
		msg, requestedAt, err := b.Next(t.Context(), consumer, testTerm.Heartbeat())
		if err != nil {
			t.Fatal(err)
		}
		mine := slot{heldMessage{lease.HoldMessage(b, msg, requestedAt, testTerm), &messagePool{}}}
		late.release()
		if _, _, err := b.Next(t.Context(), consumer, 2*time.Duration(testTerm)); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%v: the expired lease returned the slot of another", err)
		}
		mine.release()
		msg, requestedAt, err = b.Next(t.Context(), consumer, testTerm.Heartbeat())
		if err != nil {
			t.Fatal("a released slot was not delivered again:", err)
		}
		slot{heldMessage{lease.HoldMessage(b, msg, requestedAt, testTerm), &messagePool{}}}.release()
	})
}
