package reporter

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/fold"
)

// A duration that a report stores in seconds must be the same when the report is rewritten.
func TestSecondsIsExact(t *testing.T) {
	t.Parallel()
	for want := time.Nanosecond; want < 50*24*time.Hour; want = want*17/16 + 1 {
		if got := seconds(want.Seconds()); got != want {
			t.Errorf("%d ns became %d ns", want, got)
		}
	}
}

// A canary confirms what the fold had read before the canary was requested, whatever the times, and
// nothing after it.
func TestCanaryConfirms_ClockSetBack(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9},
		CreatedAt: fcttest.StartTime()}
	absent := func(number int) []contract.Entry {
		return []contract.Entry{{
			CaseID: m.Case(number), Attempt: 1, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord,
			StartedAt: fcttest.StartTime(),
			Requests:  []contract.Exchange{{StartedAt: fcttest.StartTime(), Seconds: 0.5}},
		}}
	}
	canary := []contract.Entry{{CaseID: m.Case(9), Verdict: contract.VerdictSuccess,
		StartedAt: fcttest.StartTime().Add(-24 * time.Hour)}}
	folded, reader := &fold.Tally{}, newVerifier(m, 0)
	for _, read := range []ledger.Message{
		{Sequence: 3, Entries: absent(1)}, {Sequence: 5, Entries: absent(2)}, {Sequence: 7, Entries: absent(3)},
		{Sequence: 8, Canary: canary, After: 5},
	} {
		folded.AddMessage(read, 0)
		if err := reader.read(read); err != nil {
			t.Fatal(err)
		}
	}
	if len(folded.Unconfirmed) != 1 || folded.Unconfirmed[0].CaseID.Number != 3 {
		t.Errorf("unconfirmed: %+v, want number 3 alone", folded.Unconfirmed)
	}
	if _, found := reader.unconfirmed.endedAt[3]; len(reader.unconfirmed.endedAt) != 1 || !found {
		t.Errorf("the verifier has %v, want number 3 alone", reader.unconfirmed.endedAt)
	}
}

func TestStopwatchAddsUp(t *testing.T) {
	t.Parallel()
	now := fcttest.StartTime()
	s := stopwatch{now: func() time.Time { return now }}
	s.resume(60)
	now = now.Add(time.Minute)
	s.resume(90) // the checkpoint of this process: nothing new
	if got := s.elapsed(); got != 2*time.Minute {
		t.Errorf("%s, want 2m", got)
	}
	s.resume(600) // another process has worked on the run since
	if got := s.elapsed(); got != 10*time.Minute {
		t.Errorf("%s, want 10m", got)
	}
}
