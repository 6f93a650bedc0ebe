package reporter

import (
	"errors"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// TestTroubleOfOneRunLeavesTheOthersAlone has one reporter meet a run in trouble, and then another run.
func TestTroubleOfOneRunLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(d *desk)
		is    error
		says  string
	}{
		"ledger": {func(d *desk) { d.publish(d.manifest.RunID.OutcomeSubject(0), []byte("?")) }, ErrLedger, "message 1"},
		"state": {func(d *desk) {
			_, err := d.buckets.runs.Put(d.t.Context(), d.manifest.RunID.StateKey(), []byte("?"))
			d.must(err)
		}, runs.ErrUnreadable, "run.state"},
		"manifest": {func(d *desk) {
			d.manifest.Version = 99
			d.put(d.buckets.runs, d.manifest.RunID.ManifestKey(), d.manifest)
		}, runs.ErrUnreadable, "version 99"},
		"collected": {func(d *desk) {
			_, err := d.buckets.collected.Put(d.t.Context(), d.manifest.Case(3).Key(), []byte(`{"v":99,"outcome":"success"}`))
			d.must(err)
		}, runs.ErrUnreadable, "IMM.25.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 2)
			c.spoil(d)
			service := d.start(d.options(), nil)
			state := awaitReadable(d)
			if err := StateError(state); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %v and %q", state.Status, err, c.is, c.says)
			}
			other := *d
			other.manifest.RunID, other.manifest.Version, other.manifest.Year = "other", contract.MessageVersion, "24"
			other.put(d.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
			other.running()
			other.packs(success(1), success(2))
			other.planned(0)
			if state := other.await(); state.Status != contract.Completed {
				t.Errorf("the other run: %s: %s", state.Status, state.Reason)
			}
			if err := service.stop(); err != nil {
				t.Errorf("the reporter ended with %v", err)
			}
		})
	}
}

// awaitReadable waits until the run's state can be read and says that the run is over.
func awaitReadable(d *desk) contract.State {
	d.t.Helper()
	watcher, err := d.buckets.runs.Watch(d.t.Context(), d.manifest.RunID.StateKey(), jetstream.IgnoreDeletes())
	d.must(err)
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
	d.t.Fatal("the watch ended")
	return contract.State{}
}

func TestRewriteTouchesNothingWhenTheStoreDisagrees(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for name, spoil := range map[string]func(d *desk){
		"collected":  func(d *desk) { d.must(d.buckets.collected.Delete(d.t.Context(), d.manifest.Case(4).Key())) },
		"failed":     func(d *desk) { d.must(d.buckets.failed.Delete(d.t.Context(), d.manifest.Case(7).Key())) },
		"garbage":    func(d *desk) { d.publish(d.manifest.RunID.OutcomeSubject(0), []byte("?")) },
		"checkpoint": tampered(func(c *checkpoint) { c.Tally.Sequence += 1000 }),
		"messages lost, checkpoint too": func(d *desk) {
			stream, err := d.b.JetStream().Stream(d.t.Context(), contract.StreamOutcomes)
			d.must(err)
			d.must(stream.Purge(d.t.Context(), jetstream.WithPurgeKeep(2)))
			d.must(d.buckets.runs.Delete(d.t.Context(), d.manifest.RunID.CheckpointKey()))
		},
		"all lost": func(d *desk) {
			stream, err := d.b.JetStream().Stream(d.t.Context(), contract.StreamOutcomes)
			d.must(err)
			d.must(stream.Purge(d.t.Context()))
			d.must(d.buckets.runs.Delete(d.t.Context(), d.manifest.RunID.CheckpointKey()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := crashedOn(t, cleared(t, b), 0)
			d.planned(0)
			d.finish()
			spoil(d)
			want := d.files()
			if _, _, err := d.rewritten(); !errors.Is(err, ErrLedger) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(want, d.files()); diff != "" {
				t.Errorf("files were touched: %s", diff)
			}
		})
	}
}
