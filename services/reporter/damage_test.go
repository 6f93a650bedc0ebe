package reporter

import (
	"errors"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// One reporter meets a damaged run, then another run.
func TestDamagedRunDoesNotStopOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(f *fixture)
		is     error
		want   string
	}{
		"ledger": {func(f *fixture) { f.publish(f.manifest.RunID.OutcomeSubject(0), []byte("?")) }, ledger.ErrMismatch,
			"message 1"},
		"state": {func(f *fixture) {
			_, err := f.buckets.runs.Put(f.t.Context(), f.manifest.RunID.StateKey(), []byte("?"))
			f.must(err)
		}, runs.ErrUnreadable, "run.state"},
		"manifest": {func(f *fixture) {
			f.manifest.Version = 99
			f.put(f.buckets.runs, f.manifest.RunID.ManifestKey(), f.manifest)
		}, runs.ErrUnreadable, "version 99"},
		"collected": {func(f *fixture) {
			_, err := f.buckets.collected.Put(f.t.Context(), f.manifest.Case(3).Key(),
				[]byte(`{"v":99,"outcome":"success"}`))
			f.must(err)
		}, runs.ErrUnreadable, "IMM.25.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 2)
			c.damage(f)
			service := f.startReporter(f.options(), nil)
			state := awaitReadable(f)
			if err := StateError(state); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %v and %q", state.Status, err, c.is, c.want)
			}
			other := *f
			other.manifest.RunID, other.manifest.Version, other.manifest.Year = "other", contract.MessageVersion, "24"
			other.put(f.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
			other.setRunning()
			other.publishEach(fcttest.Success(1), fcttest.Success(2))
			other.publishPlanned(0)
			if state := other.awaitEnd(); state.Status != contract.Completed {
				t.Errorf("the other run: %s: %s", state.Status, state.Reason)
			}
			if err := service.stop(); err != nil {
				t.Errorf("the reporter ended with %v", err)
			}
		})
	}
}

// awaitReadable waits until the run's state can be decoded and is final.
func awaitReadable(f *fixture) contract.State {
	f.t.Helper()
	watcher, err := f.buckets.runs.Watch(f.t.Context(), f.manifest.RunID.StateKey(), jetstream.IgnoreDeletes())
	f.must(err)
	defer func() { _ = watcher.Stop() }()
	for entry := range watcher.Updates() {
		if entry == nil {
			continue
		}
		state, err := runs.Decode[contract.State](entry.Key(), entry.Value())
		if err == nil && state.Status != contract.Running {
			return state
		}
	}
	f.t.Fatal("the watch ended")
	return contract.State{}
}

func TestRewriteWritesNothing_StoreMismatch(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for name, damage := range map[string]func(f *fixture){
		"collected":  func(f *fixture) { f.must(f.buckets.collected.Delete(f.t.Context(), f.manifest.Case(4).Key())) },
		"failed":     func(f *fixture) { f.must(f.buckets.failed.Delete(f.t.Context(), f.manifest.Case(7).Key())) },
		"garbage":    func(f *fixture) { f.publish(f.manifest.RunID.OutcomeSubject(0), []byte("?")) },
		"checkpoint": changeCheckpoint(func(c *checkpoint) { c.Tally.Sequence += 1000 }),
		"messages lost, checkpoint too": func(f *fixture) {
			stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
			f.must(err)
			f.must(stream.Purge(f.t.Context(), jetstream.WithPurgeKeep(2)))
			f.must(f.buckets.runs.Delete(f.t.Context(), f.manifest.RunID.CheckpointKey()))
		},
		"all lost": func(f *fixture) {
			stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
			f.must(err)
			f.must(stream.Purge(f.t.Context()))
			f.must(f.buckets.runs.Delete(f.t.Context(), f.manifest.RunID.CheckpointKey()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newMixedFixtureOn(t, emptied(t, b), 0)
			f.publishPlanned(0)
			f.runToEnd()
			damage(f)
			want := f.files()
			if _, _, err := f.rewrite(); !errors.Is(err, ledger.ErrMismatch) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(want, f.files()); diff != "" {
				t.Errorf("files were touched: %s", diff)
			}
		})
	}
}
