package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Delivery is one message on its way through a handler.
type Delivery[T any] struct {
	Body    T
	Subject string
	// Sequence is the message's place in its stream, StoredAt when it was stored.
	Sequence uint64
	StoredAt time.Time
	Header   nats.Header
}

const (
	// defaultHeartbeat is how often a held message is said to be worked on; ack-waits are 15 s and more.
	defaultHeartbeat = 5 * time.Second
	// pullHeartbeat makes a stalled pull be noticed in a second instead of half a minute.
	pullHeartbeat = 500 * time.Millisecond
	pullExpiry    = 5 * time.Second
	// consumerGoneTimeout is how long a consumer that was removed is waited for, goneLook how often it is looked for.
	consumerGoneTimeout = 10 * time.Second
	consumerGonePoll    = 200 * time.Millisecond
	// defaultRetryDelay is the wait before a message comes back whose handler failed without saying when.
	defaultRetryDelay = time.Second
)

// ConsumeOptions says how messages are consumed.
type ConsumeOptions[T any] struct {
	Consumer jetstream.Consumer
	// Workers is how many messages are handled at once; 1 when 0.
	Workers int
	// Heartbeat is how often a held message is said to be worked on; 5 s when 0.
	Heartbeat time.Duration
	// Decode reads a message's body. A message that it cannot read is logged and never comes back.
	Decode func([]byte) (T, error)
	// DeliverForged says that the handler itself refuses messages that were read out of a stream and published again. Else they are
	// logged and never come back.
	DeliverForged bool
	// Handle's error decides: nil is done, Later comes back then, Never does not come back, ErrLeave is left as it
	// is, any other error comes back in a second. A panic is an error of the one message.
	Handle func(context.Context, Delivery[T]) error
}

// Consume hands the messages of a consumer to a handler until ctx ends, which is no error. What has been fetched by
// then and not begun goes back at once. A consumer that somebody else removes is waited for, until it is made again. The error wraps
// ErrStore when it is not within 10 s; a connection that is gone is an error too.
func Consume[T any](ctx context.Context, b *Bus, c ConsumeOptions[T]) error {
	c.Workers = max(1, c.Workers)
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	for {
		err := c.consume(ctx, b)
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			err = b.awaitConsumer(ctx, c.Consumer)
			if err == nil {
				continue
			}
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("consuming: %w", err)
	}
}

// consume is Consume while the consumer is there.
func (c ConsumeOptions[T]) consume(ctx context.Context, b *Bus) error {
	// One more than can be handled: with a single message a pull can stall.
	messages, err := c.Consumer.Messages(jetstream.PullMaxMessages(c.Workers+1), jetstream.PullHeartbeat(pullHeartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return err
	}
	defer b.WatchStalls(ctx, c.Consumer)()
	var workers sync.WaitGroup
	err = c.dispatch(ctx, b.log, messages, &workers)
	workers.Wait()
	releaseFetched(messages)
	return err
}

// awaitConsumer waits until a consumer that was removed is made again.
func (b *Bus) awaitConsumer(ctx context.Context, consumer jetstream.Consumer) error {
	info := consumer.CachedInfo()
	b.log.Warn("bus.consumer.gone", "stream", info.Stream, "consumer", info.Name)
	for began := time.Now(); ; {
		_, err := consumer.Info(ctx)
		switch {
		case err == nil:
			return nil
		case time.Since(began) > consumerGoneTimeout:
			return fmt.Errorf("%w: consumer %s of %s was removed: fct-scraper setup makes it again: %w", ErrStore, info.Name, info.Stream, err)
		}
		if err := delay.Sleep(ctx, consumerGonePoll); err != nil {
			return err
		}
	}
}

// dispatch takes a message whenever a worker is free, until ctx ends or no more can come. One goroutine alone takes them: the
// library holds a lock while it waits for the next.
func (c ConsumeOptions[T]) dispatch(ctx context.Context, log *slog.Logger, messages jetstream.MessagesContext, workers *sync.WaitGroup) error {
	free := make(chan struct{}, c.Workers)
	for {
		select {
		case <-ctx.Done():
			return nil
		case free <- struct{}{}:
		}
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil && err != nil:
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			<-free
			if _, err := c.Consumer.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) { // which no pull is told
				return err
			}
			continue // the next pull finds out whether it was a hiccup
		case err != nil:
			return err
		case ctx.Err() != nil:
			_ = msg.Nak() // when it does not arrive the ack-wait brings the message back
			return nil
		}
		workers.Go(func() {
			defer func() { <-free }()
			c.settle(ctx, log, msg)
		})
	}
}

// settle handles one message and carries out what the handler's error decides. An acknowledgement that is lost
// makes the message come again, which every handler must bear anyway.
func (c ConsumeOptions[T]) settle(ctx context.Context, log *slog.Logger, msg jetstream.Msg) {
	if !c.DeliverForged && isForged(msg.Headers()) {
		log.Warn(eventForged, "subject", msg.Subject(), "reason", reasonForged)
		_ = msg.Term()
		return
	}
	err := c.handle(ctx, log, msg)
	var wait retryError
	var drop discardError
	switch {
	case err == nil:
		_ = msg.Ack()
	case errors.Is(err, ErrLeaveUnsettled):
	case errors.As(err, &drop):
		log.Error("bus.message.dropped", "subject", msg.Subject(), "error", err)
		_ = msg.Term()
	case errors.As(err, &wait):
		_ = msg.NakWithDelay(wait.delay)
	case ctx.Err() != nil:
		_ = msg.Nak()
	default:
		log.Warn("bus.message.failed", "subject", msg.Subject(), "error", err)
		_ = msg.NakWithDelay(defaultRetryDelay)
	}
}

func (c ConsumeOptions[T]) handle(ctx context.Context, log *slog.Logger, msg jetstream.Msg) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("bus.handler.panic", "subject", msg.Subject(), "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = RetryIn(defaultRetryDelay, fmt.Errorf("panic: %v", cause))
		}
	}()
	body, err := c.Decode(msg.Data())
	if err != nil {
		return Discard(err)
	}
	metadata, err := msg.Metadata()
	if err != nil {
		return Discard(err)
	}
	defer delay.Every(c.Heartbeat, func() { _ = msg.InProgress() })() // a lost one is made good by the next
	return c.Handle(ctx, Delivery[T]{Body: body, Subject: msg.Subject(), Sequence: metadata.Sequence.Stream, StoredAt: metadata.Timestamp, Header: msg.Headers()})
}

// releaseFetched returns what was fetched and not begun: stopping alone would strand it until the ack-wait is over.
func releaseFetched(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next()
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}
