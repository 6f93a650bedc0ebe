package reporter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// unconfirmedEnd returns a ledger of eight numbers that ends with four unconfirmed no-records.
func unconfirmedEnd() []contract.Entry {
	return slices.Concat(outcomesOf(1, 2, fcttest.Success), outcomesOf(3, 3, fcttest.NoRecord), outcomesOf(4, 4, fcttest.Success),
		outcomesOf(5, 8, fcttest.NoRecord))
}

func TestRunConfirmsTrailingNoRecordsByCanary(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.publishEach(unconfirmedEnd()...)
	f.publishPlanned(0)
	state := f.runToEnd()
	if diff := cmp.Diff([][]contract.CaseID{{fcttest.CaseOf(4), fcttest.CaseOf(2)}}, f.site.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if state.Status != contract.Completed || state.Reason != "" || state.Report.NoRecord != 5 ||
		state.Report.Requests != 9 || state.Superseded {
		t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord,
			state.Report.Requests)
	}
	if lines := strings.Count(f.files()["attempts_run.ndjson"], "\n"); lines != 8 {
		t.Errorf("%d lines for 8 attempts", lines)
	}
}

func TestVanishedCanaryVoidsNoRecords(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.site.setVerdict(showsNone)
	f.publishEach(unconfirmedEnd()...)
	f.publishPlanned(0)
	state := f.runToEnd()
	want := "blocked by the site at IMM-2-25 (canary): it no longer shows IMM-4-25 and IMM-2-25, " +
		"known to exist; 4 no-records taken back"
	if state.Status != contract.Blocked || state.Reason != want || !state.Superseded || state.Resumable() {
		t.Errorf("%s, superseded %t: %q, want %q", state.Status, state.Superseded, state.Reason, want)
	}
	if r := state.Report; r.Total != 4 || r.Succeeded != 3 || r.NoRecord != 1 || r.Requests != 10 ||
		r.UpperBoundConfidence != 0 {
		t.Errorf("report %+v", r)
	}
	collected, _ := f.keys()
	for number := range 9 {
		if _, there := collected[number]; there != (number >= 1 && number <= 4) {
			t.Errorf("number %d is collected: %t", number, there)
		}
	}
	files := f.files()
	if files["html_failed/run/IMM-4-25.json"] == "" || files["html_failed/run/IMM-2-25.json"] == "" {
		t.Error("the evidence is not stored")
	}
	lines := strings.Split(strings.TrimSpace(files["attempts_run.ndjson"]), "\n")
	var last contract.AttemptLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 12 ||
		last.Outcome != "blocked" || last.CaseID != fcttest.CaseOf(8) ||
		last.StatusCode != 200 || last.DurationMS != 250 ||
		!strings.Contains(strings.Join(last.Notes, ""), "taken back") {
		t.Errorf("%d lines, the last is %+v, %v", len(lines), last, err)
	}
	stop := object(t, files["checkpoint-run.json"], checkpointKeys)
	if stop["next_number"] != 5.0 {
		t.Errorf("checkpoint %v", stop)
	}
	f.assertRewritten(files)
}

// A record that was copied from another run after the no-records may be older than the fault of the
// site.
func TestCopiedRecordConfirmsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 9)
	f.site.setVerdict(showsNone)
	copied := outcomesOf(9, 9, fcttest.Success)
	copied[0].Requests = nil
	f.publishEach(append(unconfirmedEnd(), copied...)...)
	f.publishPlanned(0)
	state := f.runToEnd()
	if diff := cmp.Diff([][]contract.CaseID{{fcttest.CaseOf(9), fcttest.CaseOf(4)}}, f.site.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if r := state.Report; state.Status != contract.Blocked || !state.Superseded || r.Succeeded != 4 || r.NoRecord != 1 {
		t.Errorf("%s, superseded %t: %d succeeded, %d no-record; want the four no-records after IMM-4-25 taken back",
			state.Status,
			state.Superseded, r.Succeeded, r.NoRecord)
	}
	f.assertRewritten(f.files())
}

// assertRewritten rewrites the run's files and expects the same content.
func (f *fixture) assertRewritten(files map[string]string) {
	f.t.Helper()
	if _, _, err := Rewrite(f.t.Context(), f.options(), f.manifest.RunID); err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(files, f.files()); diff != "" {
		f.t.Error(diff)
	}
}

// A court may remove one case; as long as the site shows another one it is not a block.
func TestOneVanishedCaseIsNoBlock(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.site.setVerdict(func(id contract.CaseID) contract.Verdict {
		if id.Number == 4 {
			return contract.VerdictNoRecord
		}
		return contract.VerdictSuccess
	})
	f.publishEach(unconfirmedEnd()...)
	f.publishPlanned(0)
	if state := f.runToEnd(); state.Status != contract.Completed || state.Report.NoRecord != 5 ||
		state.Report.Requests != 10 {
		t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord,
			state.Report.Requests)
	}
}

func TestRunEndsUnconfirmedWithoutCanaryAnswer(t *testing.T) {
	t.Parallel()
	transient := func(contract.CaseID) contract.Verdict { return contract.VerdictTransient }
	for name, change := range map[string]func(f *fixture){
		"transient": func(f *fixture) { f.site.setVerdict(transient) },
		"silent":    func(f *fixture) { f.site.setVerdict(transient); f.site.noReply = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 8)
			change(f)
			f.publishEach(unconfirmedEnd()...)
			f.publishPlanned(0)
			options := f.options()
			options.FinalTimeout = time.Second
			w := f.startReporter(options, nil)
			state := f.awaitEnd()
			f.must(w.stop())
			want := "4 no-records are unconfirmed: the site did not answer for IMM-4-25, known to exist"
			if collected, _ := f.keys(); len(collected) != 4 || state.Report.Unconfirmed != 4 {
				t.Errorf("%d keys, %d unconfirmed; want 4 and 4", len(collected), state.Report.Unconfirmed)
			}
			if state.Status != contract.Completed || state.Reason != want || state.Report.NoRecord != 5 ||
				state.Report.Requests != 9 {
				t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord,
					state.Report.Requests)
			}
		})
	}
}

func TestCanaryRetryBackoff(t *testing.T) {
	t.Parallel()
	w := &worker{Service: New(Options{}), manifest: contract.Manifest{RunSettings: contract.RunSettings{MaxRetries: 8}}}
	w.canary.cases, w.canary.ending = []contract.CaseID{fcttest.CaseOf(4)}, true
	for attempt, want := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		least := time.Duration(want) * time.Second
		before := time.Now()
		w.onCanaryReply(contract.CanaryReply{Error: "no responders"})
		if wait := w.canary.retryAt.Sub(before); wait < least || wait > least+testTimeout {
			t.Errorf("attempt %d is followed by %s, want %d s", attempt+1, wait, want)
		}
	}
	if w.canary.givenUp {
		t.Error("given up after eight attempts, nine are allowed")
	}
	if w.onCanaryReply(contract.CanaryReply{}); !w.canary.givenUp {
		t.Error("not given up after nine attempts")
	}
}

func TestRunEndsBlocked_CanaryBlocked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 8)
	f.site.setVerdict(func(contract.CaseID) contract.Verdict { return contract.VerdictBlocked })
	f.publishEach(unconfirmedEnd()...)
	f.publishPlanned(0)
	state := f.runToEnd()
	want := "blocked by the site: right after a row of no-records; 4 no-records taken back"
	if state.Status != contract.Blocked || !state.Superseded || state.Reason != want || state.Report.NoRecord != 1 {
		t.Errorf("%s, superseded %t: %q, %d no-records", state.Status, state.Superseded, state.Reason,
			state.Report.NoRecord)
	}
}

// Two no-records before a block are too few to be voided: the resumed run sends its canary again.
func TestCanaryRepeatsAfterBlockedRunResumes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 20, noRecordLimit(1, 2))
	f.site.setVerdict(func(contract.CaseID) contract.Verdict { return contract.VerdictBlocked })
	f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2), fcttest.NoRecord(3))
	if state := f.runToEnd(); state.Status != contract.Blocked || !state.Resumable() ||
		state.Reason != "blocked by the site" || state.Report.NoRecord != 2 {
		t.Errorf("%s, resumable %t: %q, %d no-records", state.Status, state.Resumable(), state.Reason,
			state.Report.NoRecord)
	}
	f.site.setVerdict(showsAll)
	f.must(f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()))
	f.setRunning()
	if state := f.runToEnd(); state.Status != contract.SafeStop || state.Report.NoRecord != 2 {
		t.Errorf("then %s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

// A site that answers falsely before it blocks would later, when the block is over, confirm its
// false answers.
func TestBlockVoidsNoRecordsBeforeIt(t *testing.T) {
	t.Parallel()
	for _, row := range []int{2, 3} {
		f := newFixture(t, 20)
		f.publishEach(append(unconfirmedEnd()[:4+row], fcttest.Attempt(9, 1, contract.VerdictBlocked, ""))...)
		f.putHalt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: endTime})
		state := f.runToEnd()
		if len(f.site.canaries()) != 0 {
			t.Error("a canary was sent to a site that blocks")
		}
		kept := state.Resumable() && state.Reason == "status 403" && state.Report.NoRecord == 3
		back := state.Superseded && state.Report.NoRecord == 1 &&
			state.Reason == "status 403: right after a row of no-records; 3 no-records taken back"
		if state.Status != contract.Blocked || row == 2 && !kept || row == 3 && !back ||
			state.Report.Requests != 5+row {
			t.Errorf("%d in a row: %s, resumable %t: %q, %d no-records, %d requests", row, state.Status,
				state.Resumable(), state.Reason, state.Report.NoRecord, state.Report.Requests)
		}
		if row == 3 {
			f.assertRewritten(f.files())
		}
	}
}

func TestSafeStopConfirmsItsNoRecords(t *testing.T) {
	t.Parallel()
	for _, verdict := range []func(contract.CaseID) contract.Verdict{showsAll, showsNone} {
		f := newFixture(t, 20, noRecordLimit(1, 2))
		f.site.setVerdict(verdict)
		f.publishEntries(fcttest.Success(1), fcttest.NoRecord(2), fcttest.NoRecord(3))
		state := f.runToEnd()
		if len(f.site.canaries()) != 1 {
			t.Errorf("%d canaries", len(f.site.canaries()))
		}
		stopped := state.Status == contract.SafeStop && state.Report.NoRecord == 2 &&
			state.Reason == "2 consecutive no-record: IMM-2-23..IMM-3-23"
		blocked := state.Status == contract.Blocked && state.Superseded && state.Report.NoRecord == 0 &&
			len(state.Report.Errors) == 0
		if is := f.site.verdict(fcttest.CaseOf(1)); is == contract.VerdictSuccess && !stopped ||
			is == contract.VerdictNoRecord && !blocked {
			t.Errorf("%s: %s: %q, %d no-records", is, state.Status, state.Reason, state.Report.NoRecord)
		}
	}
}

// awaitCanaryRequests waits until the checkpoint counts so many canary requests.
func (f *fixture) awaitCanaryRequests(checks int) {
	f.t.Helper()
	awaitKey(f, f.manifest.RunID.CheckpointKey(), func(c checkpoint) bool { return c.Tally.CanaryRequests >= checks })
}

func TestLongNoRecordStretchStartsCanaries(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 400)
	w := f.startReporter(f.options(), nil)
	f.publishEntries(fcttest.Success(1))
	f.publishEach(outcomesOf(2, 20, fcttest.NoRecord)...) // 19
	f.awaitFolded()
	if n := len(f.site.canaries()); n != 0 {
		t.Errorf("%d canaries after 19 no-records", n)
	}
	f.publishEntries(fcttest.NoRecord(21))
	f.awaitCanaryRequests(1)
	f.publishEach(outcomesOf(22, 120, fcttest.NoRecord)...) // 99 more
	f.awaitFolded()
	if n := len(f.site.canaries()); n != 1 {
		t.Errorf("%d canaries after 119 no-records", n)
	}
	f.publishEntries(fcttest.NoRecord(121))
	f.awaitCanaryRequests(2)
	f.publishEntries(fcttest.Success(122))
	f.publishEach(outcomesOf(123, 142, fcttest.NoRecord)...)
	f.awaitCanaryRequests(3)
	f.must(w.stop())
	if n := len(f.site.canaries()); n != 3 {
		t.Errorf("%d canaries, want 3", n)
	}
}

func TestVanishedCanaryHaltsRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 400)
	f.site.setVerdict(showsNone)
	f.publishEach(fcttest.Success(1))
	f.publishEach(outcomesOf(2, 40, fcttest.NoRecord)...)
	state := f.runToEnd()
	if state.Status != contract.Blocked || !state.Superseded || state.Report.NoRecord != 0 ||
		state.Report.Succeeded != 1 {
		t.Errorf("%s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

func TestCanaryCasesFromOtherRuns(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	other := contract.CaseID{Series: "IMM", Year: "24", Number: 7}
	for name, c := range map[string]struct {
		keys       map[contract.CaseID]contract.Collected
		want       [][]contract.CaseID
		wantReason string
	}{
		"none": {nil, nil, "3 no-records are unconfirmed: no existing record is known to check the site with"},
		"of this year": {map[contract.CaseID]contract.Collected{
			fcttest.CaseOf(60): {Outcome: contract.Success, RunID: "before", At: fcttest.StartTime()},
			fcttest.CaseOf(61): {Outcome: contract.Success, RunID: "before", At: fcttest.StartTime().Add(1)},
			fcttest.CaseOf(62): {Outcome: contract.Success, RunID: "before", At: fcttest.StartTime().Add(-1)},
			fcttest.CaseOf(63): {Outcome: contract.NoRecord, RunID: "before", At: fcttest.StartTime().Add(2)},
			fcttest.CaseOf(64): {Outcome: contract.Success, Site: "another", RunID: "before", At: fcttest.StartTime().Add(3)},
			other:              {Outcome: contract.Success, RunID: "before"},
		}, [][]contract.CaseID{{fcttest.CaseOf(61), fcttest.CaseOf(60)}}, ""},
		"of another year": {map[contract.CaseID]contract.Collected{other: {Outcome: contract.Success,
			RunID: "before"}}, [][]contract.CaseID{{other}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 3)
			for id, value := range c.keys {
				f.put(f.buckets.collected, id.Key(), value)
			}
			f.publishEach(outcomesOf(1, 3, fcttest.NoRecord)...)
			f.publishPlanned(0)
			state := f.runToEnd()
			unconfirmed := 0
			if c.want == nil {
				unconfirmed = 3
			}
			keys := len(c.keys) + 3 - unconfirmed
			if got := f.countCollected(); got != keys || state.Report.Unconfirmed != unconfirmed ||
				state.Report.NoRecord != 3 {
				t.Errorf("%d keys, %d of %d no-records unconfirmed; want %d keys and %d unconfirmed", got,
					state.Report.Unconfirmed,
					state.Report.NoRecord, keys, unconfirmed)
			}
			if diff := cmp.Diff(c.want, f.site.canaries()); diff != "" || state.Status != contract.Completed ||
				state.Reason != c.wantReason {
				t.Errorf("%s: %q, canaries: %s", state.Status, state.Reason, diff)
			}
			f.site.stopFetcher()
		})
	}
}

func TestKilledAroundVanishedCanarySameArtifacts(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	newVanishing := func(folded int) *fixture {
		f := newFixtureOn(t, emptied(t, b), 8)
		f.site.setVerdict(showsNone)
		f.publishEach(unconfirmedEnd()[:folded]...)
		if folded > 0 {
			w := f.startReporter(f.options(), nil)
			f.awaitFolded()
			f.must(w.stop())
		}
		f.publishEach(unconfirmedEnd()[folded:]...)
		f.publishPlanned(0)
		return f
	}
	undisturbed := newVanishing(0)
	want := undisturbed.runToArtifacts()
	undisturbed.site.stopFetcher()
	for _, folded := range []int{1, 7} {
		for _, step := range stepNames() {
			for _, canary := range []bool{false, true} { // killed before the canary is folded, or while it is
				t.Run(fmt.Sprint(folded, step, canary), func(t *testing.T) {
					f := newVanishing(folded)
					f.killAt(step, canary)
					if diff := cmp.Diff(want, f.runToArtifacts()); diff != "" {
						t.Error(diff)
					}
					if collected, _ := f.keys(); len(collected) != 4 {
						t.Errorf("%d keys are left", len(collected))
					}
					f.site.stopFetcher()
				})
			}
		}
	}
}

// killAt runs a reporter and kills it at a step: of the batch with the canary, or of the first
// batch.
func (f *fixture) killAt(step string, canary bool) {
	f.t.Helper()
	var w runningReporter
	ready, reached := make(chan struct{}), make(chan struct{})
	w = f.startReporter(f.options(), func(current string) error {
		<-ready
		if current != step || canary && len(f.site.canaries()) == 0 {
			return nil
		}
		select {
		case <-reached:
		default:
			w.cancel()
			close(reached)
		}
		return errKilled
	})
	close(ready)
	select {
	case <-reached:
	case <-time.After(testTimeout):
		f.t.Fatalf("the step %s did not come", step)
	}
	f.must(w.stop())
	f.appendText(`{"run_id":"run","case_id":"IMM-`)
}
