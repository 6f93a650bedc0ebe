package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func consumer(t *testing.T, b *bus.Bus, ackWait time.Duration) jetstream.Consumer {
	t.Helper()
	c, err := b.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, jetstream.ConsumerConfig{
		Durable: "test", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publish(t *testing.T, b *bus.Bus, bodies ...string) {
	t.Helper()
	for i, body := range bodies {
		if _, err := b.Publish(t.Context(), &nats.Msg{Subject: "job.run." + strconv.Itoa(i), Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(data []byte) (string, error) {
	if string(data) == "rubbish" {
		return "", errors.New("not readable")
	}
	return string(data), nil
}

// awaitSettled waits until the consumer has delivered all messages and pending of them are left to be
// acknowledged.
func awaitSettled(t *testing.T, b *bus.Bus, c jetstream.Consumer, pending int) {
	t.Helper()
	// The consumer may count a stored message as pending only a moment later.
	last, err := b.LastSequence(t.Context(), contract.StreamJobs, "job.>")
	if err != nil {
		t.Fatal(err)
	}
	for {
		info, err := c.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Delivered.Stream >= last && info.NumAckPending == pending {
			return
		}
	}
}

func TestConsume_HandlerErrorSettles(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publish(t, b, "done", "later", "never", "panic", "rubbish", "fails", "left")
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	calls := make(map[string]int)
	ended := make(chan error, 1)
	go func() {
		ended <- bus.Consume(ctx, b, bus.ConsumeOptions[string]{
			Consumer: c, Workers: 3, Decode: decode,
			Handle: func(_ context.Context, d bus.Delivery[string]) error {
				mu.Lock()
				calls[d.Body]++
				first := calls[d.Body] == 1
				mu.Unlock()
				switch {
				case d.Body == "never":
					return bus.Discard(errors.New("of no use"))
				case d.Body == "left":
					return bus.ErrLeaveUnsettled
				case first && d.Body == "later":
					return bus.RetryIn(10*time.Millisecond, errors.New("not yet"))
				case first && d.Body == "panic":
					panic("as asked")
				case first && d.Body == "fails":
					return errors.New("by chance")
				}
				return nil
			},
		})
	}()
	awaitSettled(t, b, c, 1) // the one that was left
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end of the context is no error: %v", err)
	}
	want := map[string]int{"done": 1, "later": 2, "never": 1, "panic": 2, "fails": 2, "left": 1}
	for body, times := range want {
		if calls[body] != times {
			t.Errorf("%s handled %d times, want %d", body, calls[body], times)
		}
	}
	if calls["rubbish"] != 0 {
		t.Error("rubbish reached the handler")
	}
}

func TestConsume_SlowHandlerHeartbeats(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, 200*time.Millisecond)
		publish(t, b, "slow")
		ctx, cancel := context.WithCancel(t.Context())
		var calls int
		finished := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- bus.Consume(ctx, b, bus.ConsumeOptions[string]{
				Consumer: c, Heartbeat: 20 * time.Millisecond, Decode: decode,
				Handle: func(ctx context.Context, _ bus.Delivery[string]) error {
					calls++
					defer close(finished)
					waited, stop := context.WithTimeout(ctx, time.Second) // five ack-waits
					defer stop()
					<-waited.Done()
					return nil
				},
			})
		}()
		<-finished
		awaitSettled(t, b, c, 0)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if calls != 1 {
			t.Errorf("handled %d times, want once", calls)
		}
	})
}

func TestConsume_StopReleasesFetched(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publish(t, b, "1", "2", "3", "4")
	ctx, cancel := context.WithCancel(t.Context())
	err := bus.Consume(ctx, b, bus.ConsumeOptions[string]{
		Consumer: c, Workers: 2, Decode: decode,
		Handle: func(ctx context.Context, _ bus.Delivery[string]) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(4, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for msg := range batch.Messages() {
		seen[string(msg.Data())] = true
	}
	if len(seen) != 4 {
		t.Errorf("got %v back, want all four long before the ack-wait", seen)
	}
}

// A message that comes while the only worker is busy for long is not dropped by the client: it is
// handled long before its ack-wait ends.
func TestConsume_BusyWorkerLosesNothing(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		handled, ended := make(chan time.Time, 2), make(chan error, 1)
		go func() {
			ended <- bus.Consume(ctx, b, bus.ConsumeOptions[string]{
				Consumer: c, Decode: decode,
				Handle: func(_ context.Context, d bus.Delivery[string]) error {
					if d.Body == "slow" {
						time.Sleep(12 * time.Second)
					}
					handled <- time.Now()
					return nil
				},
			})
		}()
		publish(t, b, "slow")
		time.Sleep(4 * time.Second)
		if _, err := b.Publish(t.Context(), &nats.Msg{Subject: "job.run.99", Data: []byte("next")}); err != nil {
			t.Fatal(err)
		}
		first := <-handled
		if wait := (<-handled).Sub(first); wait > 15*time.Second {
			t.Errorf("the next message was handled %s after the worker was free", wait)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestConsume_ConsumerRemoved(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Minute)
		publish(t, b, "last")
		began := time.Now()
		err := bus.Consume(t.Context(), b, bus.ConsumeOptions[string]{
			Consumer: c, Decode: decode,
			Handle: func(ctx context.Context, _ bus.Delivery[string]) error {
				return b.JetStream().DeleteConsumer(ctx, contract.StreamJobs, "test")
			},
		})
		if !errors.Is(err, bus.ErrStore) || !strings.Contains(err.Error(), "test of FCT_JOBS") || !strings.Contains(err.Error(), "setup") {
			t.Errorf("%v, want it to name the consumer and what to do", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("returned after %s", took)
		}
	})
}

// A consumer that is removed while it waits, or while a message is handled, is used again once
// recreated.
func TestConsume_ConsumerRecreated(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		handled, ended := make(chan string, 10), make(chan error, 1)
		go func() {
			ended <- bus.Consume(ctx, b, bus.ConsumeOptions[string]{
				Consumer: c, Decode: decode,
				Handle: func(_ context.Context, d bus.Delivery[string]) error {
					handled <- d.Body
					if d.Body == "slow" {
						time.Sleep(8 * time.Second)
					}
					return nil
				},
			})
		}()
		next := 0
		for _, away := range []time.Duration{time.Millisecond, time.Second, 5 * time.Second} {
			for _, body := range []string{"quick", "slow"} {
				if _, err := b.Publish(t.Context(), &nats.Msg{Subject: fmt.Sprintf("job.run.%d", next), Data: []byte(body)}); err != nil {
					t.Fatal(err)
				}
				next++
				<-handled
				if err := b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, "test"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(away)
				consumer(t, b, time.Minute)
				for range next { // the new consumer begins at the first message
					select {
					case <-handled:
					case <-time.After(2 * time.Minute):
						t.Fatalf("nothing is handled after %s without a consumer, while a %s message was", away, body)
					}
				}
				time.Sleep(time.Minute)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSettle_BySubject(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publish(t, b, "a", "b")
	var replies []string
	for range 2 {
		msg, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, msg.Reply())
	}
	if err := b.Settle(replies[0], bus.Ack); err != nil {
		t.Fatal(err)
	}
	if err := b.Settle(replies[1], bus.NakAfter(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	msg, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil || string(msg.Data()) != "b" {
		t.Fatalf("%v, want b again", err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitSettled(t, b, c, 0)
}

func TestNext_Message(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	c := consumer(t, b, time.Minute)
	publish(t, b, "a")
	msg, _, err := b.Next(t.Context(), c, 10*time.Second)
	if err != nil || string(msg.Data()) != "a" {
		t.Fatalf("%v, want the message", err)
	}
	enough := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(enough)
	if _, _, err := b.Next(ctx, c, 2*time.Second); !errors.Is(err, enough) {
		t.Errorf("%v, want why the wait was ended", err)
	}
}

// A request that was lost with its server is given up long before it would have expired.
func TestNext_LostRequest(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		b := fcttest.Broker(t)
		c := consumer(t, b, time.Minute)
		if err := b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, "test"); err != nil {
			t.Fatal(err)
		}
		// A subscriber that never replies, like a server that has just lost its cluster.
		silent, err := b.Conn().SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.FCT_JOBS.test")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent.Unsubscribe() }()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if _, _, err := b.Next(ctx, c, 2*time.Second); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%v, want ErrTimeout", err)
		}
	})
}
