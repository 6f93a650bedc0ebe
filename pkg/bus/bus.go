// Package bus carries messages over JetStream: publishing with a deadline and group commit,
// consuming with a handler whose error settles the message, and reading streams and buckets without
// consumers.
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

// defaultPublishTimeout is how long a publish waits for its acknowledgement.
const defaultPublishTimeout = 5 * time.Second

// Options of a Bus; the zero value takes the defaults.
type Options struct {
	// PublishTimeout is how long a publish waits for its acknowledgement; 5 s when 0.
	PublishTimeout time.Duration
	// WaitForConnection makes a publish first wait for a connection, for as long as its context
	// allows. PublishTimeout begins after that. Otherwise the time without a connection counts too.
	WaitForConnection bool
	// Exclusive reports that no other process uses the server.
	Exclusive bool
	// ClockSteps reports steps of the wall clock until its context ends; delay.ClockSteps when nil.
	ClockSteps func(ctx context.Context, stepped func(by time.Duration))
}

// Bus publishes to and reads from JetStream over one connection. It is safe for concurrent use.
type Bus struct {
	nc             *nats.Conn
	js             jetstream.JetStream
	log            *slog.Logger
	publishTimeout time.Duration
	// waitForConnection: a missing connection does not count as a failure of the store.
	waitForConnection bool
	// exclusive: every pending message is held by this process, or was held by one that has ended.
	exclusive  bool
	clockSteps func(ctx context.Context, stepped func(by time.Duration))
	unanswered unansweredPublishes
	logged     loggedMessages
}

// New returns a Bus over a connection, which the caller closes.
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

// JetStream is the JetStream API of the connection, for what Bus does not offer.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Conn is the NATS connection.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Epoch counts the reconnects. What was read in an earlier epoch may be out of date.
func (b *Bus) Epoch() uint64 { return b.nc.Stats().Reconnects }

// KV opens an existing bucket. To watch it or to list its keys, use Watch and Scan, which need no
// consumer.
func (b *Bus) KV(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", bucket, err)
	}
	return verifiedBucket{kv, b}, nil
}
