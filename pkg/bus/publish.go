package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// maxAtomicBatch is how many messages the server accepts in one atomic batch.
	maxAtomicBatch = 1000
	// minAtomicBatch is from how many messages on an atomic batch is cheaper than single publishes:
	// it takes six syncs whatever its size.
	minAtomicBatch = 8
	// maxStoredMessage is what a file store accepts in one message, less its own overhead. The
	// server reports a larger one in a batch only as "incomplete".
	maxStoredMessage = 32<<20 - 4<<10
	// reconnectPoll is how often a publish without a connection checks for one.
	reconnectPoll = 20 * time.Millisecond
)

// MaxMessageSize is the largest message in bytes, headers included, that this connection can store.
func (b *Bus) MaxMessageSize() int64 { return min(maxStoredMessage, b.nc.MaxPayload()) }

// Publish stores one message and returns when it is on disk. Without a connection it waits for one,
// within the timeout. The error wraps ErrExists if the subject is taken, ErrTooLarge if the message
// can never be stored, and ErrStore from the third consecutive publish to a stream on that got no
// reply. After any other error the message may be stored or not.
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	var ack *jetstream.PubAck
	err := b.send(ctx, msg.Subject, func(limited context.Context) (err error) {
		ack, err = b.js.PublishMsg(limited, msg, opts...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publishing to %s: %w", msg.Subject, err)
	}
	return ack, nil
}

// PublishJSON is Publish for the JSON form of a value.
func (b *Bus) PublishJSON(ctx context.Context, subject string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("publishing to %s: %w", subject, err)
	}
	_, err = b.Publish(ctx, &nats.Msg{Subject: subject, Data: body})
	return err
}

// PublishBatch stores messages in order and returns when all are on disk. Up to 1000 messages of
// one stream are stored all or none; a longer list is stored in such parts. Fewer than eight are
// published one by one, which is cheaper. The errors are those of Publish.
func (b *Bus) PublishBatch(ctx context.Context, msgs []*nats.Msg) error {
	for len(msgs) > 0 {
		if len(msgs) < minAtomicBatch {
			if _, err := b.Publish(ctx, msgs[0]); err != nil {
				return err
			}
			msgs = msgs[1:]
			continue
		}
		part := msgs[:min(maxAtomicBatch, len(msgs))]
		msgs = msgs[len(part):]
		if err := b.publishAtomic(ctx, part); err != nil {
			return fmt.Errorf("publishing %d messages from %s on: %w", len(part), part[0].Subject, err)
		}
	}
	return nil
}

// publishAtomic publishes copies: the library writes the batch into the headers, and a message that
// is later published alone must not claim to be part of it.
func (b *Bus) publishAtomic(ctx context.Context, msgs []*nats.Msg) error {
	copies := make([]*nats.Msg, len(msgs))
	for i, msg := range msgs {
		if msg.Size() > maxStoredMessage {
			return fmt.Errorf("%w: %s: %d bytes", ErrTooLarge, msg.Subject, msg.Size())
		}
		copies[i] = nats.NewMsg(msg.Subject)
		copies[i].Data = msg.Data
		maps.Copy(copies[i].Header, msg.Header)
	}
	return b.send(ctx, msgs[0].Subject, func(limited context.Context) error {
		_, err := jetstreamext.PublishMsgBatch(limited, b.js, copies,
			jetstreamext.BatchFlowControl{AckFirst: true, AckTimeout: b.opts.PublishTimeout})
		return err
	})
}

// send publishes within the timeout and classifies the error. Without a connection nothing left
// this process, so the publish is repeated once there is one: a server restart costs a wait, not an
// error.
func (b *Bus) send(ctx context.Context, subject string, publish func(context.Context) error) error {
	if b.opts.WaitForConnection {
		b.awaitConnection(ctx)
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, b.opts.PublishTimeout)
	defer cancel()
	err := publish(limited)
	for errors.Is(err, nats.ErrReconnectBufExceeded) && delay.Sleep(limited, reconnectPoll) == nil {
		err = publish(limited)
	}
	return b.publishError(ctx, subject, began, err)
}

// awaitConnection returns when there is a connection or ctx ends.
func (b *Bus) awaitConnection(ctx context.Context) {
	for waiting := true; waiting && !b.nc.IsConnected(); {
		waiting = delay.Sleep(ctx, reconnectPoll) == nil
	}
}

// GroupCommit commits items together that arrive while an earlier commit runs. An item waits for
// others only if Expect says that they are about to come, and at most twice as long as the last
// commit took.
type GroupCommit[T any] struct {
	commit   func(context.Context, []T) error
	size     func(T) int
	maxSize  int
	expected func() int

	mu      sync.Mutex
	waiting []waiter[T]
	running bool
	// enough is closed when as many items wait as the leader waits for; nil while it does not.
	enough chan struct{}
	// lastCommit is how long the last commit took. Only the leader uses it.
	lastCommit time.Duration
}

type waiter[T any] struct {
	item T
	done chan error
}

// NewGroupCommit returns a GroupCommit over commit, which gets at least one item, and more as long
// as their sizes add up to at most maxSize. commit is never called concurrently.
func NewGroupCommit[T any](maxSize int, size func(T) int, commit func(context.Context, []T) error) *GroupCommit[T] {
	return &GroupCommit[T]{commit: commit, size: size, maxSize: maxSize}
}

// maxLinger is how long items wait for expected ones at most, whatever the last commit took.
const maxLinger = 20 * time.Millisecond

// Expect makes a commit wait until as many items wait as expected returns, which must be safe for
// concurrent use. It must be called before Do.
func (g *GroupCommit[T]) Expect(expected func() int) { g.expected = expected }

// Do returns when the item is committed, or with the error of its commit. This goroutine may also
// carry out the commits of other items; they run without the cancellation of its ctx, because
// others depend on them.
func (g *GroupCommit[T]) Do(ctx context.Context, item T) error {
	own := waiter[T]{item: item, done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, own)
	lead := !g.running
	g.running = true
	if g.enough != nil && len(g.waiting) >= g.expected() {
		close(g.enough)
		g.enough = nil
	}
	g.mu.Unlock()
	if lead {
		g.commitWaiting(context.WithoutCancel(ctx))
	}
	return <-own.done
}

func (g *GroupCommit[T]) commitWaiting(ctx context.Context) {
	for {
		g.linger()
		batch := g.nextBatch()
		if batch == nil {
			return
		}
		items := make([]T, len(batch))
		for i, w := range batch {
			items[i] = w.item
		}
		began := time.Now()
		err := g.commitRecovered(ctx, items)
		g.lastCommit = time.Since(began)
		for _, w := range batch {
			w.done <- err
		}
	}
}

// linger waits until all expected items wait, at most twice as long as the last commit took. The limit
// follows the disk: sharing a sync saves more where syncs are slow.
func (g *GroupCommit[T]) linger() {
	if g.expected == nil {
		return
	}
	g.mu.Lock()
	if len(g.waiting) == 0 || len(g.waiting) >= g.expected() {
		g.mu.Unlock()
		return
	}
	enough := make(chan struct{})
	g.enough = enough
	g.mu.Unlock()
	timer := time.NewTimer(min(maxLinger, 2*g.lastCommit))
	defer timer.Stop()
	select {
	case <-enough:
	case <-timer.C:
		g.mu.Lock()
		g.enough = nil
		g.mu.Unlock()
	}
}

func (g *GroupCommit[T]) nextBatch() []waiter[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.running = false
		return nil
	}
	n, sum := 1, g.size(g.waiting[0].item)
	for n < len(g.waiting) && sum+g.size(g.waiting[n].item) <= g.maxSize {
		sum += g.size(g.waiting[n].item)
		n++
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return batch
}

// commitRecovered turns a panic of commit into an error, so that every waiting goroutine gets it.
func (g *GroupCommit[T]) commitRecovered(ctx context.Context, items []T) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("committing %d items: panic: %v", len(items), cause)
		}
	}()
	return g.commit(ctx, items)
}
