package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// noticePrefix stands before the subject of a message in the notice that the server gives after it has stored the message; the
	// streams' definitions say so (republish).
	noticePrefix = "stored."
	// maxBatchMessages and batchBytes bound one answer, and with it what lies in memory before it is taken: a batch ends with
	// the message that passes the bytes.
	maxBatchMessages = 256
	maxBatchBytes    = 2 << 20
	// tailPoll is how often a tail asks for what it has heard no notice of: a notice can be lost, and a message that expires or is
	// deleted gives none.
	tailPoll = 5 * time.Second
	// scanTimeout is how long what is only read once is tried again.
	scanTimeout = 10 * time.Second
	// missingStreamTimeout is how long a stream may seem not to exist: the servers of a cluster say so while they start.
	missingStreamTimeout = 2 * time.Second
	// logTailAfter is how long a tail may get no answers before that is logged.
	logTailAfter = 10 * time.Second
)

// lagBackoff is the wait before a server is asked again that has not yet stored what another one told of.
func lagBackoff(misses int) time.Duration {
	return delay.Exponential{Base: 4 * time.Millisecond, Factor: 2, Max: 250 * time.Millisecond}.Before(misses, 1)
}

// retryBackoff is the wait after a failure.
func retryBackoff(failures int) time.Duration {
	return delay.Exponential{Base: 50 * time.Millisecond, Factor: 2, Max: 2 * time.Second}.Before(failures, 1)
}

// Tail hands every message of a stream that matches filter and lies after a sequence to take, in their order and each once, and
// waits for more until ctx ends or take returns an error, which it returns. It needs no consumer: notices of the server say when there is
// something to read. It goes on by itself after a lost connection, a restart or another leader; what ends it is a stream that does not
// exist, and missing rights. Messages that were read out of a stream and published again are left out.
func (b *Bus) Tail(ctx context.Context, stream, filter string, after uint64, take func(Message) error) error {
	t := &startTail{bus: b, stream: stream, take: take, cursors: []*cursor{{filter: filter, lastRead: after}}, caughtUp: func() error { return nil }}
	if err := t.follow(ctx); err != nil {
		return fmt.Errorf("reading %s: %w", filter, err)
	}
	return nil
}

// startTail reads a stream. The messages of each filter come in their order; those of different filters may overtake one another.
type startTail struct {
	bus     *Bus
	stream  string
	cursors []*cursor
	take    func(Message) error
	// caughtUp is called once, when everything has been taken that was stored when the tail began.
	caughtUp func() error
	// retryTimeout is how long what fails is tried again; for ever when 0.
	retryTimeout time.Duration
}

// cursor is how far the messages of one filter were read.
type cursor struct {
	filter   string
	lastRead uint64
	// lastNoticed is the highest sequence that a notice told of.
	lastNoticed atomic.Uint64
}

// takeError is an error of the one who takes the messages; it ends the tail.
type takeError struct{ error }

func (t takeError) Unwrap() error { return t.error }

// follow reads what is there, and what comes, until ctx ends.
func (t *startTail) follow(ctx context.Context) error {
	connected := t.bus.nc.StatusChanged(nats.CONNECTED)
	defer t.bus.nc.RemoveStatusListener(connected)
	wake := make(chan struct{}, 1)
	for _, c := range t.cursors {
		sub, err := t.bus.nc.Subscribe(noticePrefix+c.filter, func(msg *nats.Msg) { c.notice(t.stream, msg, wake) })
		if err != nil {
			return err
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	tick := time.NewTicker(tailPoll)
	defer tick.Stop()
	if err := t.readOnce(ctx); err != nil {
		return err
	}
	for {
		look := true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, open := <-connected:
			if !open {
				return nats.ErrConnectionClosed
			}
		case <-tick.C:
		case <-wake:
			look = false
		}
		if err := t.readCursors(ctx, look); err != nil {
			return err
		}
	}
}

// notice takes in that a message was stored. A notice is a hint: anything else about it is not believed.
func (c *cursor) notice(stream string, msg *nats.Msg, wake chan<- struct{}) {
	sequence, err := strconv.ParseUint(lastValue(msg.Header, jetstream.SequenceHeader), 10, 64)
	if err != nil || lastValue(msg.Header, jetstream.StreamHeader) != stream {
		return
	}
	for {
		known := c.lastNoticed.Load()
		if sequence <= known || c.lastNoticed.CompareAndSwap(known, sequence) {
			break
		}
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// readOnce reads what is there, and says when it is read.
func (t *startTail) readOnce(ctx context.Context) error {
	if err := t.readCursors(ctx, true); err != nil {
		return err
	}
	return t.caughtUp()
}

// readCursors takes what is there. With look it asks the stream's leader for the end of what is there, else the notices tell it.
func (t *startTail) readCursors(ctx context.Context, look bool) error {
	for _, c := range t.cursors {
		if err := t.retry(ctx, func() error { return t.advance(ctx, c, look) }); err != nil {
			return err
		}
	}
	return nil
}

// advance takes the messages of a cursor up to the newest that is known of.
func (t *startTail) advance(ctx context.Context, c *cursor, look bool) error {
	goal := c.lastNoticed.Load()
	if look {
		newest, err := t.lastSequence(ctx, c)
		if err != nil {
			return err
		}
		goal = newest
	}
	for more, misses := false, 0; c.lastRead < goal || more; {
		batch, left, err := t.bus.getBatch(ctx, t.stream, getRequest{Sequence: c.lastRead + 1, NextFor: c.filter, Batch: maxBatchMessages, MaxBytes: maxBatchBytes})
		if err != nil {
			return err
		}
		for _, msg := range batch {
			if !t.bus.rejectForged(t.stream, msg) {
				if err := t.take(msg); err != nil {
					return takeError{err}
				}
			}
			c.lastRead = msg.Sequence
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if more = left; len(batch) > 0 {
			misses = 0
			continue
		}
		// Any server that keeps the stream may answer, and this one has not stored the message yet, or nobody has it any more.
		if misses++; misses > 1 {
			if goal, err = t.lastSequence(ctx, c); err != nil {
				return err
			}
		}
		if err := delay.Sleep(ctx, lagBackoff(misses)); err != nil {
			return err
		}
	}
	return nil
}

// lastSequence is the sequence of the newest message that matches, as the stream's leader knows it; 0 when there is none. A stream that ends
// before what was read of it is another one, and so not found.
func (t *startTail) lastSequence(ctx context.Context, c *cursor) (uint64, error) {
	noticed := c.lastNoticed.Load()
	msg, err := t.bus.get(ctx, t.stream, getRequest{LastFor: c.filter})
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, err
	}
	if msg.Sequence < c.lastRead {
		config, err := t.bus.streamInfo(ctx, t.stream)
		if err != nil {
			return 0, err
		}
		if end := config.State.LastSeq; end < c.lastRead {
			return 0, fmt.Errorf("%w: it ends at message %d, and %d had been read", jetstream.ErrStreamNotFound, end, c.lastRead)
		}
	}
	if noticed > msg.Sequence { // the message of that notice is gone, or never was
		c.lastNoticed.CompareAndSwap(noticed, msg.Sequence)
	}
	return msg.Sequence, nil
}

// retry does something until it succeeds, or fails in a way that does not pass.
func (t *startTail) retry(ctx context.Context, do func() error) error {
	var since time.Time
	told := false
	for failures := 0; ; {
		err := do()
		own, mine := errors.AsType[takeError](err)
		switch {
		case err == nil:
			return nil
		case mine:
			return own.error
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, errDirectGetsDisabled):
			return err
		case failures == 0:
			since = time.Now()
		}
		waited := time.Since(since)
		if failures++; failures > 1 && (errors.Is(err, jetstream.ErrStreamNotFound) && waited > missingStreamTimeout || t.retryTimeout > 0 && waited > t.retryTimeout) {
			return err
		}
		if !told && failures > 1 && waited > logTailAfter {
			told = true
			t.bus.log.Warn("bus.tail.waiting", "stream", t.stream, "error", err)
		}
		if err := delay.Sleep(ctx, retryBackoff(failures)); err != nil {
			return err
		}
	}
}

// errDirectGetsDisabled says that a stream was made without allow_direct.
var errDirectGetsDisabled = errors.New("stream does not allow direct gets")

// getBatch asks for messages by one request. left says that there are more. None is no error.
func (b *Bus) getBatch(ctx context.Context, stream string, request getRequest) (messages []Message, left bool, err error) {
	answers := make(chan *nats.Msg, request.Batch+1) // each, and the end
	// An inbox of its own: answers to an earlier request cannot be taken for this one's.
	inbox := b.nc.NewInbox()
	sub, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, false, err
	}
	name := "DIRECT.GET." + stream
	epoch := b.Epoch()
	if err := b.nc.PublishRequest(b.apiSubject(name), inbox, body); err != nil {
		return nil, false, err
	}
	look := time.NewTicker(requestTimeout / 20)
	defer look.Stop()
	for heard := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		case answer := <-answers:
			heard = time.Now()
			msg, found, err := parseDirectGet(answer)
			if err != nil {
				return nil, false, err
			}
			if !found {
				left, err := b.checkBatchEnd(ctx, stream, answer, messages)
				return messages, left, err
			}
			messages = append(messages, msg)
		case <-look.C:
			if b.Epoch() != epoch || !b.nc.IsConnected() {
				return nil, false, nats.ErrConnectionReconnecting
			}
			if time.Since(heard) > requestTimeout {
				return nil, false, fmt.Errorf("asking %s: %w", name, b.permissionError(name, nats.ErrTimeout))
			}
		}
	}
}

// checkBatchEnd reads the answer that ends a batch. Each message names the one before it, so a batch that has lost one on its way is not believed.
func (b *Bus) checkBatchEnd(ctx context.Context, stream string, end *nats.Msg, messages []Message) (left bool, err error) {
	switch status := end.Header.Get("Status"); status {
	case "204":
		before := uint64(0)
		for _, msg := range messages {
			if msg.previous != before {
				return false, fmt.Errorf("message %d follows %d, not %d", msg.Sequence, before, msg.previous)
			}
			before = msg.Sequence
		}
		if sent := lastValue(end.Header, jetstream.LastSequenceHeader); sent != strconv.FormatUint(before, 10) {
			return false, fmt.Errorf("the answer ends with message %d, not %s", before, sent)
		}
		left, err := strconv.ParseUint(lastValue(end.Header, "Nats-Num-Pending"), 10, 64)
		return left > 0 && err == nil, err
	case "404":
		return false, nil
	case "503":
		info, err := b.streamInfo(ctx, stream)
		if err == nil && !info.Config.AllowDirect {
			return false, fmt.Errorf("%w: %s", errDirectGetsDisabled, stream)
		}
		return false, errors.Join(nats.ErrNoResponders, err)
	default:
		return false, fmt.Errorf("direct get of %s: %s %s", stream, status, end.Header.Get("Description"))
	}
}

// streamInfo is what the leader tells of a stream.
func (b *Bus) streamInfo(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	opened, err := b.js.Stream(limited, stream)
	if err != nil {
		return nil, fmt.Errorf("looking into %s: %w", stream, err)
	}
	return opened.CachedInfo(), nil
}

// permissionError is the server's word that a request was not allowed, which it gives apart from any answer, else the error otherwise.
func (b *Bus) permissionError(name string, otherwise error) error {
	refused := b.nc.LastError()
	if errors.Is(refused, nats.ErrPermissionViolation) && strings.Contains(refused.Error(), strconv.Quote(b.apiSubject(name))) {
		return refused
	}
	return otherwise
}

// rejectForged says whether a message is forged, and tells it once.
func (b *Bus) rejectForged(stream string, msg Message) bool {
	if msg.forged && b.logged.add(stream, msg.Sequence) {
		b.log.Warn(eventForged, "stream", stream, "subject", msg.Subject, "sequence", msg.Sequence, "reason", reasonForged)
	}
	return msg.forged
}
