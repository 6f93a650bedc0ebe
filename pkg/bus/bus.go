// Package bus carries typed messages over JetStream: publishing with a deadline, many at once for one sync, and
// consuming in such a way that the handler's error decides what becomes of a message.
package bus

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// defaultPublishTimeout is how long a publish may stay without an answer.
const defaultPublishTimeout = 5 * time.Second

// Options of a Bus; the zero value takes the defaults.
type Options struct {
	// PublishTimeout is how long a publish may stay without an answer; 5 s when 0.
	PublishTimeout time.Duration
	// WaitForConnection says that a publish waits for a connection as long as its context lets it, and its limit begins after that. Without it
	// the time without a connection counts too.
	WaitForConnection bool
	// Exclusive says that no other process uses the server.
	Exclusive bool
	// ClockSteps tells of steps of the wall clock, as delay.ClockSteps does, until its context ends; delay.ClockSteps when nil.
	ClockSteps func(ctx context.Context, stepped func(by time.Duration))
}

// Bus is one connection's way to JetStream, for any number of goroutines.
type Bus struct {
	nc             *nats.Conn
	js             jetstream.JetStream
	log            *slog.Logger
	publishTimeout time.Duration
	// waitForConnection says that being without a connection is no trouble of the store.
	waitForConnection bool
	// exclusive says that whatever is pending is pending in this process, or was so in one that has ended.
	exclusive  bool
	clockSteps func(ctx context.Context, stepped func(by time.Duration))
	unanswered unansweredPublishes
	logged     loggedMessages
}

// New makes a Bus over a connection, which stays the caller's to close.
func New(nc *nats.Conn, log *slog.Logger, opts Options) (*Bus, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("opening jetstream: %w", err)
	}
	if opts.PublishTimeout == 0 {
		opts.PublishTimeout = defaultPublishTimeout
	}
	if opts.ClockSteps == nil {
		opts.ClockSteps = delay.ClockSteps
	}
	return &Bus{
		nc: nc, js: js, log: log, publishTimeout: opts.PublishTimeout, waitForConnection: opts.WaitForConnection, exclusive: opts.Exclusive, clockSteps: opts.ClockSteps,
	}, nil
}

// JetStream is the API below, for what the Bus has no words for.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Conn is the connection below.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Epoch grows with each reconnect: what was read before may be out of date after it.
func (b *Bus) Epoch() uint64 { return b.nc.Stats().Reconnects }

// KV opens a bucket that exists. To watch it, or to list its keys, take Watch and Scan, which need no consumer.
func (b *Bus) KV(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", bucket, err)
	}
	return verifiedBucket{kv, b}, nil
}
