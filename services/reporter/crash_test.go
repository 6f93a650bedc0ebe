package reporter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"

	"github.com/google/go-cmp/cmp"
)

// errKilled stops a reporter at a step.
var errKilled = errors.New("killed")

// stepNames returns the steps before which a reporter can be killed.
func stepNames() []string {
	return []string{"halt", "files", "lines", "keys", "failed", "checkpoint", "end"}
}

// killBefore runs a reporter and kills it when it first comes to a step. It appends half a line to
// the attempts file, as an interrupted write may leave it.
func (f *fixture) killBefore(step string) {
	f.t.Helper()
	var w runningReporter
	ready, reached := make(chan struct{}), make(chan struct{})
	w = f.startReporter(f.options(), func(current string) error {
		<-ready
		if current != step {
			return nil
		}
		w.cancel()
		close(reached)
		return errKilled
	})
	close(ready)
	select {
	case <-reached:
	case <-time.After(testTimeout):
		f.t.Fatalf("the step %s did not come", step)
	}
	if err := w.stop(); err != nil {
		f.t.Fatal(err)
	}
	f.appendText(`{"run_id":"run","case_id":"IMM-`)
}

// appendText appends text to the attempts file.
func (f *fixture) appendText(text string) {
	f.t.Helper()
	file, err := os.OpenFile(filepath.Join(f.dir, files.AttemptsName(f.manifest.RunID)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
}

// artifacts are the files, keys and report of a run.
type artifacts struct {
	Files             map[string]string
	Collected, Failed map[int]contract.Collected
	Report            contract.Report
}

func (f *fixture) runToArtifacts() artifacts {
	f.t.Helper()
	state := f.runToEnd()
	l := artifacts{Files: f.files(), Report: *state.Report}
	l.Collected, l.Failed = f.keys()
	return l
}

// newMixedFixture returns a run with the ledger mixedEntries, of which a reporter has folded the
// first entries.
func newMixedFixture(t *testing.T, folded int) *fixture {
	t.Helper()
	return newMixedFixtureOn(t, fcttest.Broker(t), folded)
}

func newMixedFixtureOn(t *testing.T, b *bus.Bus, folded int) *fixture {
	t.Helper()
	f := newFixtureOn(t, b, 8)
	for _, number := range []int{1, 3} {
		f.put(f.buckets.failed, f.manifest.Case(number).Key(),
			contract.Collected{Outcome: contract.Failed, RunID: "before"})
	}
	if folded > 0 {
		f.publishEntries(mixedEntries()[:folded]...)
		w := f.startReporter(f.options(), nil)
		f.awaitFolded()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for part := range slices.Chunk(mixedEntries()[folded:], 5) {
		f.publishEntries(part...)
	}
	return f
}

// wantArtifacts returns the artifacts of newMixedFixture's run when nothing disturbs the reporter.
func wantArtifacts(t *testing.T) artifacts {
	t.Helper()
	return wantArtifactsOn(t, fcttest.Broker(t))
}

func wantArtifactsOn(t *testing.T, b *bus.Bus) artifacts {
	t.Helper()
	f := newMixedFixtureOn(t, b, 0)
	f.publishPlanned(0)
	return f.runToArtifacts()
}

func TestKilledAtAnyStepSameArtifacts(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	for _, folded := range []int{0, 6} {
		t.Run(fmt.Sprintf("after %d", folded), func(t *testing.T) {
			t.Parallel()
			b := fcttest.Broker(t)
			for _, step := range stepNames() {
				f := newMixedFixtureOn(t, emptied(t, b), folded)
				f.killBefore(step)
				f.publishPlanned(0)
				if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
					t.Errorf("before %s: %s", step, diff)
				}
			}
		})
	}
}

func TestKilledRepeatedlySameArtifacts(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	f := newMixedFixture(t, 6)
	for _, step := range append(stepNames()[:6], stepNames()[:6]...) {
		f.killBefore(step)
	}
	f.killBefore("end")
	f.publishPlanned(0)
	if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
		t.Error(diff)
	}
}

func TestKilledAfterLastMessageEndsRun(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	b := fcttest.Broker(t)
	for _, step := range []string{"halt", "checkpoint", "end"} {
		f := newMixedFixtureOn(t, emptied(t, b), len(mixedEntries()))
		f.publishPlanned(0)
		f.killBefore(step)
		if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
			t.Errorf("before %s: %s", step, diff)
		}
	}
}

func TestTruncatedAttemptsFileIsRebuilt(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	f := newMixedFixture(t, len(mixedEntries()))
	if err := os.Truncate(filepath.Join(f.dir, files.AttemptsName(f.manifest.RunID)), 100); err != nil {
		t.Fatal(err)
	}
	f.publishPlanned(0)
	if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
		t.Error(diff)
	}
}

func TestCheckpointOfOtherVersionIsRebuilt(t *testing.T) {
	t.Parallel()
	want := wantArtifacts(t)
	f := newMixedFixture(t, len(mixedEntries()))
	f.put(f.buckets.runs, f.manifest.RunID.CheckpointKey(),
		checkpoint{Version: checkpointVersion + 1, Offset: 3, Tally: fold.Tally{Succeeded: 99}})
	f.publishPlanned(0)
	if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
		t.Error(diff)
	}
}
