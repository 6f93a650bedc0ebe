package reporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Reconcile makes the buckets collected and failed agree with the ledgers of all runs, and returns
// how many keys it wrote or deleted. No component may work on a run meanwhile. It leaves alone keys
// of unknown runs, of runs whose ledger cannot be decoded, and of newer versions. A key is written
// after its outcome, so a key without an outcome means that the ledger lost the outcome: then
// Reconcile changes nothing and returns integrity.ErrDamaged, unless accept is set; then it deletes
// the key.
func Reconcile(ctx context.Context, b *bus.Bus, log *slog.Logger, accept bool) (changed int, err error) {
	changes, err := compareKeys(ctx, b, log, accept)
	if err != nil {
		return 0, err
	}
	collected := slices.IndexFunc(changes, func(m *nats.Msg) bool {
		return strings.HasPrefix(m.Subject, "$KV."+contract.BucketFailed+".")
	})
	if collected < 0 {
		collected = len(changes)
	}
	for _, part := range [][]*nats.Msg{changes[:collected], changes[collected:]} { // a batch goes to one stream
		if err := b.PublishBatch(ctx, part); err != nil {
			return 0, fmt.Errorf("writing the buckets from the ledger: %w", err)
		}
	}
	return len(changes), nil
}

// CheckKeys returns Reconcile's error for a ledger that lost outcomes, integrity.ErrDamaged. It
// changes nothing.
func CheckKeys(ctx context.Context, b *bus.Bus, log *slog.Logger) error {
	_, err := compareKeys(ctx, b, log, false)
	return err
}

// compareKeys returns the messages that make both buckets agree with the ledgers, those of the
// bucket collected first.
func compareKeys(ctx context.Context, b *bus.Bus, log *slog.Logger, accept bool) (changes []*nats.Msg, err error) {
	r := reconciler{bus: b, log: log, accept: accept, folds: map[contract.RunID]*ledgerFold{},
		want: map[string]map[string]*wantedKey{contract.BucketCollected: {}, contract.BucketFailed: {}},
	}
	if err := r.foldLedgers(ctx); err != nil {
		return nil, fmt.Errorf("comparing the buckets with the ledger: %w", err)
	}
	for _, bucket := range []string{contract.BucketCollected, contract.BucketFailed} {
		found, err := r.changes(ctx, bucket)
		if err != nil {
			return nil, fmt.Errorf("comparing bucket %s with the ledger: %w", bucket, err)
		}
		changes = append(changes, found...)
	}
	return changes, nil
}

// reconciler derives the keys of all runs.
type reconciler struct {
	bus    *bus.Bus
	log    *slog.Logger
	accept bool
	folds  map[contract.RunID]*ledgerFold
	// want is, by bucket and key, what the key must be.
	want map[string]map[string]*wantedKey
}

// wantedKey is the value of a key. found: the bucket has it, or one that is left alone.
type wantedKey struct {
	value contract.Collected
	found bool
}

// ledgerFold is the fold of one run's ledger so far.
type ledgerFold struct {
	ledger     ledger.Reader
	tally      fold.Tally
	unreadable bool
}

func (r *reconciler) foldLedgers(ctx context.Context) error {
	manifests, err := runs.Manifests(ctx, r.bus)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		r.folds[m.RunID] = &ledgerFold{ledger: ledger.Reader{Bus: r.bus, Manifest: m}}
	}
	return r.eachMessage(ctx, contract.StreamOutcomes, r.foldMessage)
}

// eachMessage calls take for all messages that a stream has now. A stream that does not exist has
// none.
func (r *reconciler) eachMessage(ctx context.Context, stream string, take func(bus.Message)) error {
	opened, err := r.bus.JetStream().Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil || opened.CachedInfo().State.Msgs == 0 {
		return err
	}
	// The last message is never deleted, in the ledger as in a bucket.
	return r.bus.ReadRange(ctx, stream, ">", 0, opened.CachedInfo().State.LastSeq, func(msg bus.Message) error {
		take(msg)
		return nil
	})
}

// foldMessage folds one message of the ledger of any run.
func (r *reconciler) foldMessage(msg bus.Message) {
	words := strings.Split(msg.Subject, ".")
	f := r.folds[contract.RunID(words[1])]
	if f == nil || f.unreadable {
		return
	}
	m, err := f.ledger.Decode(msg)
	if err != nil {
		r.log.Error("reporter.ledger.unreadable", "run_id", f.ledger.Manifest.RunID, "error", err)
		f.unreadable = true
		return
	}
	collected, failed := r.want[contract.BucketCollected], r.want[contract.BucketFailed]
	for _, entry := range f.tally.AddMessage(m, f.ledger.Manifest.SafeStopFails) {
		key := entry.CaseID.Key()
		switch {
		case !entry.WritesKey():
		case entry.Outcome == contract.Failed:
			failed[key] = &wantedKey{value: keyValue(f.ledger.Manifest, entry)}
		default:
			collected[key] = &wantedKey{value: keyValue(f.ledger.Manifest, entry)}
			delete(failed, key)
		}
	}
}

// needsNoKey reports whether the key is that of a no-record which must have none, because it is
// unconfirmed or void: earlier versions wrote the key at once.
func (f *ledgerFold) needsNoKey(key string, value contract.Collected) bool {
	id, err := contract.ParseKey(key)
	return err == nil && value.Outcome == contract.NoRecord &&
		(f.tally.Voided[id.Number] || f.tally.Outcomes.Get(id.Number) == contract.NoRecord)
}

// changes returns the messages that make a bucket agree with the ledgers.
func (r *reconciler) changes(ctx context.Context, bucket string) (changes []*nats.Msg, err error) {
	var unexplained []string
	err = r.eachMessage(ctx, "KV_"+bucket, func(msg bus.Message) { // one a key: the bucket has no history
		if msg.Header.Get("KV-Operation") != "" {
			return
		}
		key := strings.TrimPrefix(msg.Subject, "$KV."+bucket+".")
		entry := r.want[bucket][key]
		value, err := runs.Decode[contract.Collected](key, msg.Data)
		if errors.Is(err, contract.ErrMessage) { // of a newer version: the component that needs it reports that
			if entry != nil {
				entry.found = true
			}
			return
		}
		of := r.folds[value.RunID]
		switch {
		case entry != nil:
			entry.found = err == nil && value.Outcome == entry.value.Outcome
		case err == nil && (of == nil || of.unreadable):
		default:
			if err == nil && bucket == contract.BucketCollected && !of.needsNoKey(key, value) {
				unexplained = append(unexplained, key)
			}
			changes = append(changes, &nats.Msg{Subject: msg.Subject,
				Header: nats.Header{"KV-Operation": []string{"DEL"}}})
		}
	})
	if err != nil {
		return nil, err
	}
	for key, entry := range r.want[bucket] {
		if entry.found {
			continue
		}
		msg, err := keyMessage(bucket, key, entry.value)
		if err != nil {
			return nil, err
		}
		changes = append(changes, msg)
	}
	if len(unexplained) > 0 && !r.accept {
		return nil, fmt.Errorf("%w: stream %s: expected the outcomes of %d collected cases, first %s, found none; "+
			"put the newest copy of data_dir back, or accept the store as it is with --repair: what it lost is fetched again",
			integrity.ErrDamaged, contract.StreamOutcomes, len(unexplained), slices.Min(unexplained))
	}
	return changes, nil
}
