package integrity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// recordInterval is how often a changed content of the streams is written.
	recordInterval = time.Second
	// All streams are read again after minScrubInterval without a change, then at twice the
	// interval each time, up to maxScrubInterval: a site may be slow, and a run that waits for a
	// lost message waits forever.
	minScrubInterval, maxScrubInterval = 7 * time.Second, 10 * time.Minute
	// closeTimeout is how long a clean end may take to read all streams once more.
	closeTimeout = 500 * time.Millisecond
)

// Restore writes the copied keys and the salvaged ledger messages into the recreated streams.
func (g *Guard) Restore(ctx context.Context) error {
	for _, name := range g.damaged {
		var msgs []*nats.Msg
		switch kinds()[name] {
		case copied:
			keys := g.keys[name].Keys
			subjects := sortedKeys(keys)
			slices.SortStableFunc(subjects, func(a, b string) int { return int(keys[a].Sequence) - int(keys[b].Sequence) })
			for _, subject := range subjects {
				msgs = append(msgs, &nats.Msg{Subject: subject, Data: keys[subject].Value})
			}
			delete(g.keys, name)
		case ledger:
			msgs = g.salvaged
		case derived, ephemeral: // recreated by their users
		}
		if err := g.Bus.PublishBatch(ctx, msgs); err != nil {
			return fmt.Errorf("restoring stream %s: %w", name, err)
		}
	}
	g.salvaged = nil
	return nil
}

// Record writes the content of the streams, now and at every change, until Close. It calls broken
// once, with an error that wraps ErrDamaged, if a stream loses messages.
func (g *Guard) Record(ctx context.Context, broken func(error)) error {
	if err := g.update(ctx); err != nil {
		return err
	}
	ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.ended = make(chan struct{})
	go func() {
		defer close(g.ended)
		g.recordChanges(ctx, broken)
	}()
	return nil
}

func (g *Guard) recordChanges(ctx context.Context, broken func(error)) {
	changed, quiet := time.Now(), minScrubInterval
	for delay.Sleep(ctx, recordInterval) == nil {
		before := maps.Clone(g.manifest.Streams)
		err := g.update(ctx)
		if errors.Is(err, ErrDamaged) && ctx.Err() == nil {
			g.Log.Error("store.damaged", "error", err)
			broken(err)
			return
		}
		if err != nil && ctx.Err() == nil {
			g.Log.Warn("store.manifest.kept", "error", err)
			continue
		}
		if !sameRunStreams(before, g.manifest.Streams) {
			changed, quiet = time.Now(), minScrubInterval
			continue
		}
		if time.Since(changed) < quiet {
			continue
		}
		changed, quiet = time.Now(), min(2*quiet, maxScrubInterval)
		if err := g.scrub(ctx); err != nil && ctx.Err() == nil {
			g.Log.Error("store.damaged", "error", err)
			broken(err)
			return
		}
	}
}

// sameRunStreams reports whether the streams that the work on runs changes are unchanged.
func sameRunStreams(a, b map[string]Stream) bool {
	for _, name := range []string{contract.StreamOutcomes, contract.StreamAnswers, contract.StreamJobs, contract.StreamBatch, "KV_" + contract.BucketRuns} {
		if a[name].Last != b[name].Last || a[name].Count != b[name].Count {
			return false
		}
	}
	return true
}

// scrub reads all streams and checks that every message can be read.
func (g *Guard) scrub(ctx context.Context) error {
	for _, name := range sortedKeys(kinds()) {
		what := kinds()[name]
		chain, chained := g.chain, g.chainEnd
		now, err := g.scan(ctx, name, what, []uint64{chained})
		g.chain, g.chainEnd = chain, chained
		if errors.Is(err, ErrDamaged) { // a message may have been removed during the scan
			now, err = g.scan(ctx, name, what, []uint64{chained})
			g.chain, g.chainEnd = chain, chained
		}
		switch {
		case err == nil && !now.exists:
			err = fmt.Errorf("%w: stream %s is gone", ErrDamaged, name)
		case err == nil && what == ledger && now.chainAt[chained] != hexHash(chain):
			err = fmt.Errorf("%w: %s: expected hash %.12s at message %d, found %.12s", ErrDamaged, name, hexHash(chain), chained, now.chainAt[chained])
		case err == nil && what == copied:
			if lost := g.compareCopy(name, now); lost != nil {
				err = fmt.Errorf("%w: %s: %w", ErrDamaged, name, lost)
			}
		}
		if errors.Is(err, ErrDamaged) {
			return fmt.Errorf("%w; start the program again: what can be derived is rebuilt then", err)
		}
		if err != nil && ctx.Err() == nil {
			g.Log.Warn("store.unread", "stream", name, "error", err)
		}
	}
	return nil
}

// update brings manifest, keys and fingerprint up to date.
func (g *Guard) update(ctx context.Context) error {
	streams := make(map[string]Stream, len(kinds()))
	for _, name := range sortedKeys(kinds()) {
		stream, err := g.Bus.JetStream().Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("%w: stream %s is gone", ErrDamaged, name)
		}
		if err != nil {
			return fmt.Errorf("reading the state of stream %s: %w", name, err)
		}
		state := stream.CachedInfo().State
		now := Stream{First: state.FirstSeq, Last: state.LastSeq, Count: state.Msgs}
		switch kinds()[name] {
		case ledger:
			if now.Hash, err = g.extendChain(ctx, stream); err != nil {
				return err
			}
		case copied:
			if err := g.copyBucket(ctx, stream); err != nil {
				return err
			}
		case derived, ephemeral:
			was := g.manifest.Streams[name]
			if now.Anchor = was.Anchor; was.Last != now.Last || was.First != now.First {
				if now.Anchor, err = g.anchor(ctx, name, now.Last); err != nil {
					return err
				}
			}
		}
		streams[name] = now
	}
	if maps.Equal(streams, g.manifest.Streams) {
		return nil
	}
	return g.save(streams)
}

// extendChain adds the new messages of the ledger to the chain.
func (g *Guard) extendChain(ctx context.Context, stream jetstream.Stream) (string, error) {
	state, name := stream.CachedInfo().State, stream.CachedInfo().Config.Name
	err := g.readStream(ctx, stream, g.chainEnd, func(msg bus.Message) {
		g.chain, g.chainEnd = extendHash(g.chain, digest(msg)), msg.Sequence
	})
	if state.Msgs == 0 && g.chainEnd == 0 { // an emptied ledger that was accepted
		return hexHash(g.chain), nil
	}
	if err == nil && g.chainEnd != state.LastSeq {
		err = fmt.Errorf("%w: expected messages up to %d, read them up to %d", ErrDamaged, state.LastSeq, g.chainEnd)
	}
	if err != nil {
		return "", fmt.Errorf("reading stream %s: %w", name, err)
	}
	return hexHash(g.chain), nil
}

// copyBucket adds the new messages of a bucket to its copy.
func (g *Guard) copyBucket(ctx context.Context, stream jetstream.Stream) error {
	state, name := stream.CachedInfo().State, stream.CachedInfo().Config.Name
	was := g.keys[name]
	if was.Last == state.LastSeq && was.Keys != nil {
		return nil
	}
	now := bucketCopy{Last: state.LastSeq, Keys: maps.Clone(was.Keys)}
	if now.Keys == nil || state.LastSeq < was.Last {
		was.Last, now.Keys = 0, map[string]keyCopy{}
	}
	changed := was.Keys == nil
	err := g.readStream(ctx, stream, was.Last, func(msg bus.Message) {
		if !isCopied(msg.Subject) {
			return
		}
		changed = true
		if m := newMessage(msg); m.deleted {
			delete(now.Keys, msg.Subject)
		} else {
			now.Keys[msg.Subject] = keyCopy{m.sequence, m.value}
		}
	})
	if err != nil {
		return fmt.Errorf("copying bucket %s: %w", name, err)
	}
	g.keys[name] = now
	if !changed {
		return nil
	}
	return writeJSON(g.Dir, keysName, keysFile{version, g.keys})
}

// Close writes the content of the streams at the end of the work, with the hashes of those that can
// be read within closeTimeout.
func (g *Guard) Close(ctx context.Context) error {
	if g.stop == nil {
		return nil
	}
	g.stop()
	<-g.ended
	if err := g.update(ctx); err != nil {
		return fmt.Errorf("writing the manifest of the store: %w", err)
	}
	streams := maps.Clone(g.manifest.Streams)
	limited, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	for _, name := range sortedKeys(kinds()) {
		if kinds()[name] == ledger {
			continue
		}
		now, err := g.scan(limited, name, kinds()[name], nil)
		if err == nil && now.Last == streams[name].Last && now.Count == streams[name].Count {
			now.Anchor = streams[name].Anchor
			streams[name] = now.Stream
		}
	}
	return g.save(streams)
}
