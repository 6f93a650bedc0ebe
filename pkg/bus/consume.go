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

// Delivery is one message that a handler works on.
type Delivery[T any] struct {
	Body    T
	Subject string
	// Sequence is the message's sequence in its stream, StoredAt when it was stored.
	Sequence uint64
	StoredAt time.Time
	Header   nats.Header
}

const (
	// defaultHeartbeat is the interval of the in-progress acknowledgements (+WPI) of a held
	// message. The ack-waits of the consumers are 15 s and more.
	defaultHeartbeat = 5 * time.Second
	// pullExpiry is how long a pull request waits, pullHeartbeat the interval of its heartbeats, of
	// which two missed ones reveal a stalled pull. While all workers are busy nobody reads the
	// heartbeats of an open pull. The client's queue holds one message more than there are workers:
	// with more than one heartbeat before the pull expires, it would drop a message, which is
	// redelivered only after its ack-wait.
	pullExpiry    = 5 * time.Second
	pullHeartbeat = pullExpiry / 2
	// consumerGoneTimeout is how long Consume waits for a removed consumer to be recreated,
	// consumerGonePoll how often it checks.
	consumerGoneTimeout = 10 * time.Second
	consumerGonePoll    = 200 * time.Millisecond
	// defaultRetryDelay is the wait before a redelivery when the handler's error names none.
	defaultRetryDelay = time.Second
)

// ConsumeOptions describes how messages are consumed.
type ConsumeOptions[T any] struct {
	Consumer jetstream.Consumer
	// Workers is how many messages are handled concurrently; 1 when 0.
	Workers int
	// Heartbeat is the interval of the in-progress acknowledgements of a held message; 5 s when 0.
	Heartbeat time.Duration
	// Decode reads a message's body. A message that it cannot decode is logged and terminated.
	Decode func([]byte) (T, error)
	// DeliverForged hands forged messages to the handler, which must refuse them itself. Otherwise
	// they are logged and terminated. A forged message was read from a stream and published again.
	DeliverForged bool
	// Handle's error settles the message: nil acknowledges it, RetryIn redelivers it after a delay,
	// Discard terminates it, ErrLeaveUnsettled leaves it as it is, any other error redelivers it
	// after a second. A panic counts as an error of that message.
	Handle func(context.Context, Delivery[T]) error
}

// Consume passes the messages of a consumer to a handler until ctx ends, which is no error.
// Messages that were fetched and not yet handled are then released at once. If the consumer is
// removed, Consume waits until it is recreated; after 10 s it returns an error that wraps ErrStore.
// A closed connection is an error too.
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

// consume is Consume for as long as the consumer exists.
func (c ConsumeOptions[T]) consume(ctx context.Context, b *Bus) error {
	// Fetch one message more than the workers can handle: a pull for a single message can stall.
	messages, err := c.Consumer.Messages(jetstream.PullMaxMessages(c.Workers+1), jetstream.PullHeartbeat(pullHeartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return err
	}
	defer b.WatchStalls(ctx, c.Consumer)()
	var workers sync.WaitGroup
	err = c.dispatch(ctx, b, messages, &workers)
	workers.Wait()
	b.releaseFetched(messages)
	return err
}

// awaitConsumer waits until a removed consumer is recreated.
func (b *Bus) awaitConsumer(ctx context.Context, consumer jetstream.Consumer) error {
	info := consumer.CachedInfo()
	b.log.Warn("bus.consumer.gone", "stream", info.Stream, "consumer", info.Name)
	for began := time.Now(); ; {
		_, err := consumer.Info(ctx)
		switch {
		case err == nil:
			return nil
		case time.Since(began) > consumerGoneTimeout:
			return fmt.Errorf("%w: consumer %s of %s was removed, fct-scraper setup recreates it: %w", ErrStore, info.Name, info.Stream, err)
		}
		if err := delay.Sleep(ctx, consumerGonePoll); err != nil {
			return err
		}
	}
}

// dispatch takes a message whenever a worker is free, until ctx ends or the subscription fails. A
// single goroutine takes them because the library holds a lock while it waits for the next one.
func (c ConsumeOptions[T]) dispatch(ctx context.Context, b *Bus, messages jetstream.MessagesContext, workers *sync.WaitGroup) error {
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
			if _, err := c.Consumer.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) { // no pull reports it
				return err
			}
			continue // the next pull shows whether it was temporary
		case err != nil:
			return err
		case ctx.Err() != nil:
			_ = b.Settle(msg.Reply(), NakAfter(0))
			return nil
		}
		workers.Go(func() {
			defer func() { <-free }()
			c.process(ctx, b, msg)
		})
	}
}

// process handles one message and settles it according to the handler's error.
func (c ConsumeOptions[T]) process(ctx context.Context, b *Bus, msg jetstream.Msg) {
	if !c.DeliverForged && isForged(msg.Headers()) {
		b.log.Warn(eventForged, "subject", msg.Subject(), "reason", reasonForged)
		_ = b.Settle(msg.Reply(), Term)
		return
	}
	err := c.handle(ctx, b.log, msg)
	settlement, ok := SettlementOf(err)
	switch {
	case settlement == Term:
		b.log.Error("bus.message.dropped", "subject", msg.Subject(), "error", err)
	case ok:
	case ctx.Err() != nil:
		settlement = NakAfter(0)
	default:
		b.log.Warn("bus.message.failed", "subject", msg.Subject(), "error", err)
		settlement = NakAfter(defaultRetryDelay)
	}
	_ = b.Settle(msg.Reply(), settlement)
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
	defer delay.Every(c.Heartbeat, func() { _ = msg.InProgress() })() // the next one makes up for a lost one
	return c.Handle(ctx, Delivery[T]{Body: body, Subject: msg.Subject(), Sequence: metadata.Sequence.Stream, StoredAt: metadata.Timestamp, Header: msg.Headers()})
}

// releaseFetched returns messages that were fetched and not handled. Stop alone would withhold them
// until the ack-wait is over.
func (b *Bus) releaseFetched(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next()
		if err != nil {
			return
		}
		_ = b.Settle(msg.Reply(), NakAfter(0))
	}
}

// Next waits for one message of a pull consumer, for at most timeout, and returns when it sent the
// request: the message's ack-wait cannot have begun earlier. The error is nats.ErrTimeout if no
// message came; the caller requests again if it still wants one, so a request that was lost with
// its server delays nothing further. When ctx ends, the error is its cause, and a message that
// arrives anyway is released.
func (b *Bus) Next(ctx context.Context, consumer jetstream.Consumer, timeout time.Duration) (msg jetstream.Msg, requestedAt time.Time, err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	requestedAt = time.Now()
	msg, err = consumer.Next(jetstream.FetchContext(limited))
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = b.Settle(msg.Reply(), NakAfter(0))
		}
		return nil, requestedAt, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoHeartbeat):
		return nil, requestedAt, nats.ErrTimeout
	default:
		return msg, requestedAt, err
	}
}

// Settlement says what becomes of a delivered message. It is the body of the message's
// acknowledgement.
type Settlement string

const (
	// Leave settles nothing: another component settles the message, or it is redelivered after its
	// ack-wait.
	Leave Settlement = ""
	// Ack says that the message is done.
	Ack Settlement = "+ACK"
	// Term ends the deliveries of a message that can never be handled.
	Term Settlement = "+TERM"
	// Nak has the message redelivered at once. A server that restarts forgets it, and redelivers the
	// message after its ack-wait. NakAfter(0) is kept over a restart, and takes 10 ms.
	Nak Settlement = "-NAK"
)

// NakAfter has a message redelivered after delay. The server keeps the delay over a restart.
func NakAfter(delay time.Duration) Settlement {
	return Settlement(fmt.Sprintf(`-NAK {"delay": %d}`, max(1, delay.Nanoseconds()))) // without a delay it is a Nak
}

// Settle settles the delivery that has this reply subject, also one that another process received.
// If the settlement gets lost, the message is redelivered after its ack-wait, which every consumer
// must tolerate. The server does not check who settles: only the owner of the delivery may. An empty
// reply stands for no delivery.
func (b *Bus) Settle(reply string, s Settlement) error {
	if s == Leave || reply == "" {
		return nil
	}
	if err := b.nc.Publish(reply, []byte(s)); err != nil {
		return fmt.Errorf("settling a delivery: %w", err)
	}
	return nil
}

// ErrLeaveUnsettled is the error of a handler whose message is to be left.
var ErrLeaveUnsettled = errors.New("message left unsettled")

// settlementError is the error of a handler that says how its message is settled.
type settlementError struct {
	settlement Settlement
	cause      error
}

func (e settlementError) Error() string { return e.cause.Error() }
func (e settlementError) Unwrap() error { return e.cause }

// RetryIn requests the redelivery of a message after delay because of cause.
func RetryIn(delay time.Duration, cause error) error {
	return settlementError{NakAfter(delay), fmt.Errorf("retry in %s: %w", delay, cause)}
}

// Discard requests that a message is never redelivered, because of cause.
func Discard(cause error) error { return settlementError{Term, fmt.Errorf("discarded: %w", cause)} }

// SettlementOf returns the settlement that the error of a handler stands for: Ack for nil, that of
// RetryIn or Discard, or Leave for ErrLeaveUnsettled. ok is false for any other error.
func SettlementOf(err error) (s Settlement, ok bool) {
	if err == nil {
		return Ack, true
	}
	requested, ok := errors.AsType[settlementError](err)
	return requested.settlement, ok || errors.Is(err, ErrLeaveUnsettled)
}
