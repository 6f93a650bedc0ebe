package reporter

import (
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// nothing says that no file is there.
func nothing(string) bool { return false }

// explained is the life of a number, by the keeper of the output folder that says which files are there.
func explained(t *testing.T, d *desk, number int, there func(string) bool) History {
	t.Helper()
	life, err := Explain(t.Context(), d.b, d.manifest.Case(number), there)
	if err != nil {
		t.Fatal(err)
	}
	return life
}

// told is an attempt in short.
type told struct {
	attempt int
	verdict contract.Verdict
	outcome contract.Outcome
	counts  bool
}

func toldOf(run RunHistory) (all []told) {
	for _, a := range run.Attempts {
		all = append(all, told{a.Attempt, a.Verdict, a.Outcome, a.Counts})
	}
	return all
}

func TestALifeHasEveryAttemptInOrder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5, func(m *contract.Manifest) { m.MaxRetries = 2 })
	first, blocked, last := attempt(3, 1, contract.VerdictTransient, ""), attempt(3, 2, contract.VerdictBlocked, ""), attempt(3, 2, contract.VerdictSuccess, contract.Success)
	first.PlannedAt, first.RetryAt = began, first.StartedAt.Add(1200*time.Millisecond)
	first.Requests[0].Digest = "sha256:00ff"
	blocked.Raw, blocked.RawType = []byte("go away"), "html"
	last.StartedAt = last.StartedAt.Add(time.Hour)
	d.packs(success(2), first, blocked, first, success(4), last, last)
	d.planned(0)
	life := explained(t, d, 3, func(name string) bool { return name == "html_failed/run/IMM-3-25.html" })
	if len(life.Runs) != 1 || !life.Asked {
		t.Fatalf("%d runs, asked %t; want one", len(life.Runs), life.Asked)
	}
	run := life.Runs[0]
	want := []told{
		{1, contract.VerdictTransient, "", true}, {2, contract.VerdictBlocked, "", true}, {1, contract.VerdictTransient, "", false},
		{2, contract.VerdictSuccess, contract.Success, true}, {2, contract.VerdictSuccess, contract.Success, false},
	}
	if diff := cmp.Diff(want, toldOf(run), cmp.AllowUnexported(told{})); diff != "" {
		t.Error(diff)
	}
	if run.Outcome != contract.Success || run.MaxAttempts != 3 || !run.PlannedAt.Equal(began) {
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
	if diff := cmp.Diff(&StoredFile{"cases/IMM/25/IMM-3-25.json", false}, life.Record); diff != "" {
		t.Error(diff)
	}
}

func TestALifeGoesOverAllRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	d.packs(failure(1))
	d.planned(0)
	later := *d
	for i, run := range []contract.RunID{"second", "third"} {
		later.manifest.RunID, later.manifest.CreatedAt = run, began.Add(time.Duration(i+1)*time.Hour)
		later.put(d.buckets.runs, run.ManifestKey(), later.manifest)
		later.running()
		if run == "second" {
			later.packs(success(1))
		}
		later.plan(contract.Planned{Range: d.manifest.Range, Jobs: 5})
	}
	other := *d
	other.manifest.RunID, other.manifest.Year = "other-year", "24"
	other.put(d.buckets.runs, other.manifest.RunID.ManifestKey(), other.manifest)
	d.put(d.buckets.collected, caseOf(1).Key(), contract.Collected{Outcome: contract.Success, RunID: "second", At: began})
	life := explained(t, d, 1, nothing)
	if len(life.Runs) != 2 || life.Runs[0].Outcome != contract.Failed || life.Runs[1].RunID != "second" || life.Runs[1].Outcome != contract.Success {
		t.Errorf("%+v; want the run that failed, then the one that succeeded", life.Runs)
	}
	if diff := cmp.Diff([]contract.RunID{"third"}, life.LeftOutBy); diff != "" {
		t.Error("left out by:", diff)
	}
	if life.Collected == nil || life.Collected.RunID != "second" || life.Failed != nil {
		t.Errorf("collected %+v, failed %+v", life.Collected, life.Failed)
	}
}

func TestANumberNobodyAskedForHasNoLife(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	d.packs(success(1))
	if life := explained(t, d, 99, nothing); life.Asked || len(life.Runs) != 0 || life.Collected != nil || life.Record != nil {
		t.Errorf("%+v; want nothing", life)
	}
}

func TestWhatIsUnderWayIsTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	answered := contract.Answer{CaseID: caseOf(2), Attempt: 1, Exchanges: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: began, Body: []byte("{}")}}}
	classified := contract.Answer{CaseID: caseOf(4), Attempt: 1, Exchanges: []contract.Exchange{{Call: "docket", StartedAt: success(4).StartedAt}}}
	body, err := contract.AnswerPack{Version: contract.MessageVersion, RunID: "run", Answers: []contract.Answer{answered, classified}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	d.publish(d.manifest.RunID.AnswerSubject(0), body)
	d.publish(d.manifest.RunID.JobSubject(3), []byte("{}"))
	d.packs(success(4))
	if run := explained(t, d, 2, nothing).Runs[0]; run.Outcome != "" || len(run.Attempts) != 1 || run.Attempts[0].Verdict != "" || run.Attempts[0].Requests[0].Status != 200 {
		t.Errorf("%+v; want one attempt that is not classified", run)
	}
	if run := explained(t, d, 3, nothing).Runs[0]; len(run.Attempts) != 0 || run.PlannedAt.IsZero() {
		t.Errorf("%+v; want a job that is planned and not asked for", run)
	}
	if run := explained(t, d, 4, nothing).Runs[0]; len(run.Attempts) != 1 || run.Outcome != contract.Success {
		t.Errorf("%+v; want the one attempt once", run)
	}
}

func TestStopsAndBlocksThatANumberMet(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5, func(m *contract.Manifest) { m.Site = "court" })
	refused := attempt(3, 1, contract.VerdictBlocked, "")
	d.packs(success(1), refused)
	stop := contract.State{Status: contract.Blocked, Reason: "blocked by the site at IMM-3-25 (waf)", At: began.Add(time.Minute), Round: 1}
	d.put(d.buckets.runs, d.manifest.RunID.StateKey(), stop)
	stop.Superseded = true
	d.put(d.buckets.runs, d.manifest.RunID.StateKey(), stop)
	sites, err := d.b.KV(t.Context(), contract.BucketSites)
	if err != nil {
		t.Fatal(err)
	}
	block := contract.SiteBlock{CaseID: caseOf(3), RunID: "run", Rule: "waf", At: began.Add(time.Minute), Until: began.Add(time.Hour)}
	d.put(sites, contract.BlockKey("court"), block)
	life := explained(t, d, 3, nothing)
	if diff := cmp.Diff([]Stop{{stop.Status, stop.Reason, stop.At}}, life.Runs[0].Stops); diff != "" {
		t.Error("stops:", diff)
	}
	if diff := cmp.Diff([]SiteBlock{{"court", block}}, life.Blocks); diff != "" {
		t.Error("blocks:", diff)
	}
	if before := explained(t, d, 1, nothing); len(before.Runs[0].Stops)+len(before.Blocks) != 0 {
		t.Errorf("%+v; number 1 was settled before the block", before)
	}
}

// The header says what a message holds: one that holds other numbers alone is not opened, and a broken one that may hold
// the number is an error.
func TestOnlyMessagesOfTheNumberAreOpened(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	broken := nats.NewMsg(d.manifest.RunID.OutcomeSubject(0))
	broken.Header.Set(contract.StateHeader, contract.FormatStates([]contract.AttemptState{{Number: 4, Attempt: 1}}))
	broken.Data = []byte("broken")
	if _, err := d.b.Publish(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	d.packs(success(1))
	if life := explained(t, d, 1, nothing); life.Runs[0].Outcome != contract.Success {
		t.Errorf("%+v", life)
	}
	if _, err := Explain(t.Context(), d.b, caseOf(4), nothing); !errors.Is(err, ErrLedger) {
		t.Errorf("%v, want ErrLedger", err)
	}
	if _, err := Explain(t.Context(), fcttest.Broker(t), caseOf(4), nothing); err != nil {
		t.Errorf("%v; a store without runs knows nothing, which is no error", err)
	}
}
