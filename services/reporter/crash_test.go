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

	"github.com/google/go-cmp/cmp"
)

// errKilled is what stops a reporter in the middle.
var errKilled = errors.New("killed")

// steps are all places between which a reporter can be killed.
func steps() []string {
	return []string{"halt", "files", "lines", "keys", "failed", "checkpoint", "end"}
}

// killedBefore runs a reporter until it comes to a step for the first time and kills it there. What a cut-off write
// may have left behind is put at the end of the attempts file.
func (d *desk) killedBefore(step string) {
	d.t.Helper()
	var w working
	ready, reached := make(chan struct{}), make(chan struct{})
	w = d.start(d.options(), func(now string) error {
		<-ready
		if now != step {
			return nil
		}
		w.cancel()
		close(reached)
		return errKilled
	})
	close(ready)
	select {
	case <-reached:
	case <-time.After(patience):
		d.t.Fatalf("the step %s did not come", step)
	}
	if err := w.stop(); err != nil {
		d.t.Fatal(err)
	}
	d.scribble(`{"run_id":"run","case_id":"IMM-`)
}

// scribble writes behind the end of the attempts file.
func (d *desk) scribble(text string) {
	d.t.Helper()
	file, err := os.OpenFile(filepath.Join(d.dir, attemptsName(d.manifest.RunID)), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// left is everything that a run leaves behind.
type left struct {
	Files             map[string]string
	Collected, Failed map[int]contract.Collected
	Report            contract.Report
}

func (d *desk) left() left {
	d.t.Helper()
	state := d.finish()
	l := left{Files: d.files(), Report: *state.Report}
	l.Collected, l.Failed = d.keys()
	return l
}

// crashed is a run of the mixed ledger, of which a part may be folded before anything happens.
func crashed(t *testing.T, folded int) *desk {
	t.Helper()
	return crashedOn(t, fcttest.Broker(t), folded)
}

func crashedOn(t *testing.T, b *bus.Bus, folded int) *desk {
	t.Helper()
	d := deskOn(t, b, 8)
	for _, number := range []int{1, 3} {
		d.put(d.buckets.failed, d.manifest.Case(number).Key(), contract.Collected{Outcome: contract.Failed, RunID: "before"})
	}
	if folded > 0 {
		d.pack(mixed()[:folded]...)
		w := d.start(d.options(), nil)
		d.folded()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for part := range slices.Chunk(mixed()[folded:], 5) {
		d.pack(part...)
	}
	return d
}

func undisturbed(t *testing.T) left {
	t.Helper()
	return undisturbedOn(t, fcttest.Broker(t))
}

func undisturbedOn(t *testing.T, b *bus.Bus) left {
	t.Helper()
	d := crashedOn(t, b, 0)
	d.planned(0)
	return d.left()
}

func TestAReporterKilledBetweenAnyTwoStepsLeavesTheSame(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	for _, folded := range []int{0, 6} {
		t.Run(fmt.Sprintf("after %d", folded), func(t *testing.T) {
			t.Parallel()
			b := fcttest.Broker(t)
			for _, step := range steps() {
				d := crashedOn(t, cleared(t, b), folded)
				d.killedBefore(step)
				d.planned(0)
				if diff := cmp.Diff(want, d.left()); diff != "" {
					t.Errorf("before %s: %s", step, diff)
				}
			}
		})
	}
}

func TestAReporterKilledAgainAndAgainLeavesTheSame(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	d := crashed(t, 6)
	for _, step := range append(steps()[:6], steps()[:6]...) {
		d.killedBefore(step)
	}
	d.killedBefore("end")
	d.planned(0)
	if diff := cmp.Diff(want, d.left()); diff != "" {
		t.Error(diff)
	}
}

func TestAReporterKilledAfterTheLastMessageEndsTheRun(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	b := fcttest.Broker(t)
	for _, step := range []string{"halt", "checkpoint", "end"} {
		d := crashedOn(t, cleared(t, b), len(mixed()))
		d.planned(0)
		d.killedBefore(step)
		if diff := cmp.Diff(want, d.left()); diff != "" {
			t.Errorf("before %s: %s", step, diff)
		}
	}
}

func TestAnAttemptsFileThatWasCutIsWrittenAnew(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	d := crashed(t, len(mixed()))
	if err := os.Truncate(filepath.Join(d.dir, attemptsName(d.manifest.RunID)), 100); err != nil {
		t.Fatal(err)
	}
	d.planned(0)
	if diff := cmp.Diff(want, d.left()); diff != "" {
		t.Error(diff)
	}
}

func TestACheckpointOfAnotherVersionIsFoldedAgain(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	d := crashed(t, len(mixed()))
	d.put(d.buckets.runs, d.manifest.RunID.CheckpointKey(), checkpoint{Version: checkpointVersion + 1, Offset: 3, Tally: tally{Succeeded: 99}})
	d.planned(0)
	if diff := cmp.Diff(want, d.left()); diff != "" {
		t.Error(diff)
	}
}
