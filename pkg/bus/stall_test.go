package bus_test

import (
	"context"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go/jetstream"
)

// publishDelayed publishes a message and naks it with a delay of an hour. To the server it is like
// a message that was due before the wall clock was set back by an hour.
func publishDelayed(t *testing.T, b *bus.Bus, c jetstream.Consumer) {
	t.Helper()
	publish(t, b, "a", "b")
	for range 2 {
		msg, _, err := b.Next(t.Context(), c, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if string(msg.Data()) == "a" { // the other one is acknowledged
			err = msg.NakWithDelay(time.Hour)
		} else {
			err = msg.DoubleAck(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Conn().FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestWatchStalls_ExclusiveRedeliversAtStart(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publishDelayed(t, b, c)
	alone, err := bus.New(b.Conn(), fcttest.Logger(t), bus.Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.WatchStalls(t.Context(), c)()
	msg, _, err := b.Next(t.Context(), c, 30*time.Second)
	if err != nil || string(msg.Data()) != "a" {
		t.Fatalf("%v, want the message that was held back", err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Error(err)
	}
	awaitSettled(t, b, c, 0)
}

// The consumer does not show the step, because its ack-wait is longer than the test waits.
func TestWatchStalls_ClockSetBack(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	by := make(chan time.Duration)
	alone, err := bus.New(b.Conn(), fcttest.Logger(t), bus.Options{
		Exclusive: true,
		ClockSteps: func(ctx context.Context, stepped func(time.Duration)) {
			select {
			case step := <-by:
				stepped(step)
			case <-ctx.Done():
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.WatchStalls(t.Context(), c)()
	publishDelayed(t, b, c)
	by <- -time.Hour
	msg, _, err := b.Next(t.Context(), c, 30*time.Second)
	if err != nil || string(msg.Data()) != "a" {
		t.Fatalf("%v, want the message that was held back", err)
	}
}

// Where other processes work too, the step may have been on another machine: the consumer shows it.
func TestWatchStalls_StalledConsumer(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Second)
		publishDelayed(t, b, c)
		defer b.WatchStalls(t.Context(), c)()
		msg, _, err := b.Next(t.Context(), c, time.Minute)
		if err != nil || string(msg.Data()) != "a" {
			t.Fatalf("%v, want the message that was held back", err)
		}
	})
}
