package integrity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	// closeTimeout is how long a clean end may take to read the changed streams once more. Without
	// their hashes the next start compares the buckets with the ledger, which takes ten times as long.
	closeTimeout = 3 * time.Second
)

// Restore writes the copied keys and the salvaged ledger messages into the recreated streams.
func (g *Guard) Restore(ctx context.Context) error {
	for _, name := range g.damaged {
		var msgs []*nats.Msg
		switch kinds()[name] {
		case copied:
			keys := g.keys[name].Keys
			subjects := sortedKeys(keys)
			slices.SortStableFunc(subjects, func(a,
				b string) int {
				return int(keys[a].Sequence) - int(keys[b].Sequence)
			})
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
	for _, name := range []string{contract.StreamOutcomes, contract.StreamAnswers, contract.StreamJobs,
		contract.StreamBatch, "KV_" + contract.BucketRuns} {
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
			err = fmt.Errorf("%w: %s: expected hash %.12s at message %d, found %.12s", ErrDamaged, name,
				hexHash(chain), chained, now.chainAt[chained])
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
		now := g.scanned[name]
		if !now.sameMessages(streams[name]) {
			read, err := g.scan(limited, name, kinds()[name], nil)
			if err != nil || !read.sameMessages(streams[name]) {
				continue
			}
			now = g.addBlocks(limited, name, read.Stream)
		}
		now.Anchor = streams[name].Anchor
		streams[name] = now
	}
	return g.save(streams)
}

// sameMessages reports whether two descriptions of a stream are of the same messages: a message that
// comes changes Last, and one that goes changes Count.
func (s Stream) sameMessages(o Stream) bool {
	return s.First == o.First && s.Last == o.Last && s.Count == o.Count
}

// readTimeout is how long a reader waits for a message before it reads once more and then counts
// the rest as lost.
const readTimeout = 5 * time.Second

// scan reads a complete stream. points are the sequences at which the hash of the chain is wanted.
// A message that the stream counts and that cannot be read is ErrDamaged.
func (g *Guard) scan(ctx context.Context, name string, what kind, points []uint64) (contents, error) {
	now := contents{chainAt: map[uint64]string{0: hexHash([sha256.Size]byte{})}, newest: map[string]message{}}
	stream, err := g.Bus.JetStream().Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return now, nil
	}
	if err != nil {
		return now, err
	}
	state := stream.CachedInfo().State
	now.exists, now.First, now.Last, now.Count = true, state.FirstSeq, state.LastSeq, state.Msgs
	var count uint64
	var sum [sha256.Size]byte
	take := func(msg bus.Message) {
		count++
		d := digest(msg)
		switch what {
		case ledger:
			sum = extendHash(sum, d)
			if slices.Contains(points, msg.Sequence) {
				now.chainAt[msg.Sequence] = hexHash(sum)
			}
		default:
			for i := range sum {
				sum[i] ^= d[i]
			}
		}
		if what == copied {
			now.newest[msg.Subject] = newMessage(msg)
		}
	}
	err = g.readStream(ctx, stream, 0, take)
	now.Hash = hexHash(sum)
	if what == ledger {
		g.chain, g.chainEnd = sum, state.LastSeq
	}
	if err != nil && ctx.Err() != nil {
		return now, err
	}
	if err != nil || count < state.Msgs {
		now.Count = count
		return now, fmt.Errorf("%w: %s: expected %d messages up to %d, %d of them can be read", ErrDamaged, name,
			state.Msgs, state.LastSeq, count)
	}
	return now, nil
}

// readStream passes the messages of a stream after a sequence to take, up to the last sequence of
// the stream's state.
func (g *Guard) readStream(ctx context.Context, stream jetstream.Stream, after uint64, take func(bus.Message)) error {
	info := stream.CachedInfo()
	state, name := info.State, info.Config.Name
	if state.Msgs == 0 || state.LastSeq <= after {
		return nil
	}
	var count uint64
	each := func(msg bus.Message) error {
		if msg.Sequence > state.LastSeq {
			return bus.ErrStop
		}
		take(msg)
		after = msg.Sequence
		if count++; count == state.Msgs || after == state.LastSeq {
			return bus.ErrStop
		}
		return nil
	}
	if !info.Config.AllowDirect { // a work queue, or a store of an earlier version
		for err := error(nil); err == nil; {
			msg, lost := g.Bus.GetNext(ctx, name, ">", after+1)
			if err = lost; err == nil {
				err = each(msg)
			}
			if errors.Is(err, bus.ErrStop) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	var err error
	for range 2 {
		limited, cancel := context.WithCancel(ctx)
		waiting := time.AfterFunc(readTimeout, cancel)
		err = g.Bus.Tail(limited, name, ">", after, func(msg bus.Message) error {
			waiting.Reset(readTimeout)
			return each(msg)
		})
		waiting.Stop()
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return err
}

// anchor is the digest of the message at a sequence; empty if there is none. Answers are not read:
// they may be large and stay only for a moment.
func (g *Guard) anchor(ctx context.Context, name string, sequence uint64) (string, error) {
	if name == contract.StreamAnswers || sequence == 0 {
		return "", nil
	}
	msg, err := g.Bus.Get(ctx, name, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return hexHash(digest(msg)), nil
}

// extendHash is the hash chain with one more message.
func extendHash(chain, digest [sha256.Size]byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(chain[:], digest[:]))
}

func newMessage(msg bus.Message) message {
	return message{sequence: msg.Sequence, deleted: msg.Header.Get("KV-Operation") != "", value: msg.Data}
}

// isCopied reports whether a key of a copied bucket is copied. Checkpoints of runs are not: they
// are large and can be folded from the ledger.
func isCopied(subject string) bool {
	return !strings.HasPrefix(subject, "$KV."+contract.BucketRuns+".") || !strings.HasSuffix(subject, ".checkpoint")
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// digest is the hash of one message, including its sequence and time.
func digest(msg bus.Message) [sha256.Size]byte {
	h := sha256.New()
	number := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	text := func(s string) { number(uint64(len(s))); _, _ = h.Write([]byte(s)) }
	number(msg.Sequence)
	number(uint64(msg.StoredAt.UnixNano()))
	text(msg.Subject)
	for _, name := range sortedKeys(msg.Header) {
		if strings.HasPrefix(name, "Nats-") { // added by the server, depending on the API used
			continue
		}
		text(name)
		for _, value := range msg.Header[name] {
			text(value)
		}
	}
	number(uint64(len(msg.Data)))
	_, _ = h.Write(msg.Data)
	return [sha256.Size]byte(h.Sum(nil))
}

func (g *Guard) load() error {
	err := readJSON(filepath.Join(g.Dir, manifestName), &g.manifest)
	if err == nil && g.manifest.Version != version {
		return fmt.Errorf("%w: %s is of version %d, this program reads %d", ErrDamaged,
			filepath.Join(g.Dir, manifestName), g.manifest.Version, version)
	}
	if err != nil {
		g.manifest = Manifest{}
		if err := g.replaceUnreadable(manifestName, err); err != nil {
			return err
		}
	}
	var file keysFile
	err = readJSON(filepath.Join(g.Dir, keysName), &file)
	if err == nil && file.Version == version {
		g.keys = file.Buckets
	} else if err != nil || file.Version > version {
		return g.replaceUnreadable(keysName, err)
	}
	return nil
}

// replaceUnreadable reports a file that is itself damaged; it is then written again from the store.
func (g *Guard) replaceUnreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if g.ReadOnly {
		return readOnlyError(fmt.Errorf("%s could not be read", filepath.Join(g.Dir, name)))
	}
	g.noteRestored("%s could not be read and is written again from the store as it is", filepath.Join(g.Dir, name))
	g.needsVerify = true
	return nil
}

// save writes the manifest, and the fingerprint if there is an output folder.
func (g *Guard) save(streams map[string]Stream) error {
	g.manifest.Version, g.manifest.WrittenAt, g.manifest.Streams = version, time.Now().UTC(), streams
	if err := writeJSON(g.Dir, manifestName, g.manifest); err != nil {
		return err
	}
	if _, err := os.Stat(g.Output); g.Output == "" || err != nil {
		return nil
	}
	own := ledgerFingerprint{Version: version, Store: g.manifest.Store, Ledger: streams[contract.StreamOutcomes]}
	_, err := os.Stat(filepath.Join(g.Output, fingerprintName(own.Store)))
	if err != nil && (own.Ledger.Last == 0 || g.AnyOutput) { // nothing that could be lost, or not the output of the store
		return nil
	}
	if err := writeJSON(g.Output, fingerprintName(own.Store),
		own); err != nil { // the writer of the output reports the cause
		g.Log.Warn("store.fingerprint.unwritten", "folder", g.Output, "error", err)
	}
	return nil
}

// fingerprints reads the ledger fingerprints in the output folder: that of this store, and all.
func (g *Guard) fingerprints() (own *ledgerFingerprint, all []ledgerFingerprint, err error) {
	names, err := filepath.Glob(filepath.Join(g.Output, fingerprintName("*")))
	if err != nil {
		return nil, nil, fmt.Errorf("listing the ledger fingerprints in %s: %w", g.Output, err)
	}
	for _, name := range names {
		var w ledgerFingerprint
		if readJSON(name, &w) != nil || w.Version != version {
			continue // an unreadable fingerprint proves nothing
		}
		all = append(all, w)
		if w.Store == g.manifest.Store {
			own = &w
		}
	}
	return own, all, nil
}

func fingerprintName(store string) string { return ".fct-store-" + store + ".json" }

func readJSON(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON replaces a file atomically.
func writeJSON(dir, name string, value any) (err error) {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	temp := filepath.Join(dir, ".fct-tmp-"+name)
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temp, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}
