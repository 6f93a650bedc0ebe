package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestPublish_ErrorOfEachSize: the server has one error code for everything that its store refuses.
// An outcome that wrongly counts as written would be lost.
func TestPublish_ErrorOfEachSize(t *testing.T) {
	fcttest.SkipIfShort(t) // large messages are slow under the race detector
	t.Parallel()
	b := fcttest.Broker(t)
	for _, c := range []struct {
		name string
		size int
		want error
	}{
		{"largest message", 31 << 20, nil},
		{"more than a file store takes", 33 << 20, bus.ErrTooLarge},
		{"more than the server takes", 65 << 20, bus.ErrTooLarge},
	} {
		_, err := b.Publish(t.Context(), &nats.Msg{Subject: "outcome.run.1", Data: make([]byte, c.size)})
		if !errors.Is(err, c.want) || errors.Is(err, bus.ErrExists) || errors.Is(err, bus.ErrStore) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestPublishBatch_TooLargeMessage(t *testing.T) {
	fcttest.SkipIfShort(t) // large messages are slow under the race detector
	t.Parallel()
	b := fcttest.Broker(t)
	msgs := jobs("run", 1, 9)
	msgs[4].Data = make([]byte, 33<<20)
	if err := b.PublishBatch(t.Context(), msgs); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if got := storedCount(t, b, "FCT_JOBS"); got != 0 {
		t.Errorf("%d stored of a refused batch", got)
	}
	if _, err := b.Publish(t.Context(), msgs[0]); err != nil {
		t.Errorf("one of its messages alone: %v", err)
	}
}

func TestPublish_ConcurrentTimeoutsCountOnce(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		quick, err := bus.New(fcttest.Broker(t).Conn(), fcttest.Logger(t), bus.Options{PublishTimeout: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		silent, err := quick.Conn().SubscribeSync("nobody.answers")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Unsubscribe() }()
		var publishes sync.WaitGroup
		for range 16 {
			publishes.Go(func() {
				_, err := quick.Publish(t.Context(), nats.NewMsg("nobody.answers"))
				if err == nil || errors.Is(err, bus.ErrStore) {
					t.Errorf("%v, want an error that is not yet a store failure", err)
				}
			})
		}
		publishes.Wait()
	})
}

func TestPublish_CallerContextEnds(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	silent, err := b.Conn().SubscribeSync("nobody.answers")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Unsubscribe() }()
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := b.Publish(ctx, nats.NewMsg("nobody.answers"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, bus.ErrStore) {
			t.Errorf("%v, want the end of the context", err)
		}
	}
}

func TestPublish_WrongLastSequence(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for i := range 5 {
		_, err := b.Publish(t.Context(), nats.NewMsg("$KV.runs.run.checkpoint"), jetstream.WithExpectLastSequencePerSubject(9))
		var refused *jetstream.APIError
		if !errors.As(err, &refused) || refused.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence || errors.Is(err, bus.ErrStore) {
			t.Errorf("publish %d: %v, want the server's refusal", i, err)
		}
	}
}
