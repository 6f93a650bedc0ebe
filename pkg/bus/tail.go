package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// noticePrefix precedes the subject of a message in the notice that the server publishes after
	// storing it (republish in the stream definitions).
	noticePrefix = "stored."
	// minBatchMessages is the size of the first batch of a read. Each further one is twice as large, up
	// to maxBatchMessages: for each batch the server counts the messages that follow, which takes
	// milliseconds in a bucket of many keys. A batch ends with the message that exceeds maxBatchBytes,
	// which bounds the memory here and in the server: it keeps a buffer for each message on its way.
	minBatchMessages, maxBatchMessages = 256, 2048
	maxBatchBytes                      = 256 << 10
	// tailPoll is how often a tail reads without a notice: notices can be lost, and a message that
	// expires or is deleted causes none.
	tailPoll = 5 * time.Second
	// scanTimeout is how long a single read is retried.
	scanTimeout = 10 * time.Second
	// missingStreamTimeout is how long "stream not found" is retried: the servers of a cluster
	// report it while they start.
	missingStreamTimeout = 2 * time.Second
	// logTailAfter is how long a tail may fail before that is logged.
	logTailAfter = 10 * time.Second
)

// Tail passes every message of a stream that matches filter and follows sequence after to take, in
// order and once each, and then waits for new ones until ctx ends or take returns an error, which
// it returns. It needs no consumer: the server's notices trigger the reads. It continues after a
// lost connection, a server restart or a change of the leader. It fails if the stream does not
// exist or permissions are missing. Forged messages are skipped.
func (b *Bus) Tail(ctx context.Context, stream, filter string, after uint64, take func(Message) error) error {
	t := &tail{bus: b, stream: stream, take: take, cursors: []*cursor{{filter: filter, lastRead: after}},
		caughtUp: func() error { return nil }}
	if err := t.follow(ctx); err != nil && !errors.Is(err, ErrStop) {
		return fmt.Errorf("reading %s: %w", filter, err)
	}
	return nil
}

// ReadRange passes the messages of a stream that match filter, after one sequence and up to another,
// to take. It waits until a message at the end, or one after it, is stored.
func (b *Bus) ReadRange(
	ctx context.Context, stream, filter string, after, end uint64, take func(Message) error,
) error {
	if end <= after {
		return nil
	}
	return b.Tail(ctx, stream, filter, after, func(msg Message) error {
		if msg.Sequence <= end {
			if err := take(msg); err != nil {
				return err
			}
		}
		if msg.Sequence >= end {
			return ErrStop
		}
		return nil
	})
}

// tail reads a stream. Messages of one filter come in order; those of different filters may not.
type tail struct {
	bus     *Bus
	stream  string
	cursors []*cursor
	take    func(Message) error
	// caughtUp is called once, after the last message that was stored when the tail began.
	caughtUp func() error
	// retryTimeout is how long failures are retried; forever when 0.
	retryTimeout time.Duration
}

// cursor is the read position of one filter.
type cursor struct {
	filter   string
	lastRead uint64
	// lastNoticed is the highest sequence that a notice reported.
	lastNoticed atomic.Uint64
}

// takeError is an error of take, which ends the tail.
type takeError struct{ error }

func (t takeError) Unwrap() error { return t.error }

// follow reads the stored messages and then new ones, until ctx ends.
func (t *tail) follow(ctx context.Context) error {
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
		askLeader := true
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, open := <-connected:
			if !open {
				return nats.ErrConnectionClosed
			}
		case <-tick.C:
		case <-wake:
			askLeader = false
		}
		if err := t.readCursors(ctx, askLeader); err != nil {
			return err
		}
	}
}

// notice records that a message was stored. A notice is only a hint: nothing else in it is trusted.
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

// readOnce reads the stored messages and calls caughtUp.
func (t *tail) readOnce(ctx context.Context) error {
	if err := t.readCursors(ctx, true); err != nil {
		return err
	}
	return t.caughtUp()
}

// readCursors reads the stored messages of every cursor. With askLeader it requests the last
// sequence from the stream's leader, otherwise it relies on the notices.
func (t *tail) readCursors(ctx context.Context, askLeader bool) error {
	for _, c := range t.cursors {
		if err := t.retry(ctx, func() error { return t.advance(ctx, c, askLeader) }); err != nil {
			return err
		}
	}
	return nil
}

// advance reads the messages of a cursor up to the newest known one.
func (t *tail) advance(ctx context.Context, c *cursor, askLeader bool) error {
	goal := c.lastNoticed.Load()
	if askLeader {
		newest, err := t.lastSequence(ctx, c)
		if err != nil {
			return err
		}
		goal = newest
	}
	size := minBatchMessages
	for more, misses := false, 0; c.lastRead < goal || more; {
		batch, left, err := t.bus.getBatch(ctx, t.stream,
			getRequest{Sequence: c.lastRead + 1, NextFor: c.filter, Batch: size, MaxBytes: maxBatchBytes})
		if err != nil {
			return err
		}
		size = min(2*size, maxBatchMessages)
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
		// Any replica may reply: this one lags behind, or the message was removed from the stream.
		if misses++; misses > 1 {
			if goal, err = t.lastSequence(ctx, c); err != nil {
				return err
			}
		}
		lag := delay.Exponential{Base: 4 * time.Millisecond, Factor: 2, Max: 250 * time.Millisecond}
		if err := delay.Sleep(ctx, lag.Before(misses, 1)); err != nil {
			return err
		}
	}
	return nil
}

// lastSequence is the sequence of the newest matching message, as the stream's leader reports it; 0
// if there is none. A stream that ends before the read position was recreated, which counts as not
// found.
func (t *tail) lastSequence(ctx context.Context, c *cursor) (uint64, error) {
	noticed := c.lastNoticed.Load()
	last, err := t.lastOf(ctx, c.filter)
	if err != nil {
		return 0, err
	}
	if last < c.lastRead {
		config, err := t.bus.streamInfo(ctx, t.stream)
		if err != nil {
			return 0, err
		}
		if end := config.State.LastSeq; end < c.lastRead {
			return 0, fmt.Errorf("%w: it ends at message %d, and %d had been read", jetstream.ErrStreamNotFound, end,
				c.lastRead)
		}
	}
	if noticed > last { // that message was removed or never existed
		c.lastNoticed.CompareAndSwap(noticed, last)
	}
	return last, nil
}

// lastOf is the sequence of the newest message that matches filter; 0 if there is none.
func (t *tail) lastOf(ctx context.Context, filter string) (last uint64, err error) {
	msg, err := t.bus.get(ctx, t.stream, getRequest{LastFor: filter})
	switch missing := errors.Is(err, jetstream.ErrMsgNotFound); {
	case !missing:
		return msg.Sequence, err
	case filter != ">":
		return 0, nil
	}
	// For all subjects the server looks only at the last sequence of the stream, and finds nothing if
	// that message was removed (nats-server 2.15.2). For each subject of the stream it searches.
	info, err := t.bus.streamInfo(ctx, t.stream)
	if err != nil || info.State.Msgs == 0 {
		return 0, err
	}
	for _, subject := range info.Config.Subjects {
		one, err := t.lastOf(ctx, subject)
		if err != nil {
			return 0, err
		}
		last = max(last, one)
	}
	return last, nil
}

// retry repeats do until it succeeds or fails permanently.
func (t *tail) retry(ctx context.Context, do func() error) error {
	var since time.Time
	logged := false
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
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrPermissionViolation),
			errors.Is(err, errDirectGetsDisabled):
			return err
		case failures == 0:
			since = time.Now()
		}
		waited := time.Since(since)
		if failures++; failures > 1 && (errors.Is(err, jetstream.ErrStreamNotFound) &&
			waited > missingStreamTimeout || t.retryTimeout > 0 && waited > t.retryTimeout) {
			return err
		}
		if !logged && failures > 1 && waited > logTailAfter {
			logged = true
			t.bus.log.Warn("bus.tail.waiting", "stream", t.stream, "error", err)
		}
		backoff := delay.Exponential{Base: 50 * time.Millisecond, Factor: 2, Max: 2 * time.Second}
		if err := delay.Sleep(ctx, backoff.Before(failures, 1)); err != nil {
			return err
		}
	}
}

// errDirectGetsDisabled reports a stream without allow_direct.
var errDirectGetsDisabled = errors.New("stream does not allow direct gets")

// getBatch reads messages with one direct get. left reports that further messages follow. An empty
// batch is no error.
func (b *Bus) getBatch(ctx context.Context, stream string, request getRequest) (messages []Message, left bool,
	err error) {
	answers := make(chan *nats.Msg, request.Batch+1) // the messages and the end of the batch
	// A new inbox, so that late replies to an earlier request do not mix with these.
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
	poll := time.NewTicker(requestTimeout / 20)
	defer poll.Stop()
	for received := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		case answer := <-answers:
			received = time.Now()
			msg, found, err := parseDirectGet(answer)
			if err != nil {
				return nil, false, err
			}
			if !found {
				left, err := b.checkBatchEnd(ctx, stream, answer, messages)
				return messages, left, err
			}
			messages = append(messages, msg)
		case <-poll.C:
			if b.Epoch() != epoch || !b.nc.IsConnected() {
				return nil, false, nats.ErrConnectionReconnecting
			}
			if time.Since(received) > requestTimeout {
				return nil, false, fmt.Errorf("requesting %s: %w", name, b.permissionError(name, nats.ErrTimeout))
			}
		}
	}
}

// checkBatchEnd checks the reply that ends a batch. Each message names the one before it, so a
// batch that lost a message on the way is detected.
func (b *Bus) checkBatchEnd(ctx context.Context, stream string, end *nats.Msg, messages []Message) (left bool,
	err error) {
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

// streamInfo requests the stream's info from its leader.
func (b *Bus) streamInfo(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	opened, err := b.js.Stream(limited, stream)
	if err != nil {
		return nil, fmt.Errorf("reading the info of stream %s: %w", stream, err)
	}
	return opened.CachedInfo(), nil
}

// permissionError is the server's error that a request was not permitted, which it sends apart from
// replies; otherwise it returns fallback.
func (b *Bus) permissionError(name string, fallback error) error {
	refused := b.nc.LastError()
	if errors.Is(refused, nats.ErrPermissionViolation) &&
		strings.Contains(refused.Error(), strconv.Quote(b.apiSubject(name))) {
		return refused
	}
	return fallback
}

// rejectForged reports whether a message is forged, and logs it once.
func (b *Bus) rejectForged(stream string, msg Message) bool {
	if msg.forged && b.logged.add(stream, msg.Sequence) {
		b.log.Warn(eventForged, "stream", stream, "subject", msg.Subject, "sequence", msg.Sequence, "reason",
			reasonForged)
	}
	return msg.forged
}

// Keys selects keys of a bucket.
type Keys struct {
	Bucket string
	// Filters are key patterns, with * for one token and > for all that follow.
	Filters []string
	// After excludes entries up to this revision.
	After uint64
}

// Watch passes the newest entry of each key to take, deleted ones included, then nil as the end of
// the initial entries, then each change. It ends when ctx ends or take returns an error, which it
// returns, and otherwise as Tail does. The entries of one filter come in order. Keys that no writer
// of the bucket creates are skipped.
func (b *Bus) Watch(ctx context.Context, keys Keys, take func(jetstream.KeyValueEntry) error) error {
	return b.readKeys(ctx, keys, 0, take, (*tail).follow)
}

// Scan passes the newest entry of each existing key to each, in order for each filter, and returns.
func (b *Bus) Scan(ctx context.Context, keys Keys, each func(jetstream.KeyValueEntry) error) error {
	return b.readKeys(ctx, keys, scanTimeout, func(entry jetstream.KeyValueEntry) error {
		if entry == nil || entry.Operation() != jetstream.KeyValuePut {
			return nil
		}
		return each(entry)
	}, (*tail).readOnce)
}

func (b *Bus) readKeys(ctx context.Context, keys Keys, patience time.Duration,
	take func(jetstream.KeyValueEntry) error, run func(*tail, context.Context) error) error {
	stream, prefix := "KV_"+keys.Bucket, "$KV."+keys.Bucket+"."
	// A bucket with a history also delivers older entries of a key; only the newest one counts.
	start := initialEntries{entries: make(map[string]jetstream.KeyValueEntry), take: take}
	t := &tail{bus: b, stream: stream, caughtUp: start.finish, retryTimeout: patience}
	for _, filter := range keys.Filters {
		t.cursors = append(t.cursors, &cursor{filter: prefix + filter, lastRead: keys.After})
	}
	t.take = func(msg Message) error {
		e := newKVEntry(keys.Bucket, msg)
		if !contract.IsKey(keys.Bucket, e.key) {
			if b.logged.add(stream, msg.Sequence) {
				b.log.Warn("bus.key.unknown", "stream", stream, "subject", msg.Subject, "sequence", msg.Sequence,
					"reason", "no writer of the bucket makes such a key")
			}
			return nil
		}
		return start.add(e)
	}
	err := t.retry(ctx, func() error {
		info, err := b.streamInfo(ctx, stream)
		if err == nil {
			start.collecting = info.Config.MaxMsgsPerSubject != 1
		}
		return err
	})
	if err == nil {
		err = run(t, ctx)
	}
	if err != nil && !errors.Is(err, ErrStop) {
		return fmt.Errorf("reading bucket %s: %w", keys.Bucket, err)
	}
	return nil
}

// initialEntries passes entries to take. If collecting, it holds them back until all initial
// entries were read, and then passes only the newest one of each key, ordered by revision.
type initialEntries struct {
	take       func(jetstream.KeyValueEntry) error
	collecting bool
	entries    map[string]jetstream.KeyValueEntry
}

func (n *initialEntries) add(e jetstream.KeyValueEntry) error {
	if !n.collecting {
		return n.take(e)
	}
	n.entries[e.Key()] = e
	return nil
}

func (n *initialEntries) finish() error {
	n.collecting = false
	ordered := slices.SortedFunc(maps.Values(n.entries), func(a, b jetstream.KeyValueEntry) int {
		return cmp.Compare(a.Revision(), b.Revision())
	})
	n.entries = nil
	for _, e := range ordered {
		if err := n.take(e); err != nil {
			return err
		}
	}
	return n.take(nil)
}

// kvEntry implements jetstream.KeyValueEntry.
type kvEntry struct {
	bucket, key string
	value       []byte
	revision    uint64
	created     time.Time
	operation   jetstream.KeyValueOp
}

func (e kvEntry) Bucket() string                  { return e.bucket }
func (e kvEntry) Key() string                     { return e.key }
func (e kvEntry) Value() []byte                   { return e.value }
func (e kvEntry) Revision() uint64                { return e.revision }
func (e kvEntry) Created() time.Time              { return e.created }
func (e kvEntry) Delta() uint64                   { return 0 }
func (e kvEntry) Operation() jetstream.KeyValueOp { return e.operation }

func newKVEntry(bucket string, msg Message) kvEntry {
	e := kvEntry{bucket: bucket, key: strings.TrimPrefix(msg.Subject, "$KV."+bucket+"."), value: msg.Data,
		revision: msg.Sequence, created: msg.StoredAt}
	switch operation, marker := msg.Header.Get("KV-Operation"), msg.Header.Get(jetstream.MarkerReasonHeader); {
	case operation == "DEL", operation == "" && marker == "Remove":
		e.operation = jetstream.KeyValueDelete
	case operation == "PURGE", operation == "" && marker != "":
		e.operation = jetstream.KeyValuePurge
	}
	return e
}

// verifiedBucket is a bucket whose Get skips forged entries.
type verifiedBucket struct {
	jetstream.KeyValue
	bus *Bus
}

// Get reads the newest entry of a key that is not forged.
func (k verifiedBucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	stream, subject := "KV_"+k.Bucket(), "$KV."+k.Bucket()+"."+key
	answer, err := k.bus.request(ctx, "DIRECT.GET."+stream+"."+subject, nil)
	if err != nil {
		return nil, err
	}
	msg, found, err := parseDirectGet(answer)
	switch {
	case err != nil:
		return nil, err
	case !found && answer.Header.Get("Status") == "404":
		return nil, jetstream.ErrKeyNotFound
	case !found:
		return nil, fmt.Errorf("reading %s: %s %s", subject, answer.Header.Get("Status"),
			answer.Header.Get("Description"))
	}
	if k.bus.rejectForged(stream, msg) {
		if msg, err = k.bus.GetLast(ctx, stream, subject); errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, jetstream.ErrKeyNotFound
		}
		if err != nil {
			return nil, err
		}
	}
	e := newKVEntry(k.Bucket(), msg)
	if e.operation != jetstream.KeyValuePut {
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}
