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
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// endTime is the end of every run of these tests by the reporter's clock.
var endTime = fcttest.StartTime().Add(90 * time.Minute)

// testTimeout bounds every wait of a test; only failures last that long.
const testTimeout = time.Minute

// fixture is a broker, an output folder and one run for reporters to work on.
type fixture struct {
	t        *testing.T
	bus      *bus.Bus
	buckets  buckets
	dir      string
	manifest contract.Manifest
	site     *fakeSite
}

// newFixture creates a running run of the numbers 1 to end on its own broker.
func newFixture(t *testing.T, end int, change ...func(*contract.Manifest)) *fixture {
	t.Helper()
	return newFixtureOn(t, fcttest.Broker(t), end, change...)
}

// emptied returns the broker after deleting all runs in it, which is faster than starting another
// one.
func emptied(t *testing.T, b *bus.Bus) *bus.Bus {
	t.Helper()
	for _, name := range []string{"KV_" + contract.BucketRuns, "KV_" + contract.BucketCollected,
		"KV_" + contract.BucketFailed, contract.StreamOutcomes} {
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

// newFixtureOn creates the run on a broker that nothing else uses.
func newFixtureOn(t *testing.T, b *bus.Bus, end int, change ...func(*contract.Manifest)) *fixture {
	t.Helper()
	f := &fixture{t: t, bus: b, dir: filepath.Join(t.TempDir(), "output"), manifest: contract.Manifest{
		Version: contract.MessageVersion, RunID: "run", Prefix: "IMM", Year: "25", Site: "court",
		Range:     contract.Range{Start: 1, End: end},
		CreatedAt: fcttest.StartTime(), Config: map[string]any{"prefix": "IMM"}, Program: "test",
		Bound: &contract.Bound{Number: 77, Confidence: 0.75, Requests: 11},
	}}
	for _, c := range change {
		c(&f.manifest)
	}
	var err error
	if f.buckets, err = openBuckets(t.Context(), f.bus); err != nil {
		t.Fatal(err)
	}
	f.put(f.buckets.runs, f.manifest.RunID.ManifestKey(), f.manifest)
	f.site = f.startFetcher()
	f.setRunning()
	return f
}

// setRunning writes the state that the generator writes when a run starts or resumes.
func (f *fixture) setRunning() {
	f.t.Helper()
	f.put(f.buckets.runs, f.manifest.RunID.StateKey(), contract.State{Status: contract.Running, At: fcttest.StartTime(),
		Round: 1})
}

func (f *fixture) put(bucket jetstream.KeyValue, key string, value any) {
	f.t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		_, err = bucket.Put(f.t.Context(), key, data)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) publish(subject string, data []byte) {
	f.t.Helper()
	if _, err := f.bus.Publish(f.t.Context(), &nats.Msg{Subject: subject, Data: data}); err != nil {
		f.t.Fatal(err)
	}
}

// publishEntries publishes entries of one chunk as one ledger message of the fixture's run.
func (f *fixture) publishEntries(entries ...contract.Entry) {
	f.t.Helper()
	for i := range entries {
		entries[i].CaseID = f.manifest.Case(entries[i].CaseID.Number)
	}
	data, err := ledger.Encode(contract.EntryPack{Version: contract.MessageVersion, RunID: f.manifest.RunID,
		Entries: entries})
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(f.manifest.RunID.OutcomeSubject(contract.Chunk(entries[0].CaseID.Number)), data)
}

// publishEach publishes each entry as a message of its own.
func (f *fixture) publishEach(entries ...contract.Entry) {
	f.t.Helper()
	for _, entry := range entries {
		f.publishEntries(entry)
	}
}

// publishPlanned publishes that all jobs are published: all numbers of the range except the skipped
// ones.
func (f *fixture) publishPlanned(skipped int) {
	f.t.Helper()
	f.publishPlan(contract.Planned{Range: f.manifest.Range, Jobs: f.manifest.Range.Size() - skipped, Skipped: skipped})
}

func (f *fixture) publishPlan(planned contract.Planned) {
	f.t.Helper()
	planned.Version = contract.MessageVersion
	data, err := json.Marshal(planned)
	if err != nil {
		f.t.Fatal(err)
	}
	f.publish(f.manifest.RunID.PlannedSubject(), data)
}

// openStore opens the output folder until the test ends.
func (f *fixture) openStore() *store.Store {
	f.t.Helper()
	output, err := store.Open(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := output.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return output
}

func (f *fixture) options() Options {
	return Options{Bus: f.bus, Store: f.openStore(), Logger: fcttest.Logger(f.t), Version: "test",
		Now: func() time.Time { return endTime }}
}

// runningReporter is a started reporter.
type runningReporter struct {
	cancel context.CancelFunc
	ended  chan error
}

// startReporter starts a reporter; a hook is called before each of its steps.
func (f *fixture) startReporter(options Options, hook func(step string) error) runningReporter {
	service := New(options)
	if hook != nil {
		service.stepHook = hook
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	w := runningReporter{cancel, make(chan error, 1)}
	go func() { w.ended <- service.Run(ctx) }()
	return w
}

// stop stops the reporter and returns the error of its Run.
func (w runningReporter) stop() error {
	w.cancel()
	return <-w.ended
}

// awaitEnd waits until the run has ended.
func (f *fixture) awaitEnd() contract.State {
	f.t.Helper()
	return awaitKey(f, f.manifest.RunID.StateKey(), func(s contract.State) bool { return s.Status != contract.Running })
}

// awaitFolded waits until the checkpoint covers the current ledger.
func (f *fixture) awaitFolded() {
	f.t.Helper()
	last, err := ledger.Reader{Bus: f.bus, Manifest: f.manifest}.Last(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	awaitKey(f, f.manifest.RunID.CheckpointKey(), func(c checkpoint) bool { return c.Tally.Sequence >= last })
}

// awaitKey waits until enough accepts the value of a key of the bucket runs.
func awaitKey[T any](f *fixture, key string, enough func(T) bool) T {
	f.t.Helper()
	watcher, err := f.buckets.runs.Watch(f.t.Context(), key, jetstream.IgnoreDeletes())
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = watcher.Stop() }()
	limit := time.After(testTimeout)
	for {
		var entry jetstream.KeyValueEntry
		select {
		case entry = <-watcher.Updates():
		case <-limit:
			f.t.Fatalf("%s was not enough within %v", key, testTimeout)
		}
		if entry == nil {
			continue
		}
		var value T
		if err := json.Unmarshal(entry.Value(), &value); err != nil {
			f.t.Fatal(err)
		}
		if enough(value) {
			return value
		}
	}
}

// runToEnd runs a reporter until the run has ended.
func (f *fixture) runToEnd() contract.State {
	f.t.Helper()
	w := f.startReporter(f.options(), nil)
	state := f.awaitEnd()
	if err := w.stop(); err != nil {
		f.t.Error(err)
	}
	return state
}

// runToError runs a reporter until the run has ended with the status error, and returns that error.
func (f *fixture) runToError(hook func(string) error) (contract.State, error) {
	f.t.Helper()
	w := f.startReporter(f.options(), hook)
	defer w.cancel()
	state := f.awaitEnd()
	return state, errors.Join(w.stop(), StateError(state))
}

// keys returns the keys of the buckets collected and failed.
func (f *fixture) keys() (collected, failed map[int]contract.Collected) {
	f.t.Helper()
	w := &worker{Service: New(Options{Bus: f.bus}), buckets: f.buckets, manifest: f.manifest}
	collected, failed = map[int]contract.Collected{}, map[int]contract.Collected{}
	err := errors.Join(
		w.eachKey(f.t.Context(), contract.BucketCollected, func(n int, value contract.Collected) { collected[n] = value }),
		w.eachKey(f.t.Context(), contract.BucketFailed, func(n int, value contract.Collected) { failed[n] = value }))
	if err != nil {
		f.t.Fatal(err)
	}
	return collected, failed
}

// files returns the contents of all files of the output folder by name.
func (f *fixture) files() map[string]string {
	f.t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(f.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(f.dir, name))
		files[name] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Fatal(err)
	}
	return files
}

func TestMain(m *testing.M) {
	fcttest.RareGC()
	fcttest.MostlyWait()
	goleak.VerifyTestMain(m)
}
