package contract_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

func TestCanaryVerdict(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const s, n, x, b = contract.VerdictSuccess, contract.VerdictNoRecord, contract.VerdictTransient, contract.VerdictBlocked
	for _, c := range []struct {
		verdicts []contract.Verdict
		want     contract.Verdict
		started  int // seconds after at; -1 is never
	}{
		{nil, x, -1},
		{[]contract.Verdict{s}, s, 0},
		{[]contract.Verdict{n, s}, s, 1},
		{[]contract.Verdict{n}, n, 0},
		{[]contract.Verdict{n, n}, n, 1},
		{[]contract.Verdict{n, x}, x, -1},
		{[]contract.Verdict{n, b}, b, -1},
		{[]contract.Verdict{""}, x, -1},
	} {
		var entries []contract.Entry
		for i, verdict := range c.verdicts {
			entries = append(entries, contract.Entry{Verdict: verdict, StartedAt: at.Add(time.Duration(i) * time.Second)})
		}
		verdict, started := contract.CanaryVerdict(entries)
		want := time.Time{}
		if c.started >= 0 {
			want = at.Add(time.Duration(c.started) * time.Second)
		}
		if verdict != c.want || !started.Equal(want) {
			t.Errorf("%v: %s at %s, want %s at %s", c.verdicts, verdict, started, c.want, want)
		}
	}
}

func TestCanaryRequest_RoundTrip(t *testing.T) {
	t.Parallel()
	const golden = `{"v":1,"run_id":"run","case_ids":["IMM-1-25","IMM-7-24"]}`
	request := contract.CanaryRequest{Version: contract.MessageVersion, RunID: "run", CaseIDs: []contract.CaseID{
		{Series: "IMM", Year: "25", Number: 1}, {Series: "IMM", Year: "24", Number: 7},
	}}
	data, err := json.Marshal(request)
	if err != nil || string(data) != golden {
		t.Fatalf("%s, %v", data, err)
	}
	back, err := contract.DecodeCanaryRequest(data)
	if diff := cmp.Diff(request, back); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for _, text := range []string{"", "{}", `{"v":2,"run_id":"run","case_ids":["IMM-1-25"]}`, `{"v":1,"run_id":"run"}`, `{"v":1,"run_id":"*","case_ids":["IMM-1-25"]}`} {
		if _, err := contract.DecodeCanaryRequest([]byte(text)); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEntryEndedAt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	entry := contract.Entry{StartedAt: at, Seconds: 9}
	if ended := entry.EndedAt(); !ended.Equal(at.Add(9 * time.Second)) {
		t.Errorf("without requests: %s", ended)
	}
	entry.Requests = []contract.Exchange{{StartedAt: at, Seconds: 1}, {StartedAt: at.Add(3 * time.Second), Seconds: 2}}
	if ended := entry.EndedAt(); !ended.Equal(at.Add(5 * time.Second)) {
		t.Errorf("with two requests: %s", ended)
	}
}
