package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
)

func TestWorkerWritesNothing_LeaseExpired(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	service := New(f.options())
	term := lease.Term(15 * time.Second)
	expired := lease.NewClock(term, time.Now().Add(-time.Minute))
	w := &worker{Service: service, lease: &runLease{clock: expired}, stopwatch: &stopwatch{now: time.Now}, restored: new(bool)}
	if err := w.load(t.Context(), f.manifest.RunID); !errors.Is(err, errLeaseLost) {
		t.Fatalf("%v, want %v", err, errLeaseLost)
	}
	f.must(w.releaseClaim())
	w.lease.clock = lease.NewClock(term, time.Now())
	f.must(w.load(t.Context(), f.manifest.RunID))
	defer func() { f.must(w.attemptsFile.Close()) }()
	w.lease.clock = expired
	batch := []ledger.Message{{Sequence: 1, Entries: mixedEntries()[:2], Size: 1}}
	if err := w.fold(t.Context(), batch); !errors.Is(err, errLeaseLost) {
		t.Errorf("fold: %v, want %v", err, errLeaseLost)
	}
	if err := w.write(t.Context()); !errors.Is(err, errLeaseLost) {
		t.Errorf("write: %v, want %v", err, errLeaseLost)
	}
	f.must(w.releaseClaim())
	if size := w.attemptsFile.Size(); size != 0 || len(f.files()) > 1 {
		t.Errorf("%d bytes of attempts, files %v", size, f.files())
	}
}

func TestRunLease_ExpiredNotRenewed(t *testing.T) {
	t.Parallel()
	bucket, err := fcttest.Broker(t).KV(t.Context(), contract.BucketFetchers)
	if err != nil {
		t.Fatal(err)
	}
	key := contract.RunID("run").ReporterKey()
	revision, err := bucket.Create(t.Context(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	const term = lease.Term(30 * time.Millisecond)
	held := &runLease{bucket: bucket, key: key, revision: revision, term: term,
		clock: lease.NewClock(term, time.Now().Add(-time.Second))} // as if the process had been suspended
	err = held.hold(t.Context(), func(ctx context.Context, _ *runLease) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, errLeaseLost) || held.revision != revision {
		t.Errorf("%v with revision %d, want %v with %d", err, held.revision, errLeaseLost, revision)
	}
}

// reportRun starts a reporter of the fixture's run alone, with a hook before each of its steps.
func (f *fixture) reportRun(hook func(step string) error) (ended chan error) {
	f.t.Helper()
	return f.reportRunWith(f.options(), hook)
}

func (f *fixture) reportRunWith(options Options, hook func(step string) error) (ended chan error) {
	service := New(options)
	service.stepHook = hook
	ended = make(chan error, 1)
	go func() { ended <- service.reportRun(f.t.Context(), f.manifest.RunID) }()
	return ended
}

func noHook(string) error { return nil }

func TestOvertakenReporterReloads(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	for _, saved := range []int{0, 3} { // entries in the first reporter's checkpoint
		f := newFixture(t, 8)
		var stall atomic.Bool
		stalled, overtaken := make(chan struct{}), make(chan struct{})
		first := f.reportRun(func(step string) error {
			if step == "checkpoint" && stall.CompareAndSwap(true, false) {
				close(stalled)
				<-overtaken
			}
			return nil
		})
		if saved > 0 {
			f.publishEntries(mixedEntries()[:saved]...)
			f.awaitFolded()
		}
		stall.Store(true)
		f.publishEntries(mixedEntries()[saved:7]...)
		<-stalled
		f.publishEntries(mixedEntries()[7:]...)
		second := f.startReporter(f.options(), nil)
		f.awaitFolded()
		f.must(second.stop())
		close(overtaken)
		f.publishPlanned(0)
		f.must(<-first)
		if diff := cmp.Diff(want.Files, f.files()); diff != "" || f.awaitEnd().Status != contract.Completed {
			t.Errorf("after %d: %s", saved, diff)
		}
		if !slices.IsSorted(f.savedSequences()) {
			t.Errorf("after %d the checkpoint went back: %d", saved, f.savedSequences())
		}
	}
}

// savedSequences returns the ledger sequences of the last checkpoints, in the order of writing.
func (f *fixture) savedSequences() (sequences []uint64) {
	f.t.Helper()
	entries, err := f.buckets.runs.History(f.t.Context(), f.manifest.RunID.CheckpointKey())
	f.must(err)
	for _, entry := range entries {
		var point checkpoint
		f.must(json.Unmarshal(entry.Value(), &point))
		sequences = append(sequences, point.Tally.Sequence)
	}
	return sequences
}

func TestSecondReporterAtEndWritesNothing(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	f := newMixedFixture(t, len(mixedEntries()))
	f.publishPlanned(0)
	stalled, overtaken := make(chan struct{}), make(chan struct{})
	var once sync.Once
	first := f.reportRun(func(step string) error {
		if step == "checkpoint" {
			once.Do(func() { close(stalled); <-overtaken })
		}
		return nil
	})
	<-stalled
	if err := <-f.reportRun(noHook); err != nil {
		t.Fatal(err)
	}
	close(overtaken)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Files, f.files()); diff != "" {
		t.Error(diff)
	}
}

func TestTwoReportersWriteRunOnce(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	b := fcttest.Broker(t)
	for range fcttest.Scaled(1, 3) {
		f := newFixtureOn(t, emptied(t, b), 8)
		options := f.options()
		options.Shared = true
		one, two := f.reportRunWith(options, noHook), f.reportRunWith(options, noHook)
		for _, entry := range mixedEntries() {
			f.publishEntries(entry)
			f.awaitFolded()
		}
		f.publishPlanned(0)
		for _, ended := range []chan error{one, two} {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(want.Files, f.files()); diff != "" {
			t.Error(diff)
		}
	}
}
