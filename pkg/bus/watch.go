package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

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

func (b *Bus) readKeys(ctx context.Context, keys Keys, patience time.Duration, take func(jetstream.KeyValueEntry) error, run func(*tail, context.Context) error) error {
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
				b.log.Warn("bus.key.unknown", "stream", stream, "subject", msg.Subject, "sequence", msg.Sequence, "reason", "no writer of the bucket makes such a key")
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
	if err != nil {
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
	e := kvEntry{bucket: bucket, key: strings.TrimPrefix(msg.Subject, "$KV."+bucket+"."), value: msg.Data, revision: msg.Sequence, created: msg.StoredAt}
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
		return nil, fmt.Errorf("reading %s: %s %s", subject, answer.Header.Get("Status"), answer.Header.Get("Description"))
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
