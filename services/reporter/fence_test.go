package reporter

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// worked is a reporter that sees the desk's run through to its end, with a hook before each of its steps.
func (d *desk) worked(hook func(step string) error) (ended chan error) {
	d.t.Helper()
	return d.workedWith(d.options(), hook)
}

func (d *desk) workedWith(options Options, hook func(step string) error) (ended chan error) {
	service := New(options)
	service.between = hook
	ended = make(chan error, 1)
	go func() { ended <- service.work(d.t.Context(), d.manifest.RunID) }()
	return ended
}

func goOn(string) error { return nil }

func TestAReporterThatWasOvertakenLoadsAgain(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	for _, saved := range []int{0, 3} { // what the first reporter has put into its checkpoint before
		d := newDesk(t, 8)
		var stall atomic.Bool
		stalled, overtaken := make(chan struct{}), make(chan struct{})
		first := d.worked(func(step string) error {
			if step == "checkpoint" && stall.CompareAndSwap(true, false) {
				close(stalled)
				<-overtaken
			}
			return nil
		})
		if saved > 0 {
			d.pack(mixed()[:saved]...)
			d.folded()
		}
		stall.Store(true)
		d.pack(mixed()[saved:7]...)
		<-stalled
		d.pack(mixed()[7:]...)
		second := d.start(d.options(), nil)
		d.folded()
		d.must(second.stop())
		close(overtaken)
		d.planned(0)
		d.must(<-first)
		if diff := cmp.Diff(want.Files, d.files()); diff != "" || d.await().Status != contract.Completed {
			t.Errorf("after %d: %s", saved, diff)
		}
		if !slices.IsSorted(d.saves()) {
			t.Errorf("after %d the checkpoint went back: %d", saved, d.saves())
		}
	}
}

// saves are the places in the ledger that the last checkpoints were written at, in the order of writing.
func (d *desk) saves() (sequences []uint64) {
	d.t.Helper()
	entries, err := d.buckets.runs.History(d.t.Context(), d.manifest.RunID.CheckpointKey())
	d.must(err)
	for _, entry := range entries {
		var point checkpoint
		d.must(json.Unmarshal(entry.Value(), &point))
		sequences = append(sequences, point.Tally.Sequence)
	}
	return sequences
}

func TestAReporterThatComesSecondToTheEndWritesNothing(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	d := crashed(t, len(mixed()))
	d.planned(0)
	stalled, overtaken := make(chan struct{}), make(chan struct{})
	var once sync.Once
	first := d.worked(func(step string) error {
		if step == "checkpoint" {
			once.Do(func() { close(stalled); <-overtaken })
		}
		return nil
	})
	<-stalled
	if err := <-d.worked(goOn); err != nil {
		t.Fatal(err)
	}
	close(overtaken)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Files, d.files()); diff != "" {
		t.Error(diff)
	}
}

func TestTwoReportersOnOneRunWriteItOnce(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	b := fcttest.Broker(t)
	for range 3 {
		d := deskOn(t, cleared(t, b), 8)
		options := d.options()
		options.Shared = true
		one, two := d.workedWith(options, goOn), d.workedWith(options, goOn)
		for _, entry := range mixed() {
			d.pack(entry)
			d.folded()
		}
		d.planned(0)
		for _, ended := range []chan error{one, two} {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if diff := cmp.Diff(want.Files, d.files()); diff != "" {
			t.Error(diff)
		}
	}
}
