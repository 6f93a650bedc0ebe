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
	// recordInterval is how often what the streams hold is written, when it has changed.
	recordInterval = time.Second
	// minScrubInterval is after how long without a change all streams are read again; each further time it is twice as long, at
	// most quietMost: a site may be slow, and a run that waits for a message which is gone waits for ever.
	minScrubInterval, maxScrubInterval = 7 * time.Second, 10 * time.Minute
	// closeTimeout is how long a clean end may take to read all streams once more.
	closeTimeout = 500 * time.Millisecond
)

// Restore writes the copied keys and what was salvaged of the ledger into streams that were made anew.
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
		case derived, ephemeral: // made again by others
		}
		if err := g.Bus.PublishBatch(ctx, msgs); err != nil {
			return fmt.Errorf("restoring stream %s: %w", name, err)
		}
	}
	g.salvaged = nil
	return nil
}

// Record writes what the streams hold, now and whenever it has changed, until Close. broken is called once, with ErrDamaged,
// when a stream loses messages while nobody gets any.
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

// sameRunStreams says whether nothing happened in the streams in which the work on runs is seen.
func sameRunStreams(a, b map[string]Stream) bool {
	for _, name := range []string{contract.StreamOutcomes, contract.StreamAnswers, contract.StreamJobs, contract.StreamBatch, "KV_" + contract.BucketRuns} {
		if a[name].Last != b[name].Last || a[name].Count != b[name].Count {
			return false
		}
	}
	return true
}

// scrub reads all streams and looks whether all can be read that is to be there.
func (g *Guard) scrub(ctx context.Context) error {
	for _, name := range sortedKeys(kinds()) {
		what := kinds()[name]
		chain, chained := g.chain, g.chainEnd
		now, err := g.scan(ctx, name, what, []uint64{chained})
		g.chain, g.chainEnd = chain, chained
		if errors.Is(err, ErrDamaged) { // it may have lost a message in the middle of the look
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

// update brings manifest, keys and witness up to date.
func (g *Guard) update(ctx context.Context) error {
	streams := make(map[string]Stream, len(kinds()))
	for _, name := range sortedKeys(kinds()) {
		stream, err := g.Bus.JetStream().Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("%w: stream %s is gone", ErrDamaged, name)
		}
		if err != nil {
			return fmt.Errorf("looking at stream %s: %w", name, err)
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

// extendChain takes what the ledger has got since into the chain.
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

// copyBucket takes what a bucket has got since into its copy.
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

// Close writes what the streams hold at the end of the work, with the hashes of all of them as far as that does not take long.
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
