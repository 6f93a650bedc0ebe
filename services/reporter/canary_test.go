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

// doubtful is a run of eight numbers that ends with four no-records for which nothing vouches.
func doubtful() []contract.Entry {
	return slices.Concat(outcomesOf(1, 2, success), outcomesOf(3, 3, noRecord), outcomesOf(4, 4, success), outcomesOf(5, 8, noRecord))
}

func TestADoubtfulEndIsVouchedFor(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.packs(doubtful()...)
	d.planned(0)
	state := d.finish()
	if diff := cmp.Diff([][]contract.CaseID{{caseOf(4), caseOf(2)}}, d.court.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if state.Status != contract.Completed || state.Reason != "" || state.Report.NoRecord != 5 || state.Report.Requests != 9 || state.Superseded {
		t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord, state.Report.Requests)
	}
	if lines := strings.Count(d.files()["attempts_run.ndjson"], "\n"); lines != 8 {
		t.Errorf("%d lines for 8 attempts", lines)
	}
}

func TestNoRecordsWithoutACanaryAreTakenBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.court.say(vanished)
	d.packs(doubtful()...)
	d.planned(0)
	state := d.finish()
	want := "blocked by the site at IMM-2-25 (canary): it no longer shows IMM-4-25 and IMM-2-25, known to exist; 4 no-records taken back"
	if state.Status != contract.Blocked || state.Reason != want || !state.Superseded || state.Resumable() {
		t.Errorf("%s, superseded %t: %q, want %q", state.Status, state.Superseded, state.Reason, want)
	}
	if r := state.Report; r.Total != 4 || r.Succeeded != 3 || r.NoRecord != 1 || r.Requests != 10 || r.UpperBoundConfidence != 0 {
		t.Errorf("report %+v", r)
	}
	collected, _ := d.keys()
	for number := range 9 {
		if _, there := collected[number]; there != (number >= 1 && number <= 4) {
			t.Errorf("number %d is collected: %t", number, there)
		}
	}
	files := d.files()
	if files["html_failed/run/IMM-4-25.json"] == "" || files["html_failed/run/IMM-2-25.json"] == "" {
		t.Error("the evidence is not kept")
	}
	lines := strings.Split(strings.TrimSpace(files["attempts_run.ndjson"]), "\n")
	var last contract.AttemptLine
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || len(lines) != 12 || last.Outcome != "blocked" || last.CaseID != caseOf(8) ||
		last.StatusCode != 200 || last.DurationMS != 250 || !strings.Contains(strings.Join(last.Notes, ""), "taken back") {
		t.Errorf("%d lines, the last is %+v, %v", len(lines), last, err)
	}
	stop := object(t, files["checkpoint-run.json"], checkpointKeys)
	if stop["next_number"] != 5.0 {
		t.Errorf("checkpoint %v", stop)
	}
	d.writtenAgain(files)
}

// What another run got before the site went bad, copied behind the row, is no proof of life.
func TestACopiedFileVouchesForNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 9)
	d.court.say(vanished)
	copied := outcomesOf(9, 9, success)
	copied[0].Requests = nil
	d.packs(append(doubtful(), copied...)...)
	d.planned(0)
	state := d.finish()
	if diff := cmp.Diff([][]contract.CaseID{{caseOf(9), caseOf(4)}}, d.court.canaries()); diff != "" {
		t.Errorf("canaries: %s", diff)
	}
	if r := state.Report; state.Status != contract.Blocked || !state.Superseded || r.Succeeded != 4 || r.NoRecord != 1 {
		t.Errorf("%s, superseded %t: %d succeeded, %d no-record; want the four no-records behind IMM-4-25 taken back", state.Status,
			state.Superseded, r.Succeeded, r.NoRecord)
	}
	d.writtenAgain(d.files())
}

// writtenAgain writes the run's files again, which are to be as they were.
func (d *desk) writtenAgain(files map[string]string) {
	d.t.Helper()
	if _, _, err := Rewrite(d.t.Context(), d.options(), d.manifest.RunID); err != nil {
		d.t.Fatal(err)
	}
	if diff := cmp.Diff(files, d.files()); diff != "" {
		d.t.Error(diff)
	}
}

// A court may take a file away; as long as it shows another one, it is not blocking anybody.
func TestAFileThatWasTakenAwayBlocksNobody(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.court.say(func(id contract.CaseID) contract.Verdict {
		if id.Number == 4 {
			return contract.VerdictNoRecord
		}
		return contract.VerdictSuccess
	})
	d.packs(doubtful()...)
	d.planned(0)
	if state := d.finish(); state.Status != contract.Completed || state.Report.NoRecord != 5 || state.Report.Requests != 10 {
		t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord, state.Report.Requests)
	}
}

func TestWithoutAWordFromTheSiteTheRunEndsAllTheSame(t *testing.T) {
	t.Parallel()
	transient := func(contract.CaseID) contract.Verdict { return contract.VerdictTransient }
	for name, change := range map[string]func(d *desk){
		"transient": func(d *desk) { d.court.say(transient) },
		"silent":    func(d *desk) { d.court.say(transient); d.court.silent = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, 8)
			change(d)
			d.packs(doubtful()...)
			d.planned(0)
			options := d.options()
			options.FinalTimeout = time.Second
			w := d.start(options, nil)
			state := d.await()
			d.must(w.stop())
			want := "4 no-records are unconfirmed: the site did not answer for IMM-4-25, known to exist"
			if collected, _ := d.keys(); len(collected) != 4 || state.Report.Unconfirmed != 4 {
				t.Errorf("%d keys, %d unconfirmed; want 4 and 4", len(collected), state.Report.Unconfirmed)
			}
			if state.Status != contract.Completed || state.Reason != want || state.Report.NoRecord != 5 || state.Report.Requests != 9 {
				t.Errorf("%s: %q, %d no-records, %d requests", state.Status, state.Reason, state.Report.NoRecord, state.Report.Requests)
			}
		})
	}
}

func TestACanaryIsAskedAgainAfterLongerAndLongerWaits(t *testing.T) {
	t.Parallel()
	w := &worker{Service: New(Options{}), manifest: contract.Manifest{MaxRetries: 8}}
	w.question.asked, w.question.final = []contract.CaseID{caseOf(4)}, true
	for try, want := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		least := time.Duration(want) * time.Second
		before := time.Now()
		w.hear(contract.CanaryReply{Error: "nobody there"})
		if wait := w.question.again.Sub(before); wait < least || wait > least+patience {
			t.Errorf("try %d is followed by %s, want %d s", try+1, wait, want)
		}
	}
	if w.question.resigned {
		t.Error("given up after eight tries, nine are allowed")
	}
	if w.hear(contract.CanaryReply{}); !w.question.resigned {
		t.Error("not given up after nine tries")
	}
}

func TestARunWhoseCanaryIsBlockedEndsBlocked(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	d.court.say(func(contract.CaseID) contract.Verdict { return contract.VerdictBlocked })
	d.packs(doubtful()...)
	d.planned(0)
	state := d.finish()
	want := "blocked by the site: right behind a row of no-records; 4 no-records taken back"
	if state.Status != contract.Blocked || !state.Superseded || state.Reason != want || state.Report.NoRecord != 1 {
		t.Errorf("%s, superseded %t: %q, %d no-records", state.Status, state.Superseded, state.Reason, state.Report.NoRecord)
	}
}

// Two no-records before a block are no row: the run goes on, and asks its canary then.
func TestARunWhoseCanaryWasBlockedAsksAgainWhenItGoesOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 20, noRecordLimit(1, 2))
	d.court.say(func(contract.CaseID) contract.Verdict { return contract.VerdictBlocked })
	d.pack(success(1), noRecord(2), noRecord(3))
	if state := d.finish(); state.Status != contract.Blocked || !state.Resumable() || state.Reason != "blocked by the site" || state.Report.NoRecord != 2 {
		t.Errorf("%s, resumable %t: %q, %d no-records", state.Status, state.Resumable(), state.Reason, state.Report.NoRecord)
	}
	d.court.say(alive)
	d.must(d.buckets.runs.Delete(t.Context(), d.manifest.RunID.HaltKey()))
	d.running()
	if state := d.finish(); state.Status != contract.SafeStop || state.Report.NoRecord != 2 {
		t.Errorf("then %s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

// A site that lies before it says that it blocks us would vouch for its lies when the block is over.
func TestNoRecordsRightBeforeABlockAreTakenBack(t *testing.T) {
	t.Parallel()
	for _, row := range []int{2, 3} {
		d := newDesk(t, 20)
		d.packs(append(doubtful()[:4+row], attempt(9, 1, contract.VerdictBlocked, ""))...)
		d.halt(contract.Halt{Status: contract.Blocked, Reason: "status 403", At: closed})
		state := d.finish()
		if len(d.court.canaries()) != 0 {
			t.Error("a site that blocks us was asked")
		}
		kept := state.Resumable() && state.Reason == "status 403" && state.Report.NoRecord == 3
		back := state.Superseded && state.Reason == "status 403: right behind a row of no-records; 3 no-records taken back" && state.Report.NoRecord == 1
		if state.Status != contract.Blocked || row == 2 && !kept || row == 3 && !back || state.Report.Requests != 5+row {
			t.Errorf("%d in a row: %s, resumable %t: %q, %d no-records, %d requests", row, state.Status, state.Resumable(), state.Reason, state.Report.NoRecord, state.Report.Requests)
		}
		if row == 3 {
			d.writtenAgain(d.files())
		}
	}
}

func TestASafeStopRestsOnNoNoRecordInDoubt(t *testing.T) {
	t.Parallel()
	for _, says := range []func(contract.CaseID) contract.Verdict{alive, vanished} {
		d := newDesk(t, 20, noRecordLimit(1, 2))
		d.court.say(says)
		d.pack(success(1), noRecord(2), noRecord(3))
		state := d.finish()
		if len(d.court.canaries()) != 1 {
			t.Errorf("%d canaries", len(d.court.canaries()))
		}
		stopped := state.Status == contract.SafeStop && state.Reason == "2 consecutive no-record: IMM-2-23..IMM-3-23" && state.Report.NoRecord == 2
		blocked := state.Status == contract.Blocked && state.Superseded && state.Report.NoRecord == 0 && len(state.Report.Errors) == 0
		if is := d.court.says(caseOf(1)); is == contract.VerdictSuccess && !stopped || is == contract.VerdictNoRecord && !blocked {
			t.Errorf("%s: %s: %q, %d no-records", is, state.Status, state.Reason, state.Report.NoRecord)
		}
	}
}

// canariesAre waits until so many canaries stand in the checkpoint.
func (d *desk) canariesAre(checks int) {
	d.t.Helper()
	awaitKey(d, d.manifest.RunID.CheckpointKey(), func(c checkpoint) bool { return c.Tally.Checks >= checks })
}

func TestALongRowAsksACanaryNowAndThen(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 400)
	w := d.start(d.options(), nil)
	d.pack(success(1))
	d.packs(outcomesOf(2, 20, noRecord)...) // 19
	d.folded()
	if n := len(d.court.canaries()); n != 0 {
		t.Errorf("%d canaries after 19 no-records", n)
	}
	d.pack(noRecord(21))
	d.canariesAre(1)
	d.packs(outcomesOf(22, 120, noRecord)...) // 99 more
	d.folded()
	if n := len(d.court.canaries()); n != 1 {
		t.Errorf("%d canaries after 119 no-records", n)
	}
	d.pack(noRecord(121))
	d.canariesAre(2)
	d.pack(success(122))
	d.packs(outcomesOf(123, 142, noRecord)...)
	d.canariesAre(3)
	d.must(w.stop())
	if n := len(d.court.canaries()); n != 3 {
		t.Errorf("%d canaries, want 3", n)
	}
}

func TestABadCanaryStopsTheRunInTheMiddle(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 400)
	d.court.say(vanished)
	d.packs(success(1))
	d.packs(outcomesOf(2, 40, noRecord)...)
	state := d.finish()
	if state.Status != contract.Blocked || !state.Superseded || state.Report.NoRecord != 0 || state.Report.Succeeded != 1 {
		t.Errorf("%s: %q, %d no-records", state.Status, state.Reason, state.Report.NoRecord)
	}
}

func TestTheCanariesOfARunThatKnowsNoFileItself(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	other := contract.CaseID{Series: "IMM", Year: "24", Number: 7}
	for name, c := range map[string]struct {
		keys map[contract.CaseID]contract.Collected
		want [][]contract.CaseID
		says string
	}{
		"none": {nil, nil, "3 no-records are unconfirmed: no existing record is known to check the site with"},
		"of this year": {map[contract.CaseID]contract.Collected{
			caseOf(60): {Outcome: contract.Success, RunID: "before", At: began}, caseOf(61): {Outcome: contract.Success, RunID: "before", At: began.Add(1)},
			caseOf(62): {Outcome: contract.Success, RunID: "before", At: began.Add(-1)}, caseOf(63): {Outcome: contract.NoRecord, RunID: "before", At: began.Add(2)},
			caseOf(64): {Outcome: contract.Success, Site: "another", RunID: "before", At: began.Add(3)}, other: {Outcome: contract.Success, RunID: "before"},
		}, [][]contract.CaseID{{caseOf(61), caseOf(60)}}, ""},
		"of another year": {map[contract.CaseID]contract.Collected{other: {Outcome: contract.Success, RunID: "before"}}, [][]contract.CaseID{{other}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := deskOn(t, cleared(t, b), 3)
			for id, value := range c.keys {
				d.put(d.buckets.collected, id.Key(), value)
			}
			d.packs(outcomesOf(1, 3, noRecord)...)
			d.planned(0)
			state := d.finish()
			unconfirmed := 0
			if c.want == nil {
				unconfirmed = 3
			}
			keys := len(c.keys) + 3 - unconfirmed
			if got := d.keyCount(); got != keys || state.Report.Unconfirmed != unconfirmed || state.Report.NoRecord != 3 {
				t.Errorf("%d keys, %d of %d no-records unconfirmed; want %d keys and %d unconfirmed", got, state.Report.Unconfirmed,
					state.Report.NoRecord, keys, unconfirmed)
			}
			if diff := cmp.Diff(c.want, d.court.canaries()); diff != "" || state.Status != contract.Completed || state.Reason != c.says {
				t.Errorf("%s: %q, canaries: %s", state.Status, state.Reason, diff)
			}
			d.court.leave()
		})
	}
}

func TestAReporterKilledAroundABadCanaryLeavesTheSame(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	soft := func(folded int) *desk {
		d := deskOn(t, cleared(t, b), 8)
		d.court.say(vanished)
		d.packs(doubtful()[:folded]...)
		if folded > 0 {
			w := d.start(d.options(), nil)
			d.folded()
			d.must(w.stop())
		}
		d.packs(doubtful()[folded:]...)
		d.planned(0)
		return d
	}
	plain := soft(0)
	want := plain.left()
	plain.court.leave()
	for _, folded := range []int{1, 7} {
		for _, step := range steps() {
			for _, canary := range []bool{false, true} { // killed before the canary is folded, or while it is
				t.Run(fmt.Sprint(folded, step, canary), func(t *testing.T) {
					d := soft(folded)
					d.killedAt(step, canary)
					if diff := cmp.Diff(want, d.left()); diff != "" {
						t.Error(diff)
					}
					if collected, _ := d.keys(); len(collected) != 4 {
						t.Errorf("%d keys are left", len(collected))
					}
					d.court.leave()
				})
			}
		}
	}
}

// killedAt runs a reporter until it comes to a step, of the batch that holds the canary or of the first, and kills it there.
func (d *desk) killedAt(step string, canary bool) {
	d.t.Helper()
	var w working
	ready, reached := make(chan struct{}), make(chan struct{})
	w = d.start(d.options(), func(now string) error {
		<-ready
		if now != step || canary && len(d.court.canaries()) == 0 {
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
	case <-time.After(patience):
		d.t.Fatalf("the step %s did not come", step)
	}
	d.must(w.stop())
	d.scribble(`{"run_id":"run","case_id":"IMM-`)
}
