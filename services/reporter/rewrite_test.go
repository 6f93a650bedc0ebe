package reporter

import (
	"errors"
	"os"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// rewrite rewrites the files of the fixture's run, with the clock of another day.
func (f *fixture) rewrite() (contract.Report, string, error) {
	f.t.Helper()
	options := f.options()
	options.Now = func() time.Time { return endTime.AddDate(0, 0, 3) }
	return Rewrite(f.t.Context(), options, f.manifest.RunID)
}

func TestRewriteRestoresFiles(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *fixture){
		"completed": func(f *fixture) { f.publishPlanned(0) },
		"stopped": func(f *fixture) {
			f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal",
				At: endTime})
		},
		"blocked": func(f *fixture) {
			f.putHalt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: endTime})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 8, func(m *contract.Manifest) { m.PersistRawHTML = true })
			f.publishEach(mixedEntries()...)
			end(f)
			want := f.runToArtifacts()
			for range 2 { // the second rewrite replaces the files of the first
				report, file, err := f.rewrite()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Report, report); diff != "" || file != "report-20260301T133000Z.json" {
					t.Errorf("in %q: %s", file, diff)
				}
				if diff := cmp.Diff(want.Files, f.files()); diff != "" {
					t.Error(diff)
				}
			}
			for what, damage := range map[string]func(){
				"all gone":             func() { f.must(os.RemoveAll(f.dir)) },
				"a report cut off":     func() { f.must(os.Truncate(f.path("report-20260301T133000Z.json"), 70)) },
				"a page emptied":       func() { f.must(os.Truncate(f.path("report-20260301T133000Z.html"), 0)) },
				"rubbish behind lines": func() { f.appendText("rubbish") },
				"an audit cut off":     func() { f.must(os.Truncate(f.path("audit_run.json"), 7)) },
				"a checkpoint that is out of date": func() {
					if name == "completed" {
						f.obstruct("checkpoint-run.json", false)
					}
				},
			} {
				damage()
				if _, _, err := f.rewrite(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.Files, f.files()); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
		})
	}
}

func TestRewrite_RunningRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEach(mixedEntries()...)
	_, _, err := f.rewrite()
	if !errors.Is(err, ErrRunning) || len(f.files()) != 0 {
		t.Errorf("%v, %d files", err, len(f.files()))
	}
	f.manifest.RunID = "nobody"
	if _, _, err := f.rewrite(); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a run that does not exist: %v", err)
	}
}

func TestRewriteKeepsRecordsOfLaterRuns(t *testing.T) {
	t.Parallel()
	f := newMixedFixture(t, 0)
	f.publishPlanned(0)
	want := f.runToArtifacts()
	f.put(f.buckets.collected, f.manifest.Case(4).Key(), contract.Collected{Outcome: contract.Success, RunID: "later"})
	f.obstruct("cases/IMM/25/IMM-4-25.json", false)
	f.must(os.Remove(f.dir + "/cases/IMM/25/IMM-8-25.json"))
	if _, _, err := f.rewrite(); err != nil {
		t.Fatal(err)
	}
	want.Files["cases/IMM/25/IMM-4-25.json"] = "in the way"
	if diff := cmp.Diff(want.Files, f.files()); diff != "" {
		t.Error(diff)
	}
}

func TestRewriteIncludesOutcomesAfterStop(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2))
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: endTime})
	stopped := f.runToEnd()
	f.publishEntries(fcttest.Success(3), fcttest.Failure(4))
	report, file, err := f.rewrite()
	if err != nil || report.Total != 4 || report.Failed != 1 || report.Status != contract.Stopped ||
		file != stopped.File {
		t.Fatalf("%v; %+v in %q", err, report, file)
	}
	if files := f.files(); files["cases/IMM/25/IMM-3-25.json"] == "" || files["html_failed/run/IMM-4-25.html"] == "" {
		t.Error("what came after the stop has no files")
	}
	f.must(f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()))
	f.setRunning()
	f.publishEntries(outcomesOf(5, 8, fcttest.NoRecord)...)
	f.publishPlanned(0)
	got := f.runToArtifacts()
	if got.Report.Status != contract.Completed || got.Report.Total != 8 || len(got.Collected) != 7 ||
		len(got.Failed) != 1 {
		t.Errorf("%+v, collected %v, failed %v", got.Report, got.Collected, got.Failed)
	}
}

func TestRewriteReportsMismatch(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for name, damage := range map[string]func(f *fixture){
		"collected":  func(f *fixture) { f.must(f.buckets.collected.Delete(f.t.Context(), f.manifest.Case(4).Key())) },
		"failed":     func(f *fixture) { f.must(f.buckets.failed.Delete(f.t.Context(), f.manifest.Case(7).Key())) },
		"ledger":     func(f *fixture) { f.publish(f.manifest.RunID.OutcomeSubject(0), []byte("?")) },
		"checkpoint": changeCheckpoint(func(c *checkpoint) { c.Tally.Sequence += 1000 }),
	} {
		t.Run(name, func(t *testing.T) {
			f := newMixedFixtureOn(t, emptied(t, b), 0)
			f.publishPlanned(0)
			f.runToEnd()
			damage(f)
			if _, _, err := f.rewrite(); !errors.Is(err, ledger.ErrMismatch) {
				t.Errorf("%v", err)
			}
		})
	}
}
