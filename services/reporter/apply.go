package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/services/reporter/verify"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// writeInterval is the shortest time between the beginnings of two writes: the outcomes of a fast run
// share their syncs, and a single outcome of a slow one is written at once.
const writeInterval = 100 * time.Millisecond

// unwritten is what was folded and is not durable yet.
type unwritten struct {
	entries []fold.Counted
	// messages are the messages of the entries.
	messages []ledger.Message
	// size is how many bytes the messages have; 0 if all is written.
	size int
	// writtenAt is when the last write began.
	writtenAt time.Time
}

// fold folds a batch. A safe stop is written at once, so that it takes effect quickly.
func (w *worker) fold(ctx context.Context, batch []ledger.Message) error {
	before := len(w.unwritten.entries)
	for _, m := range batch {
		w.unwritten.entries = append(w.unwritten.entries, w.tally.AddMessage(m, w.manifest.SafeStopFails)...)
		w.unwritten.messages = append(w.unwritten.messages, m)
		w.unwritten.size += m.Size
		if m.Sequence <= w.before.Until {
			w.before.Requests = max(w.before.Requests, w.tally.Requests)
		}
	}
	if w.tally.Sequence > w.canary.foldUntil { // the ledger of this round, as it grows
		w.observed.add(time.Now(), w.unwritten.entries[before:])
	}
	if err := w.beforeStep("halt"); err != nil {
		return err
	}
	return w.safeStop(ctx)
}

// writeIfDue writes what was folded, unless the last write began less than writeInterval ago and the
// memory permits to wait.
func (w *worker) writeIfDue(ctx context.Context) error {
	if u := w.unwritten; u.size < maxBatchBytes && time.Since(u.writtenAt) < writeInterval {
		return nil
	}
	return w.write(ctx)
}

// write makes what was folded durable, in this order: files, lines, keys, checkpoint. After a crash
// between two steps the same entries are folded again from the old checkpoint; every step is
// idempotent.
func (w *worker) write(ctx context.Context) error {
	if w.unwritten.size == 0 {
		return nil
	}
	fresh, messages := w.unwritten.entries, w.unwritten.messages
	w.unwritten = unwritten{writtenAt: time.Now()}
	steps := []struct {
		name string
		do   func() error
	}{
		{"files", func() error { return w.writeFiles(fresh) }},
		{"keys", func() error { return w.writeKeys(ctx, fresh) }},
		{"checkpoint", func() error { return w.save(ctx) }},
	}
	for _, step := range steps {
		if err := w.beforeStep(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	for _, entry := range fresh {
		if entry.EndsJob() {
			w.Logger.Info("batch.job.end", "run_id", w.manifest.RunID, "case_id", entry.CaseID,
				"outcome", entry.Outcome, "attempts", entry.Attempts, "duration_seconds", entry.JobSeconds)
		}
	}
	for _, m := range messages {
		m.Release()
	}
	return w.beforeStep("end")
}

// beforeStep is called before each step of a fold and a write. It fails when the lease is lost.
func (w *worker) beforeStep(name string) error {
	if err := w.stepHook(name); err != nil {
		return err
	}
	return w.lease.check()
}

// writeFiles writes records and raw answers, then the lines of the attempts file. The lines are
// durable before the checkpoint records their end.
func (w *worker) writeFiles(fresh []fold.Counted) error {
	if len(fresh) == 0 {
		return nil
	}
	d, err := files.Derive(w.manifest, fresh, func(contract.CaseID) bool { return true })
	if err != nil {
		return err
	}
	if err := w.Store.WithFence(w.lease.check).WriteAll(files.Current(d.Files)); err != nil {
		return err
	}
	if err := w.beforeStep("lines"); err != nil {
		return err
	}
	if err := w.attemptsFile.Append(d.Lines); err != nil {
		return err
	}
	return w.attemptsFile.Sync()
}

// writeKeys writes the buckets collected, which later runs skip, and failed, which they fetch
// first. A no-record gets its key when it is confirmed.
func (w *worker) writeKeys(ctx context.Context, fresh []fold.Counted) error {
	var collected, failed []*nats.Msg
	for _, entry := range fresh {
		number := entry.CaseID.Number
		switch {
		case !entry.WritesKey():
		case entry.Outcome == contract.Failed:
			msg, err := keyMessage(contract.BucketFailed, entry.CaseID.Key(), keyValue(w.manifest, entry))
			if err != nil {
				return err
			}
			failed = append(failed, msg)
			w.failedKeys[number] = true
		default:
			msg, err := keyMessage(contract.BucketCollected, entry.CaseID.Key(), keyValue(w.manifest, entry))
			if err != nil {
				return err
			}
			collected = append(collected, msg)
			if w.failedKeys[number] {
				failed = append(failed, deletion(contract.BucketFailed, entry.CaseID))
				delete(w.failedKeys, number)
			}
		}
	}
	if err := w.Bus.PublishBatch(ctx, collected); err != nil {
		return fmt.Errorf("writing the bucket collected: %w", err)
	}
	if err := w.beforeStep("failed"); err != nil {
		return err
	}
	if err := w.Bus.PublishBatch(ctx, failed); err != nil {
		return fmt.Errorf("writing the bucket failed: %w", err)
	}
	return nil
}

// deleteUnconfirmedKeys deletes the run's own keys of unconfirmed no-records, which earlier
// versions wrote at once.
func (w *worker) deleteUnconfirmedKeys(ctx context.Context, collected verify.Keys) error {
	var keys []*nats.Msg
	for number := range w.tally.UnconfirmedNumbers() {
		if collected.Own(number) && collected.Outcome(number) == contract.NoRecord {
			keys = append(keys, deletion(contract.BucketCollected, w.manifest.Case(number)))
		}
	}
	if err := w.Bus.PublishBatch(ctx, keys); err != nil {
		return fmt.Errorf("removing the keys of unconfirmed no-records: %w", err)
	}
	return nil
}

// keyValue returns the key's value for an entry of a run.
func keyValue(m contract.Manifest, entry fold.Counted) contract.Collected {
	value := contract.Collected{Outcome: entry.Outcome, Site: m.Site, RunID: m.RunID, At: entry.StartedAt.UTC(),
		FiledOn: entry.FiledOn}
	if record, found := files.CaseFile(entry.Entry); found {
		value.Size = len(contract.CurrentRecord(record.Data))
	}
	return value
}

// keyMessage returns the message that puts a key into a bucket, so that one batch can carry many.
func keyMessage(bucket, key string, value contract.Collected) (*nats.Msg, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding the key %s: %w", key, err)
	}
	return &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: data}, nil
}

// deletion returns the message that deletes a key.
func deletion(bucket string, id contract.CaseID) *nats.Msg {
	return &nats.Msg{
		Subject: "$KV." + bucket + "." + id.Key(),
		Header:  nats.Header{"KV-Operation": []string{"DEL"}},
	}
}

// checkpoint is how far the reporter has processed a run's ledger. It is one value of one key, so
// that it is stored completely or not at all.
type checkpoint struct {
	Version int `json:"v"`
	// Offset is the length in bytes of the attempts file that belongs to the tally.
	Offset int64      `json:"offset"`
	Tally  fold.Tally `json:"tally"`
	// Elapsed is how many seconds the run was worked on, by the monotonic clock.
	Elapsed float64 `json:"elapsed,omitempty"`
	// Before is what the rounds before the current one had used, those of killed processes included.
	Before earlierRounds `json:"before,omitzero"`
}

// earlierRounds is how long the rounds before a round lasted and how many requests they had sent.
type earlierRounds struct {
	Round    int     `json:"round"`
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	// Until is the last message of their ledger. A killed process may not have folded all of it.
	Until uint64 `json:"until,omitempty"`
}

// checkpointVersion is the version of checkpoint. A checkpoint of another version is ignored: the
// ledger is folded from its start.
const checkpointVersion = 5

// load reads the run and its checkpoint, and truncates the attempts file to it.
func (w *worker) load(ctx context.Context, run contract.RunID) error {
	var err error
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return err
	}
	if w.manifest, err = runs.Manifest(ctx, w.runs, run); err != nil {
		return err
	}
	w.ledger = ledger.Reader{Bus: w.Bus, Manifest: w.manifest, Memory: new(ledger.Memory)}
	if err := w.loadKeys(ctx); err != nil {
		return err
	}
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return err
	}
	w.tally = point.Tally
	if w.releaseClaim, err = Claim(ctx, w.Options, w.manifest.Prefix, w.manifest.Year); err != nil {
		return err
	}
	if err := w.restore(ctx); err != nil {
		return err
	}
	state, err := w.state(ctx)
	if err != nil {
		return err
	}
	w.stopwatch.resume(max(point.Elapsed, state.ElapsedSeconds))
	if err := w.ledger.CheckEnd(ctx, w.tally.Sequence); err != nil {
		return err // waiting for lost messages would never end
	}
	// The part of the ledger that is not folded yet may hold an earlier canary.
	if w.canary.foldUntil, err = w.ledger.Last(ctx); err != nil {
		return err
	}
	if w.before = point.Before; w.before.Round != state.Round {
		w.before = earlierRounds{Round: state.Round, Seconds: w.stopwatch.elapsed().Seconds(),
			Requests: max(point.Tally.Requests, state.Requests)}
		if state.Round > 1 {
			w.before.Until = w.canary.foldUntil
		}
	}
	if w.announced, err = w.readAnnounced(ctx); err != nil {
		return err
	}
	return w.openAttemptsFile(point.Offset)
}

// Claim prevents processes that use another store from writing the files of a series and year until
// release is called. If another process has the claim the error is store.ErrClaimed.
func Claim(ctx context.Context, o Options, prefix, year string) (release func() error, err error) {
	stream, err := o.Bus.JetStream().Stream(ctx, "KV_"+contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("reading which store this is: %w", err)
	}
	made := stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
	return o.Store.Claim(prefix+"-"+year, store.Owner{PID: os.Getpid(), Ledger: made, Where: o.Ledger})
}

// openAttemptsFile opens the attempts file and truncates it to the length that the checkpoint
// recorded.
func (w *worker) openAttemptsFile(offset int64) error {
	err := w.lease.check()
	if err != nil {
		return err
	}
	if w.attemptsFile, err = w.Store.Appender(files.AttemptsName(w.manifest.RunID)); err != nil {
		return err
	}
	err = w.attemptsFile.TruncateTo(offset)
	if errors.Is(err, store.ErrTooShort) {
		// Lines are lost, but the ledger is not: everything is derived from it again.
		w.Logger.Warn("reporter.attempts.rebuild", "run_id", w.manifest.RunID, "error", err)
		w.tally = fold.Tally{}
		err = w.attemptsFile.TruncateTo(0)
	}
	if err != nil {
		return errors.Join(err, w.attemptsFile.Close())
	}
	return nil
}

func (w *worker) loadCheckpoint(ctx context.Context) (checkpoint, error) {
	entry, err := w.runs.Get(ctx, w.manifest.RunID.CheckpointKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("reading the checkpoint of %s: %w", w.manifest.RunID, err)
	}
	w.revision = entry.Revision()
	var point checkpoint
	if err := json.Unmarshal(entry.Value(), &point); err != nil || point.Version != checkpointVersion {
		w.Logger.Warn("reporter.checkpoint.rebuild", "run_id", w.manifest.RunID, "error", err)
		return checkpoint{}, nil
	}
	return point, nil
}

// save writes the checkpoint. It returns errFenced when the stored one is not the one that this
// worker read or wrote last.
func (w *worker) save(ctx context.Context) error {
	key := w.manifest.RunID.CheckpointKey()
	point := checkpoint{Version: checkpointVersion, Before: w.before, Offset: w.attemptsFile.Size(), Tally: w.tally,
		Elapsed: w.stopwatch.elapsed().Seconds()}
	revision, err := runs.PutAt(ctx, w.runs, key, point, w.revision)
	if runs.IsConflict(err) {
		return fmt.Errorf("writing the checkpoint of %s: %w: %w", w.manifest.RunID, errFenced, err)
	}
	if err != nil {
		return fmt.Errorf("writing the checkpoint of %s: %w", w.manifest.RunID, err)
	}
	w.revision, w.saved = revision, true
	return nil
}

// loadKeys reads what other runs have stored for the numbers of this one.
func (w *worker) loadKeys(ctx context.Context) error {
	w.failedKeys = map[int]bool{}
	err := w.eachKey(ctx, contract.BucketFailed, func(number int, _ contract.Collected) { w.failedKeys[number] = true })
	if err != nil {
		return err
	}
	return w.eachKey(ctx, contract.BucketCollected, func(number int, value contract.Collected) {
		w.addCollectedElsewhere(number, value)
		w.newestCollected.add(number, value)
	})
}

// addCollectedElsewhere records a number that this run skips because another run collected it.
func (w *worker) addCollectedElsewhere(number int, value contract.Collected) {
	if w.manifest.Skips(number, value) && value.RunID != w.manifest.RunID {
		w.collectedElsewhere.Set(number, value.Outcome)
	}
}

// eachKey calls each for the keys of a bucket that belong to the run's site, series and year.
func (w *worker) eachKey(ctx context.Context, bucket string, each func(int, contract.Collected)) error {
	return runs.EachOutcome(ctx, w.Bus, bucket, w.manifest.Site, w.manifest.Prefix, w.manifest.Year, each)
}

// Counts are how many numbers of the range of a run have each outcome.
type Counts struct {
	Succeeded, NoRecord, Failed int
	// Planned is how many numbers of the range are to be fetched; 0 while that is not known.
	Planned int
}

// Count returns the counts of a run, whether or not a reporter works on it: those of its checkpoint
// plus the ledger since. It writes nothing. A ledger that cannot be decoded is
// ledger.ErrMismatch. Of the options it uses Bus and Logger.
func Count(ctx context.Context, options Options, m contract.Manifest) (counts Counts, err error) {
	w := &worker{Service: New(options), manifest: m, ledger: ledger.Reader{Bus: options.Bus, Manifest: m}}
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return counts, err
	}
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return counts, err
	}
	t := point.Tally
	last, err := w.ledger.Last(ctx)
	if err == nil {
		err = w.ledger.ReadRange(ctx, t.Sequence, last, func(m ledger.Message) error {
			t.AddMessage(m, w.manifest.SafeStopFails)
			return nil
		})
	}
	if err == nil {
		w.announced, err = w.readAnnounced(ctx)
	}
	w.tally = t
	now := files.Summary{Manifest: m, Tally: &t, Planned: w.planned()}.Report()
	return Counts{Succeeded: now.Succeeded, NoRecord: now.NoRecord, Failed: now.Failed, Planned: now.Metrics.Planned}, err
}

// planned returns which jobs the run has; nil while that is not known.
func (w *worker) planned() *contract.Planned {
	if w.tally.Planned != nil {
		return w.tally.Planned
	}
	return w.announced
}

// readAnnounced reads which jobs the generator is publishing; nil while that is not known.
func (w *worker) readAnnounced(ctx context.Context) (*contract.Planned, error) {
	entry, err := w.runs.Get(ctx, w.manifest.RunID.PlannedKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the planned jobs of %s: %w", w.manifest.RunID, err)
	}
	return w.decodeAnnounced(entry), nil
}

// decodeAnnounced decodes which jobs the generator is publishing; nil stands for what is not readable: the
// ledger has it again once all jobs are published.
func (w *worker) decodeAnnounced(entry jetstream.KeyValueEntry) *contract.Planned {
	if entry.Operation() != jetstream.KeyValuePut {
		return nil
	}
	planned, err := w.ledger.DecodePlanned(entry.Value())
	if err != nil {
		w.Logger.Warn("reporter.planned.unreadable", "run_id", w.manifest.RunID, "error", err)
		return nil
	}
	return planned
}

// readKeys reads the keys of the run's series and year from the buckets collected and failed.
func (w *worker) readKeys(ctx context.Context) (collected, failed verify.Keys, err error) {
	collected, failed = verify.NewKeys(), verify.NewKeys()
	for bucket, keys := range map[string]verify.Keys{
		contract.BucketCollected: collected, contract.BucketFailed: failed,
	} {
		err := w.eachKey(ctx, bucket, func(n int, value contract.Collected) { keys.Add(w.manifest, n, value) })
		if err != nil {
			return nil, nil, err
		}
	}
	return collected, failed, nil
}
