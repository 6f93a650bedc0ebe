// Package bus carries messages over JetStream: publishing with a deadline and group commit,
// consuming with a handler whose error settles the message, and reading streams and buckets without
// consumers.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	// Exclusive reports that no other process uses the server: every pending message is held by this
	// process, or was held by one that has ended.
	Exclusive bool
	// ClockSteps reports steps of the wall clock until its context ends; delay.ClockSteps when nil.
	ClockSteps func(ctx context.Context, stepped func(by time.Duration))
}

// Bus publishes to and reads from JetStream over one connection. It is safe for concurrent use.
type Bus struct {
	nc         *nats.Conn
	js         jetstream.JetStream
	log        *slog.Logger
	opts       Options
	unanswered unansweredPublishes
	logged     loggedMessages
	memo       sync.Map // values by the keys of Memo
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
	return &Bus{nc: nc, js: js, log: log, opts: opts}, nil
}

// JetStream is the JetStream API of the connection, for what Bus does not offer.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Conn is the NATS connection.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Epoch counts the reconnects. What was read in an earlier epoch may be out of date.
func (b *Bus) Epoch() uint64 { return b.nc.Stats().Reconnects }

// Memo returns the value that the first call with this key has created, and keeps it as long as the Bus.
// A package caches in it what it has read over this connection. Of concurrent first calls, one value is
// kept and the others are discarded.
func (b *Bus) Memo(key any, create func() any) any {
	value, found := b.memo.Load(key)
	if !found {
		value, _ = b.memo.LoadOrStore(key, create())
	}
	return value
}

// KV opens an existing bucket. To watch it or to list its keys, use Watch and Scan, which need no
// consumer.
func (b *Bus) KV(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", bucket, err)
	}
	return verifiedBucket{kv, b}, nil
}

// ErrStore reports that the server's store accepts nothing any more. A full disk, for example,
// leaves publishes without a reply until the server is restarted.
var ErrStore = errors.New("broker or its store not answering")

// ErrStop is what a callback of Tail, Watch or Scan returns to end the read, which is no error.
var ErrStop = errors.New("reading stopped")

// ErrExists reports that a subject that holds a single message forever is already written: the
// first writer wins.
var ErrExists = errors.New("subject already written")

// ErrTooLarge reports that a message exceeds the server's max_payload, the stream's max_msg_size or
// the 32 MiB that a file store accepts. A retry cannot succeed.
var ErrTooLarge = errors.New("message too large to be stored")

const (
	// maxUnanswered is how many publishes in a row may stay without a reply before the store counts
	// as failed.
	maxUnanswered = 3
	// codeNoSpace is the server's error for a full store, which accepts nothing until a restart.
	codeNoSpace jetstream.ErrorCode = 10023
	// codeStoreFailed is the server's error for everything that its store refuses; only the
	// description tells the cause.
	codeStoreFailed jetstream.ErrorCode = 10077
	textPerSubject                      = "maximum messages per subject"
	textTooLarge                        = "message too large"
)

// publishError classifies the error of a publish that began at a time, and counts publishes without
// a reply.
func (b *Bus) publishError(ctx context.Context, subject string, began time.Time, err error) error {
	if err == nil {
		b.unanswered.reset(subject)
		return nil
	}
	if ctx.Err() != nil { // ended by the caller, not a failure of the store
		return err
	}
	var refused *jetstream.APIError
	answered := errors.As(err, &refused)
	failed := answered && refused.ErrorCode == codeStoreFailed
	if answered && refused.ErrorCode == codeNoSpace {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	switch {
	case failed && strings.Contains(refused.Description, textPerSubject):
		b.unanswered.reset(subject)
		return fmt.Errorf("%w: %w", ErrExists, err)
	case failed && strings.Contains(refused.Description, textTooLarge),
		errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum),
		errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case answered && !failed:
		b.unanswered.reset(subject)
		return err
	case b.unanswered.add(subject, began) >= maxUnanswered:
		return fmt.Errorf("%w: %w", ErrStore, err)
	default:
		return err
	}
}

// unansweredPublishes counts consecutive publishes without a reply, for each stream: a stream whose
// files are gone does not reply while the others do. Overlapping publishes that fail together count
// once: each further one must have begun after the one before had ended.
type unansweredPublishes struct {
	mu sync.Mutex
	// byStream is keyed by the first token of the subject, which identifies the busy streams.
	byStream map[string]failedPublishes
}

type failedPublishes struct {
	count   int
	endedAt time.Time
}

func (m *unansweredPublishes) add(subject string, began time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byStream[firstToken(subject)]
	if r.count == 0 || !began.Before(r.endedAt) {
		r = failedPublishes{r.count + 1, time.Now()}
	}
	if m.byStream == nil {
		m.byStream = make(map[string]failedPublishes)
	}
	m.byStream[firstToken(subject)] = r
	return r.count
}

func (m *unansweredPublishes) reset(subject string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byStream, firstToken(subject))
}

func firstToken(subject string) string {
	first, _, _ := strings.Cut(subject, ".")
	return first
}

// redeliver has every pending message of a consumer delivered again: at once if this process is the
// only one, otherwise after the ack-wait. No API lists the pending messages, so it naks every
// sequence that may be pending; the server ignores the others.
func (b *Bus) redeliver(info *jetstream.ConsumerInfo) error {
	if info.NumAckPending == 0 {
		return nil
	}
	settlement := NakAfter(info.Config.AckWait)
	if b.opts.Exclusive {
		settlement = NakAfter(0)
	}
	for sequence := info.AckFloor.Stream + 1; sequence <= info.Delivered.Stream; sequence++ {
		// The tokens after the consumer: deliveries, stream and consumer sequence, time, messages
		// left.
		reply := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", info.Stream, info.Name, sequence, info.Delivered.Consumer)
		if err := b.Settle(reply, settlement); err != nil {
			return fmt.Errorf("redelivering from %s: %w", info.Name, err)
		}
	}
	return nil
}

// WatchStalls corrects the effect of wall clock steps on a consumer, until ctx ends or stop is
// called. The server measures ack-waits and delays by the wall clock, so that a clock that is set
// back extends them by the step. After such a step all pending messages are redelivered: at once if
// this process is the only one, otherwise after the ack-wait, within which the other holders send a
// heartbeat. A step on another machine, or while no process ran, shows as a consumer that has
// pending messages and has delivered nothing for longer than its ack-wait.
func (b *Bus) WatchStalls(ctx context.Context, consumer jetstream.Consumer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if b.opts.Exclusive { // earlier holders have ended
		b.redeliverPending(ctx, consumer)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		b.opts.ClockSteps(ctx, func(by time.Duration) {
			if by < 0 {
				b.redeliverPending(ctx, consumer)
			}
		})
	})
	watching.Go(func() { b.watchForStall(ctx, consumer) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// redeliverPending redelivers the messages that are pending now. It retries until it succeeds, ctx
// ends or the consumer is gone.
func (b *Bus) redeliverPending(ctx context.Context, consumer jetstream.Consumer) {
	for {
		info, err := consumer.Info(ctx)
		if err == nil {
			err = b.redeliver(info)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
			return // the consumer's reader reports that it is gone
		}
		b.log.Warn("bus.unstall.failed", "error", err)
		if delay.Sleep(ctx, defaultRetryDelay) != nil {
			return
		}
	}
}

// watchForStall redelivers pending messages if nothing was delivered for longer than the ack-wait.
func (b *Bus) watchForStall(ctx context.Context, consumer jetstream.Consumer) {
	var delivered uint64
	since := time.Now()
	for delay.Sleep(ctx, defaultHeartbeat) == nil {
		info, err := consumer.Info(ctx)
		switch {
		case err != nil: // the consumer's reader reports it
		case info.NumAckPending == 0 || info.Delivered.Consumer != delivered:
			delivered, since = info.Delivered.Consumer, time.Now()
		case time.Since(since) > info.Config.AckWait+defaultHeartbeat:
			since = time.Now()
			if err := b.redeliver(info); err != nil {
				b.log.Warn("bus.unstall.failed", "error", err)
			}
		}
	}
}
