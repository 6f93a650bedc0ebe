package reporter

import (
	"errors"
	"os"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// rewritten writes the files of the desk's run again, with a clock of another day.
func (d *desk) rewritten() (contract.Report, string, error) {
	d.t.Helper()
	options := d.options()
	options.Now = func() time.Time { return closed.AddDate(0, 0, 3) }
	return Rewrite(d.t.Context(), options, d.manifest.RunID)
}

func TestFilesThatAreGoneAreWrittenAgainAsTheyWere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *desk){
		"completed": func(d *desk) { d.planned(0) },
		"stopped":   func(d *desk) { d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: closed}) },
		"blocked":   func(d *desk) { d.halt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: closed}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 8, func(m *contract.Manifest) { m.PersistRawHTML = true })
			d.packs(mixed()...)
			end(d)
			want := d.left()
			for range 2 { // the second time over what the first one wrote
				report, file, err := d.rewritten()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Report, report); diff != "" || file != "report-20260301T133000Z.json" {
					t.Errorf("in %q: %s", file, diff)
				}
				if diff := cmp.Diff(want.Files, d.files()); diff != "" {
					t.Error(diff)
				}
			}
			for what, spoil := range map[string]func(){
				"all gone":             func() { d.must(os.RemoveAll(d.dir)) },
				"a report cut off":     func() { d.must(os.Truncate(d.path("report-20260301T133000Z.json"), 70)) },
				"a page emptied":       func() { d.must(os.Truncate(d.path("report-20260301T133000Z.html"), 0)) },
				"rubbish behind lines": func() { d.scribble("rubbish") },
				"an audit cut off":     func() { d.must(os.Truncate(d.path(auditName("run")), 7)) },
				"a checkpoint that is out of date": func() {
					if name == "completed" {
						d.blockade(checkpointName("run"), false)
					}
				},
			} {
				spoil()
				if _, _, err := d.rewritten(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Files, d.files()); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
		})
	}
}

func TestARunningRunIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.packs(mixed()...)
	_, _, err := d.rewritten()
	if !errors.Is(err, ErrRunning) || len(d.files()) != 0 {
		t.Errorf("%v, %d files", err, len(d.files()))
	}
	d.manifest.RunID = "nobody"
	if _, _, err := d.rewritten(); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a run that does not exist: %v", err)
	}
}

func TestARecordThatAnotherRunHasCollectedSinceIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := crashed(t, 0)
	d.planned(0)
	want := d.left()
	d.put(d.buckets.collected, d.manifest.Case(4).Key(), contract.Collected{Outcome: contract.Success, RunID: "later"})
	d.blockade("cases/IMM/25/IMM-4-25.json", false)
	d.must(os.Remove(d.dir + "/cases/IMM/25/IMM-8-25.json"))
	if _, _, err := d.rewritten(); err != nil {
		t.Fatal(err)
	}
	want.Files["cases/IMM/25/IMM-4-25.json"] = "in the way"
	if diff := cmp.Diff(want.Files, d.files()); diff != "" {
		t.Error(diff)
	}
}

func TestOutcomesThatCameAfterAStopAreWrittenToo(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.pack(success(1), noRecord(2))
	d.halt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: closed})
	stopped := d.finish()
	d.pack(success(3), failure(4))
	report, file, err := d.rewritten()
	if err != nil || report.Total != 4 || report.Failed != 1 || report.Status != contract.Stopped || file != stopped.File {
		t.Fatalf("%v; %+v in %q", err, report, file)
	}
	if files := d.files(); files["cases/IMM/25/IMM-3-25.json"] == "" || files["html_failed/run/IMM-4-25.html"] == "" {
		t.Error("what came after the stop has no files")
	}
	d.must(d.buckets.runs.Delete(t.Context(), d.manifest.RunID.HaltKey()))
	d.running()
	d.pack(outcomesOf(5, 8, noRecord)...)
	d.planned(0)
	got := d.left()
	if got.Report.Status != contract.Completed || got.Report.Total != 8 || len(got.Collected) != 7 || len(got.Failed) != 1 {
		t.Errorf("%+v, collected %v, failed %v", got.Report, got.Collected, got.Failed)
	}
}

func TestWhatDoesNotAgreeIsSeenWhenItIsWrittenAgain(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for name, spoil := range map[string]func(d *desk){
		"collected":  func(d *desk) { d.must(d.buckets.collected.Delete(d.t.Context(), d.manifest.Case(4).Key())) },
		"failed":     func(d *desk) { d.must(d.buckets.failed.Delete(d.t.Context(), d.manifest.Case(7).Key())) },
		"ledger":     func(d *desk) { d.publish(d.manifest.RunID.OutcomeSubject(0), []byte("?")) },
		"checkpoint": tampered(func(c *checkpoint) { c.Tally.Sequence += 1000 }),
	} {
		t.Run(name, func(t *testing.T) {
			d := crashedOn(t, cleared(t, b), 0)
			d.planned(0)
			d.finish()
			spoil(d)
			if _, _, err := d.rewritten(); !errors.Is(err, ErrLedger) {
				t.Errorf("%v", err)
			}
		})
	}
}
