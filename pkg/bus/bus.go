// Package bus carries typed messages over JetStream: publishing with a deadline, many at once for one sync, and
// consuming in such a way that the handler's error decides what becomes of a message.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// ErrStore says that the broker's store takes nothing any more: a full disk, for one, makes a publish stay without
// an answer until the server is restarted.
var ErrStore = errors.New("broker or its store not answering")

// ErrExists says that a subject which takes one message for ever has one already: the first writer has won.
var ErrExists = errors.New("subject already written")

const (
	// publishLimit is how long a publish may stay without an answer.
	publishLimit = 5 * time.Second
	// missesLimit is how many publishes in a row may stay without an answer.
	missesLimit = 3
	// batchLimit is how many messages the server takes in one atomic batch.
	batchLimit = 1000
	// batchLeast is from how many messages on an atomic batch costs less than publishing one by one: it takes six
	// syncs whatever its size.
	batchLeast = 8
	// codeMaxPerSubject is the server's error for a subject that is full.
	codeMaxPerSubject jetstream.ErrorCode = 10077
)

// Options of a Bus; the zero value takes the defaults.
type Options struct {
	// PublishLimit is how long a publish may stay without an answer; 5 s when 0.
	PublishLimit time.Duration
}

// Bus is one connection's way to JetStream, for any number of goroutines.
type Bus struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	limit  time.Duration
	misses atomic.Int32
}

// New makes a Bus over a connection, which stays the caller's to close.
func New(nc *nats.Conn, log *slog.Logger, opts Options) (*Bus, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("opening jetstream: %w", err)
	}
	if opts.PublishLimit == 0 {
		opts.PublishLimit = publishLimit
	}
	return &Bus{nc: nc, js: js, log: log, limit: opts.PublishLimit}, nil
}

// JetStream is the API below, for what the Bus has no words for.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Conn is the connection below.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Epoch grows with each reconnect: what was read before may be out of date after it.
func (b *Bus) Epoch() uint64 { return b.nc.Stats().Reconnects }

// KV opens a bucket that exists.
func (b *Bus) KV(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", bucket, err)
	}
	return kv, nil
}

// Publish stores one message and returns when it is on disk. An error wraps ErrExists when the subject is taken, and
// ErrStore from the third publish in a row on that stayed without an answer.
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	limited, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	ack, err := b.js.PublishMsg(limited, msg, opts...)
	if err = b.judge(ctx, err); err != nil {
		return nil, fmt.Errorf("publishing to %s: %w", msg.Subject, err)
	}
	return ack, nil
}

// PublishBatch stores messages in their order and returns when all are on disk. Up to a thousand that go to one
// stream are stored all or none; fewer than eight are stored one by one, which is cheaper, and so are parts of a longer list.
// Errors are those of Publish.
func (b *Bus) PublishBatch(ctx context.Context, msgs []*nats.Msg) error {
	for len(msgs) > 0 {
		if len(msgs) < batchLeast {
			if _, err := b.Publish(ctx, msgs[0]); err != nil {
				return err
			}
			msgs = msgs[1:]
			continue
		}
		part := msgs[:min(batchLimit, len(msgs))]
		msgs = msgs[len(part):]
		if err := b.publishAtomic(ctx, part); err != nil {
			return fmt.Errorf("publishing %d messages from %s on: %w", len(part), part[0].Subject, err)
		}
	}
	return nil
}

func (b *Bus) publishAtomic(ctx context.Context, msgs []*nats.Msg) error {
	for _, msg := range msgs {
		if msg.Header == nil { // the library writes into it
			msg.Header = nats.Header{}
		}
	}
	limited, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	_, err := jetstreamext.PublishMsgBatch(limited, b.js, msgs)
	return b.judge(ctx, err)
}

// judge sorts the error of a publish: did the broker answer at all?
func (b *Bus) judge(ctx context.Context, err error) error {
	if err == nil {
		b.misses.Store(0)
		return nil
	}
	if ctx.Err() != nil { // the caller's end, not the broker's fault
		return err
	}
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		b.misses.Store(0)
		if refused.ErrorCode == codeMaxPerSubject {
			return fmt.Errorf("%w: %w", ErrExists, err)
		}
		return err
	}
	if b.misses.Add(1) >= missesLimit {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return err
}
