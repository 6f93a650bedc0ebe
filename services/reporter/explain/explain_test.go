package explain

import (
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// noFileExists reports that no file exists.
func noFileExists(string) bool { return false }

// explain returns the history of a number; exists reports which files exist.
func explain(t *testing.T, f fixture, number int, exists func(string) bool) History {
	t.Helper()
	history, err := Explain(t.Context(), f.bus, f.manifest.Case(number), exists)
	if err != nil {
		t.Fatal(err)
	}
	return history
}

// attemptSummary is the part of an attempt that the tests compare.
type attemptSummary struct {
	attempt int
	verdict contract.Verdict
	outcome contract.Outcome
	counts  bool
}

func summarize(run RunHistory) (all []attemptSummary) {
	for _, a := range run.Attempts {
		all = append(all, attemptSummary{a.Attempt, a.Verdict, a.Outcome, a.Counts})
	}
	return all
}

func TestExplainListsAttemptsInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 2)
	first, blocked, last := fcttest.Attempt(3, 1, contract.VerdictTransient, ""), fcttest.Attempt(3, 2, contract.VerdictBlocked, ""),
		fcttest.Attempt(3, 2, contract.VerdictSuccess, contract.Success)
	first.PlannedAt, first.RetryAt = fcttest.StartTime(), first.StartedAt.Add(1200*time.Millisecond)
	first.Requests[0].Digest = "sha256:00ff"
	blocked.Raw, blocked.RawType = []byte("go away"), "html"
	last.StartedAt = last.StartedAt.Add(time.Hour)
	f.publishEach(fcttest.Success(2), first, blocked, first, fcttest.Success(4), last, last)
	f.publishPlanned()
	history := explain(t, f, 3, func(name string) bool { return name == "html_failed/run/IMM-3-25.html" })
	if len(history.Runs) != 1 || !history.Asked {
		t.Fatalf("%d runs, asked %t; want one", len(history.Runs), history.Asked)
	}
	run := history.Runs[0]
	want := []attemptSummary{
		{1, contract.VerdictTransient, "", true}, {2, contract.VerdictBlocked, "", true},
		{1, contract.VerdictTransient, "", false},
		{2, contract.VerdictSuccess, contract.Success, true}, {2, contract.VerdictSuccess, contract.Success, false},
	}
	if diff := cmp.Diff(want, summarize(run), cmp.AllowUnexported(attemptSummary{})); diff != "" {
		t.Error(diff)
	}
	if run.Outcome != contract.Success || run.MaxAttempts != 3 || !run.PlannedAt.Equal(fcttest.StartTime()) {
		t.Errorf("%s with %d attempts, planned at %v", run.Outcome, run.MaxAttempts, run.PlannedAt)
	}
	if wait := run.Attempts[0].WaitSeconds; wait < 0.999 || wait > 1.001 {
		t.Errorf("waits %v s; the request took 0.2 of the 1.2 s until the retry", wait)
	}
	if digests := run.Attempts[0].Requests[0].Digest + run.Attempts[1].Requests[0].Digest; digests != "sha256:00ff" {
		t.Errorf("digests %q; an older ledger has none", digests)
	}
	if diff := cmp.Diff([]StoredFile{{"html_failed/run/IMM-3-25.html", true}}, run.Attempts[1].RawFiles); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(&StoredFile{"cases/IMM/25/IMM-3-25.json", false}, history.Record); diff != "" {
		t.Error(diff)
	}
}

func TestExplainCoversAllRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	f.publishEach(fcttest.Failure(1))
	f.publishPlanned()
	later := f
	for i, run := range []contract.RunID{"second", "third"} {
		later.manifest.RunID, later.manifest.CreatedAt = run, fcttest.StartTime().Add(time.Duration(i+1)*time.Hour)
		later.putRun()
		if run == "second" {
			later.publishEach(fcttest.Success(1))
		}
		later.publishPlanned()
	}
	other := f
	other.manifest.RunID, other.manifest.Year = "other-year", "24"
	other.putRun()
	f.put(contract.BucketCollected, fcttest.CaseOf(1).Key(), contract.Collected{Outcome: contract.Success, RunID: "second",
		At: fcttest.StartTime()})
	history := explain(t, f, 1, noFileExists)
	if len(history.Runs) != 2 || history.Runs[0].Outcome != contract.Failed || history.Runs[1].RunID != "second" ||
		history.Runs[1].Outcome != contract.Success {
		t.Errorf("%+v; want the run that failed, then the one that succeeded", history.Runs)
	}
	if diff := cmp.Diff([]contract.RunID{"third"}, history.LeftOutBy); diff != "" {
		t.Error("left out by:", diff)
	}
	if history.Collected == nil || history.Collected.RunID != "second" || history.Failed != nil {
		t.Errorf("collected %+v, failed %+v", history.Collected, history.Failed)
	}
}

func TestExplain_NumberNeverPlanned(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	f.publishEach(fcttest.Success(1))
	if history := explain(t, f, 99, noFileExists); history.Asked || len(history.Runs) != 0 ||
		history.Collected != nil || history.Record != nil {
		t.Errorf("%+v; want nothing", history)
	}
}

func TestExplain_InFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	answered := contract.Answer{CaseID: fcttest.CaseOf(2), Attempt: 1,
		Exchanges: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: fcttest.StartTime(), Body: []byte("{}")}}}
	classified := contract.Answer{CaseID: fcttest.CaseOf(4), Attempt: 1,
		Exchanges: []contract.Exchange{{Call: "docket", StartedAt: fcttest.Success(4).StartedAt}}}
	body, err := ledger.Encode(contract.AnswerPack{Version: contract.MessageVersion, RunID: "run",
		Answers: []contract.Answer{answered, classified}})
	if err != nil {
		t.Fatal(err)
	}
	f.publish(f.manifest.RunID.AnswerSubject(0), body)
	f.publish(f.manifest.RunID.JobSubject(3), []byte("{}"))
	f.publishEach(fcttest.Success(4))
	if run := explain(t, f, 2, noFileExists).Runs[0]; run.Outcome != "" || len(run.Attempts) != 1 ||
		run.Attempts[0].Verdict != "" || run.Attempts[0].Requests[0].Status != 200 {
		t.Errorf("%+v; want one attempt that is not classified", run)
	}
	if run := explain(t, f, 3, noFileExists).Runs[0]; len(run.Attempts) != 0 || run.PlannedAt.IsZero() {
		t.Errorf("%+v; want a planned job without attempts", run)
	}
	if run := explain(t, f, 4, noFileExists).Runs[0]; len(run.Attempts) != 1 || run.Outcome != contract.Success {
		t.Errorf("%+v; want the one attempt once", run)
	}
}

func TestExplainListsStopsAndBlocks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	refused := fcttest.Attempt(3, 1, contract.VerdictBlocked, "")
	f.publishEach(fcttest.Success(1), refused)
	stop := contract.State{Status: contract.Blocked, Reason: "blocked by the site at IMM-3-25 (waf)",
		At: fcttest.StartTime().Add(time.Minute), Round: 1}
	f.put(contract.BucketRuns, f.manifest.RunID.StateKey(), stop)
	stop.Superseded = true
	f.put(contract.BucketRuns, f.manifest.RunID.StateKey(), stop)
	block := contract.SiteBlock{CaseID: fcttest.CaseOf(3), RunID: "run", Rule: "waf", At: fcttest.StartTime().Add(time.Minute),
		Until: fcttest.StartTime().Add(time.Hour)}
	f.put(contract.BucketSites, contract.BlockKey("court"), block)
	history := explain(t, f, 3, noFileExists)
	if diff := cmp.Diff([]Stop{{stop.Status, stop.Reason, stop.At}}, history.Runs[0].Stops); diff != "" {
		t.Error("stops:", diff)
	}
	if diff := cmp.Diff([]SiteBlock{{"court", block}}, history.Blocks); diff != "" {
		t.Error("blocks:", diff)
	}
	if before := explain(t, f, 1, noFileExists); len(before.Runs[0].Stops)+len(before.Blocks) != 0 {
		t.Errorf("%+v; number 1 had its outcome before the block", before)
	}
}

// The header lists the numbers of a message. A message of other numbers is not decoded; a broken
// one that may hold the number is an error.
func TestExplainDecodesOnlyMessagesOfNumber(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	broken := nats.NewMsg(f.manifest.RunID.OutcomeSubject(0))
	broken.Header.Set(ledger.StateHeader, ledger.FormatStates([]ledger.AttemptState{{Number: 4, Attempt: 1}}))
	broken.Data = []byte("broken")
	if _, err := f.bus.Publish(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	f.publishEach(fcttest.Success(1))
	if history := explain(t, f, 1, noFileExists); history.Runs[0].Outcome != contract.Success {
		t.Errorf("%+v", history)
	}
	if _, err := Explain(t.Context(), f.bus, fcttest.CaseOf(4), noFileExists); !errors.Is(err, ledger.ErrMismatch) {
		t.Errorf("%v, want ledger.ErrMismatch", err)
	}
	if _, err := Explain(t.Context(), fcttest.Broker(t), fcttest.CaseOf(4), noFileExists); err != nil {
		t.Errorf("%v; a store without runs knows nothing, which is no error", err)
	}
}
