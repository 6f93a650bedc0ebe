package files

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/fold"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// The page's policy forbids everything but its own style, also when text of a site contains a
// style.
func TestReportPagePolicy(t *testing.T) {
	t.Parallel()
	data, err := render(contract.Report{Reason: `<script>alert(1)</script><style>*{background:url(//x)}</style>`,
		Version: `"><img src=x onerror=alert(1)>`})
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	meta := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatchIndex(text)
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(text, -1)
	if meta == nil || len(style) != 1 || meta[0] > strings.Index(text, "<style>") {
		t.Fatalf("policy at %v, %d styles; want one policy before one style", meta, len(style))
	}
	sum := sha256.Sum256([]byte(style[0][1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'"
	if got := html.UnescapeString(text[meta[2]:meta[3]]); got != want {
		t.Errorf("policy %s, want %s", got, want)
	}
	if strings.Contains(text, " style=") || strings.Contains(text, "<script") || strings.Contains(text, "<img") {
		t.Error("the page holds what its policy forbids")
	}
}

// The wall clock is set back by a day during the run.
func TestReportTimes_ClockSetBack(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9},
		CreatedAt: fcttest.StartTime()}
	folded := &fold.Tally{}
	first := contract.Entry{CaseID: m.Case(1), Attempt: 1, Verdict: contract.VerdictTransient,
		StartedAt: fcttest.StartTime().Add(time.Minute), Seconds: 0.5}
	second := contract.Entry{CaseID: m.Case(1), Attempt: 2, Verdict: contract.VerdictNoRecord,
		Outcome: contract.NoRecord, StartedAt: fcttest.StartTime().Add(time.Minute - 24*time.Hour)}
	other := contract.Entry{CaseID: m.Case(2), Attempt: 1, Verdict: contract.VerdictNoRecord,
		Outcome: contract.NoRecord, StartedAt: second.StartedAt}
	d, err := Derive(m, folded.AddMessage(ledger.Message{Sequence: 1, Entries: []contract.Entry{first, second, other}}, 0),
		func(contract.CaseID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var stamps []time.Time
	for line := range strings.Lines(string(d.Lines)) {
		var attempt contract.AttemptLine
		if err := json.Unmarshal([]byte(line), &attempt); err != nil {
			t.Fatal(err)
		}
		stamps = append(stamps, attempt.Timestamp)
	}
	if diff := cmp.Diff([]time.Time{first.StartedAt, first.StartedAt, fcttest.StartTime()}, stamps); diff != "" {
		t.Errorf("timestamps of the attempts: %s", diff)
	}
	r := Summary{Manifest: m, Tally: folded, Finished: fcttest.StartTime().Add(-24 * time.Hour),
		Elapsed: 90 * time.Second}.Report()
	if !r.StartedAt.Equal(fcttest.StartTime()) || !r.FinishedAt.Equal(fcttest.StartTime().Add(90*time.Second)) || r.DurationSeconds != 90 {
		t.Errorf("from %s to %s, %v s", r.StartedAt, r.FinishedAt, r.DurationSeconds)
	}
	r = Summary{Manifest: m, Tally: folded, Finished: fcttest.StartTime().Add(time.Hour), Elapsed: 90 * time.Second}.Report()
	if !r.FinishedAt.Equal(fcttest.StartTime().Add(time.Hour)) || r.DurationSeconds != 90 {
		t.Errorf("set forward: until %s, %v s", r.FinishedAt, r.DurationSeconds)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
