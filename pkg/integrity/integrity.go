// Package integrity detects that the store of an embedded server was damaged in place: a stream
// lost messages, was rolled back, or was replaced. It writes what the streams hold to files next to
// the store (manifest.json, keys.json) and, for the ledger, into the output folder too, at most
// every second and at every end. Opening a store compares it with these files. They are a lower
// bound: a process that was killed between a publish and the next write is no damage.
package integrity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// ErrDamaged reports that the store lost what cannot be derived from anything else, or that it is
// older than it was. The program then exits with 6.
var ErrDamaged = errors.New("store damaged")

const (
	manifestName = "manifest.json"
	keysName     = "keys.json"
	// version is the version of all these files.
	version = 1
)

// kind says how a damaged stream is restored.
type kind int

const (
	// ledger cannot be derived: the operator decides.
	ledger kind = iota
	// copied is a bucket that keys.json has a copy of.
	copied
	// derived is a bucket that can be folded from the ledger.
	derived
	// ephemeral holds what its users create again.
	ephemeral
)

// kinds returns the checked streams.
func kinds() map[string]kind {
	bucket := func(name string) string { return "KV_" + name }
	return map[string]kind{
		contract.StreamOutcomes:     ledger,
		bucket(contract.BucketRuns): copied, bucket(contract.BucketSites): copied,
		bucket(contract.BucketCollected): derived, bucket(contract.BucketFailed): derived,
		contract.StreamJobs: ephemeral, contract.StreamAnswers: ephemeral, contract.StreamBatch: ephemeral,
		contract.StreamEvents: ephemeral, contract.StreamPace: ephemeral, bucket(contract.BucketFetchers): ephemeral, bucket(contract.BucketHeld): ephemeral,
	}
}

// Stream describes the content of a stream.
type Stream struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Count uint64 `json:"count"`
	// Hash is, for the ledger, the hash chain over all its messages; for other streams the XOR of
	// the digests of their messages, which only a clean end writes.
	Hash string `json:"hash,omitempty"`
	// Anchor is the digest of the message at Last, for streams that have no hash after an unclean
	// end: if there is a message at that sequence, it must be that one.
	Anchor string `json:"anchor,omitempty"`
	// State is what else the server says of the stream, and Blocks the hash of the files that hold
	// its messages, at a clean end. While all are the same, the messages are those of Hash.
	State  string `json:"state,omitempty"`
	Blocks string `json:"blocks,omitempty"`
}

// Manifest describes the content of a store when it was last written.
type Manifest struct {
	Version int `json:"v"`
	// Store identifies the store for its lifetime.
	Store     string            `json:"store"`
	WrittenAt time.Time         `json:"written_at"`
	Streams   map[string]Stream `json:"streams"`
}

// ledgerFingerprint describes a store's ledger in the output folder: when a complete store is put
// back, its manifest is too, and only this file shows that it is older.
type ledgerFingerprint struct {
	Version int    `json:"v"`
	Store   string `json:"store"`
	Ledger  Stream `json:"ledger"`
}

// keyCopy is the newest value of a key in a copied bucket.
type keyCopy struct {
	Sequence uint64 `json:"seq"`
	Value    []byte `json:"value"`
}

// bucketCopy holds the keys of a copied bucket by subject, when Last was its last sequence.
type bucketCopy struct {
	Last uint64             `json:"last"`
	Keys map[string]keyCopy `json:"keys"`
}

// keysFile is the content of keys.json.
type keysFile struct {
	Version int                   `json:"v"`
	Buckets map[string]bucketCopy `json:"buckets"`
}

// Options of a Guard.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Dir is the folder of the store and its manifest; Output is the folder of the ledger
	// fingerprints, which need not exist.
	Dir, Output string
	// Repair accepts a changed ledger: what it lost is fetched again.
	Repair bool
	// AnyOutput says that the caller writes no files: an Output of another store is ignored.
	AnyOutput bool
	// ReadOnly makes Check change nothing: what would be restored is ErrDamaged too.
	ReadOnly bool
}

// Guard compares one store with its manifest and keeps the manifest up to date.
type Guard struct {
	Options
	manifest Manifest
	keys     map[string]bucketCopy
	// chain is the hash of the ledger up to sequence chainEnd.
	chain    [sha256.Size]byte
	chainEnd uint64
	// scanned has the streams that Check read to their end, with their hashes.
	scanned map[string]Stream
	// damaged lists the streams to recreate; restored describes what was done, for people.
	damaged  []string
	restored []string
	// needsVerify: the derived buckets have to be compared with the ledger.
	needsVerify bool
	// acceptedDamage: a changed ledger was accepted.
	acceptedDamage bool
	// salvaged holds the readable messages of such a ledger.
	salvaged []*nats.Msg
	stop     context.CancelFunc
	ended    chan struct{}
}

// Restored describes what was rebuilt when the store was opened, a line each.
func (g *Guard) Restored() []string { return g.restored }

// NeedsVerify reports whether the buckets that are derived from the ledger have to be compared with
// it.
func (g *Guard) NeedsVerify() bool { return g.needsVerify }

// AcceptedDamage reports whether a changed ledger was accepted: unfinished runs cannot resume on
// it.
func (g *Guard) AcceptedDamage() bool { return g.acceptedDamage }

// Check compares the streams with the manifest, before any stream is created. It removes streams
// that Restore and the services can recreate; otherwise it returns an error that wraps ErrDamaged
// and names the stream, what was expected and what was found.
func Check(ctx context.Context, opts Options) (*Guard, error) {
	g := &Guard{Options: opts, keys: map[string]bucketCopy{}, scanned: map[string]Stream{}}
	if err := g.load(); err != nil {
		return nil, err
	}
	fresh := g.manifest.Store == ""
	if fresh {
		g.manifest = Manifest{Store: nuid.Next(), Streams: map[string]Stream{}}
	}
	for _, name := range sortedKeys(kinds()) {
		if err := g.check(ctx, name, kinds()[name]); err != nil {
			return nil, fmt.Errorf("checking stream %s: %w", name, err)
		}
	}
	return g, nil
}

func (g *Guard) noteRestored(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	g.Log.Warn("store.rebuilt", "what", line)
	g.restored = append(g.restored, line)
}

// contents describes what a stream holds now.
type contents struct {
	Stream
	exists bool
	// chainAt has the hashes of the chain at the requested sequences.
	chainAt map[uint64]string
	// newest has the newest message of each subject.
	newest map[string]message
}

type message struct {
	sequence uint64
	deleted  bool
	value    []byte
}

func (g *Guard) check(ctx context.Context, name string, what kind) error {
	was, known := g.manifest.Streams[name]
	if what == ledger {
		return g.checkLedger(ctx, name, was)
	}
	if what != copied { // the newest values of a copied bucket are needed
		same, err := g.unchanged(ctx, name, was)
		if err != nil {
			return err
		}
		if same {
			g.scanned[name] = was
			return nil
		}
	}
	now, err := g.scan(ctx, name, what, nil)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	wrong := err
	if wrong == nil && known {
		wrong = compareStream(was, now, what)
	}
	if wrong == nil && was.Anchor != "" && now.Last >= was.Last {
		wrong = g.checkAnchor(ctx, name, was)
	}
	if wrong == nil && what == copied {
		wrong = g.compareCopy(name, now)
	}
	if was.Hash == "" || now.Last > was.Last { // it was not read to its end
		g.needsVerify = g.needsVerify || what == derived
	}
	if wrong == nil {
		if now.exists && !g.ReadOnly {
			g.scanned[name] = g.addBlocks(ctx, name, now.Stream)
		}
		return nil
	}
	if g.ReadOnly {
		return readOnlyError(wrong)
	}
	g.noteRestored("%s: %v; %s", name, wrong, remedy(name, what))
	g.needsVerify = g.needsVerify || what == derived
	g.damaged = append(g.damaged, name)
	delete(g.manifest.Streams, name)
	if now.exists {
		if err := g.Bus.JetStream().DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("recreating it: %w", err)
		}
	}
	return nil
}

// unchanged reports whether a stream has the messages that it had at a clean end, without reading
// them one by one: its files are the same, and the server found the same in them.
func (g *Guard) unchanged(ctx context.Context, name string, was Stream) (bool, error) {
	if was.Hash == "" || was.Blocks == "" {
		return false, nil
	}
	now, err := g.describe(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return now.sameMessages(was) && now.State == was.State && now.Blocks == was.Blocks, nil
}

// addBlocks adds State and Blocks to a stream that was just read, so that the next start need not read
// it. Without them it does.
func (g *Guard) addBlocks(ctx context.Context, name string, read Stream) Stream {
	if what := kinds()[name]; what == copied || what == ledger { // they are read at every start
		return read
	}
	if now, err := g.describe(ctx, name); err == nil && now.sameMessages(read) {
		read.State, read.Blocks = now.State, now.Blocks
	}
	return read
}

// describe returns a stream without the hashes that need its messages.
func (g *Guard) describe(ctx context.Context, name string) (Stream, error) {
	stream, err := g.Bus.JetStream().Stream(ctx, name)
	if err != nil {
		return Stream{}, fmt.Errorf("reading the state of stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	state := info.State
	now := Stream{First: state.FirstSeq, Last: state.LastSeq, Count: state.Msgs}
	now.State = fmt.Sprintf("created=%s bytes=%d subjects=%d deleted=%d", info.Created.UTC().Format(time.RFC3339Nano),
		state.Bytes, state.NumSubjects, state.NumDeleted)
	now.Blocks, err = natsd.BlocksDigest(ctx, g.Dir, name)
	return now, err
}

// readOnlyError is the error for damage that could be restored if the store could be changed.
func readOnlyError(wrong error) error {
	if !errors.Is(wrong, ErrDamaged) {
		wrong = fmt.Errorf("%w: %w", ErrDamaged, wrong)
	}
	return fmt.Errorf(`%w; "fct-scraper status" restores it`, wrong)
}

// remedy describes how a damaged stream is restored.
func remedy(name string, what kind) string {
	switch {
	case what == copied:
		return "written again from " + keysName
	case what == derived:
		return "written again from the ledger"
	case name == contract.StreamJobs:
		return "recreated; jobs without an outcome are published again"
	case name == contract.StreamAnswers:
		return "recreated; numbers whose answers waited in it are fetched again"
	case name == contract.StreamBatch:
		return "recreated; commands that were not carried out have to be sent again"
	default:
		return "recreated"
	}
}

// compareStream returns why a stream cannot have developed from its recorded state. Messages leave
// an ephemeral stream without a new one; a bucket never shrinks.
func compareStream(was Stream, now contents, what kind) error {
	switch {
	case now.Last < was.Last && !now.exists:
		return fmt.Errorf("expected %d messages up to %d, found no stream", was.Count, was.Last)
	case now.Last < was.Last:
		return fmt.Errorf("expected messages up to %d, found them up to %d", was.Last, now.Last)
	case now.Last > was.Last || what == ephemeral && now.Count < was.Count:
		return nil
	case was.Hash != "" && (now.Count != was.Count || now.Hash != was.Hash):
		return fmt.Errorf("expected %d messages up to %d with hash %.12s, found %d with hash %.12s", was.Count, was.Last, was.Hash, now.Count, now.Hash)
	case now.Count != was.Count:
		return fmt.Errorf("expected %d messages up to %d, found %d", was.Count, was.Last, now.Count)
	default:
		return nil
	}
}

// checkAnchor returns an error if the message at the recorded last sequence is another one now.
func (g *Guard) checkAnchor(ctx context.Context, name string, was Stream) error {
	now, err := g.anchor(ctx, name, was.Last)
	if err != nil || now == "" || now == was.Anchor { // it was removed from the stream, or is the same
		return nil
	}
	return fmt.Errorf("expected digest %.12s of message %d, found %.12s", was.Anchor, was.Last, now)
}

// compareCopy returns why a copied bucket cannot have developed from its copy.
func (g *Guard) compareCopy(name string, now contents) error {
	was, known := g.keys[name]
	if !known {
		return nil
	}
	if now.Last < was.Last {
		return fmt.Errorf("expected messages up to %d, found them up to %d", was.Last, now.Last)
	}
	for _, subject := range sortedKeys(was.Keys) {
		have, there := now.newest[subject]
		if !there || have.sequence < was.Keys[subject].Sequence || have.sequence == was.Keys[subject].Sequence && string(have.value) != string(was.Keys[subject].Value) {
			return fmt.Errorf("expected %s as of message %d, found it as of %d", subject, was.Keys[subject].Sequence, have.sequence)
		}
	}
	for _, subject := range sortedKeys(now.newest) {
		if _, known := was.Keys[subject]; !known && isCopied(subject) && now.newest[subject].sequence <= was.Last && !now.newest[subject].deleted {
			return fmt.Errorf("found %s as of message %d, which was not there", subject, now.newest[subject].sequence)
		}
	}
	return nil
}

// checkLedger refuses a ledger that is not a continuation of the recorded one.
func (g *Guard) checkLedger(ctx context.Context, name string, was Stream) error {
	own, others, err := g.fingerprints()
	if err != nil {
		return err
	}
	points := []uint64{was.Last}
	for _, w := range others {
		points = append(points, w.Ledger.Last)
	}
	now, unreadable := g.scan(ctx, name, ledger, points)
	if unreadable != nil && !errors.Is(unreadable, ErrDamaged) {
		return unreadable
	}
	wrong := unreadable
	const remedy = "put the newest copy of data_dir back, or accept the store as it is with --repair: what it lost is fetched again"
	if was.Last > 0 && wrong == nil {
		wrong = compareChain(was, now)
	}
	if wrong == nil && own != nil {
		if late := compareChain(own.Ledger, now); late != nil {
			wrong = fmt.Errorf("the store is older than the files in %s: %w", g.Output, late)
		}
	}
	matches := func(w ledgerFingerprint) bool { return w.Ledger.Last > 0 && compareChain(w.Ledger, now) == nil }
	if wrong == nil && own == nil && now.Last > 0 && len(others) > 0 && !g.AnyOutput && !slices.ContainsFunc(others, matches) {
		wrong = fmt.Errorf("the files in %s are of another store (%s), expected its ledger; give the output of this store", g.Output, others[0].Store)
	}
	if wrong == nil && own == nil && now.Last == 0 && len(others) > 0 && !g.AnyOutput && !g.ReadOnly {
		g.noteRestored("the store is new, the files in %s are of another one (%s): what that one collected is fetched again", g.Output, others[0].Store)
	}
	if wrong == nil {
		return nil
	}
	if !g.Repair {
		return fmt.Errorf("%w: %w; %s", ErrDamaged, wrong, remedy)
	}
	g.noteRestored("%s: %v; accepted as it is", name, wrong)
	g.acceptedDamage, g.needsVerify = true, true
	delete(g.manifest.Streams, name)
	g.chain, g.chainEnd = [sha256.Size]byte{}, 0
	if unreadable == nil {
		return nil
	}
	g.damaged = append(g.damaged, name)
	return g.salvage(ctx, name, now)
}

// salvage reads the readable messages of a damaged stream and deletes it; Restore writes them
// again.
func (g *Guard) salvage(ctx context.Context, name string, now contents) error {
	stream, err := g.Bus.JetStream().Stream(ctx, name)
	if err != nil {
		return err
	}
	for sequence := max(1, now.First); sequence <= now.Last; sequence++ {
		msg, err := stream.GetMsg(ctx, sequence)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			continue // this is what is lost
		}
		again := &nats.Msg{Subject: msg.Subject, Header: nats.Header{}, Data: msg.Data}
		for field, values := range msg.Header {
			if !strings.HasPrefix(field, "Nats-") {
				again.Header[field] = values
			}
		}
		g.salvaged = append(g.salvaged, again)
	}
	return g.Bus.JetStream().DeleteStream(ctx, name)
}

// compareChain returns why a ledger is not a continuation of its recorded state.
func compareChain(was Stream, now contents) error {
	switch {
	case now.Last < was.Last:
		return fmt.Errorf("expected messages up to %d, found them up to %d", was.Last, now.Last)
	case was.Count > 0 && now.chainAt[was.Last] != was.Hash:
		return fmt.Errorf("expected hash %.12s at message %d, found %.12s", was.Hash, was.Last, now.chainAt[was.Last])
	default:
		return nil
	}
}

func hexHash(hash [sha256.Size]byte) string { return hex.EncodeToString(hash[:]) }
