package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// closed is when every run of these tests ends by the reporter's clock.
var closed = began.Add(90 * time.Minute)

// patience is how long a test waits for what has to come; it bounds failures only.
const patience = time.Minute

// desk is a broker, an output folder and one run for reporters to work on.
type desk struct {
	t        *testing.T
	b        *bus.Bus
	buckets  buckets
	dir      string
	manifest contract.Manifest
	court    *pretended
}

// newDesk makes a run of the numbers 1 to end, which is running from then on.
func newDesk(t *testing.T, end int, change ...func(*contract.Manifest)) *desk {
	t.Helper()
	return deskOn(t, fcttest.Broker(t), end, change...)
}

// cleared is the broker with nothing in it. Emptying one is quicker than starting one.
func cleared(t *testing.T, b *bus.Bus) *bus.Bus {
	t.Helper()
	for _, name := range []string{"KV_" + contract.BucketRuns, "KV_" + contract.BucketCollected, "KV_" + contract.BucketFailed, contract.StreamOutcomes} {
		stream, err := b.JetStream().Stream(t.Context(), name)
		if err == nil {
			err = stream.Purge(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// deskOn makes the run on a broker that nobody else works with.
func deskOn(t *testing.T, b *bus.Bus, end int, change ...func(*contract.Manifest)) *desk {
	t.Helper()
	d := &desk{t: t, b: b, dir: filepath.Join(t.TempDir(), "output"), manifest: contract.Manifest{
		Version: contract.MessageVersion, RunID: "run", Prefix: "IMM", Year: "25", Site: "court", Range: contract.Range{Start: 1, End: end},
		CreatedAt: began, Config: map[string]any{"prefix": "IMM"}, Program: "test", Bound: &contract.Bound{Number: 77, Confidence: 0.75, Requests: 11},
	}}
	for _, c := range change {
		c(&d.manifest)
	}
	var err error
	if d.buckets, err = openBuckets(t.Context(), d.b); err != nil {
		t.Fatal(err)
	}
	d.put(d.buckets.runs, d.manifest.RunID.ManifestKey(), d.manifest)
	d.court = d.fetching()
	d.running()
	return d
}

// running is what the generator says of a run that is started or goes on.
func (d *desk) running() {
	d.t.Helper()
	d.put(d.buckets.runs, d.manifest.RunID.StateKey(), contract.State{Status: contract.Running, At: began, Round: 1})
}

func (d *desk) put(bucket jetstream.KeyValue, key string, value any) {
	d.t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		_, err = bucket.Put(d.t.Context(), key, data)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) publish(subject string, data []byte) {
	d.t.Helper()
	if _, err := d.b.Publish(d.t.Context(), &nats.Msg{Subject: subject, Data: data}); err != nil {
		d.t.Fatal(err)
	}
}

// pack writes entries of one block into the ledger as one message, as cases of the desk's run.
func (d *desk) pack(entries ...contract.Entry) {
	d.t.Helper()
	for i := range entries {
		entries[i].CaseID = d.manifest.Case(entries[i].CaseID.Number)
	}
	data, err := contract.EntryPack{Version: contract.MessageVersion, RunID: d.manifest.RunID, Entries: entries}.Encode()
	if err != nil {
		d.t.Fatal(err)
	}
	d.publish(d.manifest.RunID.OutcomeSubject(contract.Chunk(entries[0].CaseID.Number)), data)
}

// packs writes each entry as a message of its own.
func (d *desk) packs(entries ...contract.Entry) {
	d.t.Helper()
	for _, entry := range entries {
		d.pack(entry)
	}
}

// planned states that all jobs are published: all numbers of the range but the skipped ones.
func (d *desk) planned(skipped int) {
	d.t.Helper()
	d.plan(contract.Planned{Range: d.manifest.Range, Jobs: d.manifest.Range.Size() - skipped, Skipped: skipped})
}

func (d *desk) plan(planned contract.Planned) {
	d.t.Helper()
	planned.Version = contract.MessageVersion
	data, err := json.Marshal(planned)
	if err != nil {
		d.t.Fatal(err)
	}
	d.publish(d.manifest.RunID.PlannedSubject(), data)
}

// store opens the output folder for as long as the test runs.
func (d *desk) store() *store.Store {
	d.t.Helper()
	output, err := store.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := output.Close(); err != nil {
			d.t.Error(err)
		}
	})
	return output
}

func (d *desk) options() Options {
	return Options{Bus: d.b, Store: d.store(), Logger: fcttest.Logger(d.t), Version: "test", Now: func() time.Time { return closed }}
}

// working is a reporter that runs.
type working struct {
	cancel context.CancelFunc
	ended  chan error
}

// start runs a reporter; hook, when there is one, is called before each of its steps.
func (d *desk) start(options Options, hook func(step string) error) working {
	service := New(options)
	if hook != nil {
		service.between = hook
	}
	ctx, cancel := context.WithCancel(d.t.Context())
	w := working{cancel, make(chan error, 1)}
	go func() { w.ended <- service.Run(ctx) }()
	return w
}

// stop ends the reporter and returns what its Run did.
func (w working) stop() error {
	w.cancel()
	return <-w.ended
}

// await waits until the run has ended.
func (d *desk) await() contract.State {
	d.t.Helper()
	return awaitKey(d, d.manifest.RunID.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
}

// folded waits until the checkpoint has taken in the whole ledger as it is now.
func (d *desk) folded() {
	d.t.Helper()
	last, err := ledger{bus: d.b, manifest: d.manifest}.last(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	awaitKey(d, d.manifest.RunID.CheckpointKey(), func(c checkpoint) bool { return c.Tally.Sequence >= last })
}

// awaitKey waits until a key of the runs has a value that is enough.
func awaitKey[T any](d *desk, key string, enough func(T) bool) T {
	d.t.Helper()
	watcher, err := d.buckets.runs.Watch(d.t.Context(), key, jetstream.IgnoreDeletes())
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = watcher.Stop() }()
	limit := time.After(patience)
	for {
		var entry jetstream.KeyValueEntry
		select {
		case entry = <-watcher.Updates():
		case <-limit:
			d.t.Fatalf("%s was not enough within %v", key, patience)
		}
		if entry == nil {
			continue
		}
		var value T
		if err := json.Unmarshal(entry.Value(), &value); err != nil {
			d.t.Fatal(err)
		}
		if enough(value) {
			return value
		}
	}
}

// finish runs a reporter until the run has ended.
func (d *desk) finish() contract.State {
	d.t.Helper()
	w := d.start(d.options(), nil)
	state := d.await()
	if err := w.stop(); err != nil {
		d.t.Error(err)
	}
	return state
}

// errored runs a reporter that has to give its run up, and returns the error by which it did.
func (d *desk) errored(hook func(string) error) (contract.State, error) {
	d.t.Helper()
	w := d.start(d.options(), hook)
	defer w.cancel()
	state := d.await()
	return state, errors.Join(w.stop(), StateError(state))
}

// keys are what the buckets collected and failed hold.
func (d *desk) keys() (collected, failed map[int]contract.Collected) {
	d.t.Helper()
	collected, failed, err := keysOf(d.t.Context(), &worker{Service: New(Options{Bus: d.b}), buckets: d.buckets, manifest: d.manifest})
	if err != nil {
		d.t.Fatal(err)
	}
	return collected, failed
}

// files are the contents of all files of the output folder by their names.
func (d *desk) files() map[string]string {
	d.t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(d.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		files[name] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	return files
}
