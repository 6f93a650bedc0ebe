package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
)

func TestNext_Message(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publish(t, b, "a")
	msg, _, err := bus.Next(t.Context(), c, 10*time.Second)
	if err != nil || string(msg.Data()) != "a" {
		t.Fatalf("%v, want the message", err)
	}
	enough := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(enough)
	if _, _, err := bus.Next(ctx, c, 2*time.Second); !errors.Is(err, enough) {
		t.Errorf("%v, want why the wait was ended", err)
	}
}

// A request that its server took to its grave is given up long before it would have expired.
func TestNext_LostRequest(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Minute)
		if err := b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, "test"); err != nil {
			t.Fatal(err)
		}
		// Somebody listens and never answers, as a server does that has just lost its cluster.
		silent, err := b.Conn().SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.FCT_JOBS.test")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Unsubscribe() }()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if _, _, err := bus.Next(ctx, c, 2*time.Second); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%v, want to be told to ask again", err)
		}
	})
}
