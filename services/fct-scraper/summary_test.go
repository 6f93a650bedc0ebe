package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/fct-scraper/runtime"
)

func TestSummary_FailuresByCause(t *testing.T) {
	t.Parallel()
	id := contract.CaseID{Series: "IMM", Year: "25", Number: 3}
	r := contract.Report{Start: 1, End: 40, Total: 30, Failed: 28, TotalAttempted: 33, FailedCount: 30, Beyond: 3, Requests: 1, Retries: 1, Errors: []contract.ErrorSample{
		{CaseID: id, Attempts: 1, Error: "docket call: status 500", Count: 20}, {CaseID: id, Attempts: 2, Error: "docket call: status 503", Count: 5},
		{CaseID: id, Attempts: 2, Error: "docket call: status 502", Count: 4}, {CaseID: id, Attempts: 2, Error: "worker crashed", Count: 1},
	}}
	text := summary(r, "output", "")
	for _, want := range []string{
		"20 of 30: docket call: status 500 (IMM-3-25, after 1 attempt)\n", "5 of 30: docket call: status 503 (IMM-3-25, after 2 attempts)\n",
		"1 cause more in the report\n", "3 more requested by the search: 0 success, 0 no-record, 2 failed\n", "1, 1 retry, smallest gap",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestSummary_Changes(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	text := summary(contract.Report{Changes: []contract.ControlChange{
		{At: at, Command: "tune", Settings: map[string]any{"delay_max": "0s", "concurrency": 16}},
		{At: at.Add(time.Minute), Command: "pause"},
	}}, "output", "")
	if want := "  changed    2026-06-01T12:00:00.000Z tune: concurrency 16, delay_max 0s\n" +
		"  changed    2026-06-01T12:01:00.000Z pause\n"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	s := runtime.RunStatus{Tuned: map[string]any{"delay_max": "0s", "concurrency": 16}}
	if text := statusText(s); !strings.Contains(text, "  tuned: concurrency 16, delay_max 0s") {
		t.Errorf("no settings in %s", text)
	}
}

// TestSummary_Listed: the report of a run is fresh, or read from its file.
func TestSummary_Listed(t *testing.T) {
	t.Parallel()
	list, problems := contract.ParseCaseList([]string{"IMM-3-25", "IMM-5-25..IMM-9-25"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, test := range []struct {
		ids  any
		want string
	}{
		{list, "  listed     6 case ids\n"},
		{[]any{"IMM-3-25", "IMM-5-25..IMM-9-25"}, "  listed     6 case ids\n"},
		{[]any{"IMM-3-25"}, "  listed     1 case id\n"},
		{nil, ""},
		{"none", ""},
	} {
		text := summary(contract.Report{Config: map[string]any{contract.FieldIDs: test.ids}}, "output", "")
		if is := strings.Contains(text, "listed"); is != (test.want != "") || !strings.Contains(text, test.want) {
			t.Errorf("%v: no %q in\n%s", test.ids, test.want, text)
		}
	}
}

func TestSummary_Bound(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]contract.Report{
		"bound      200 or more, found with 9 requests: the range ends there or below\n": {UpperBound: 200, ProbesUsed: 9, UpperBoundAtLimit: true},
		"bound      300, found with 9 requests (99.9 % sure)\n":                          {UpperBound: 300, ProbesUsed: 9, UpperBoundConfidence: 0.9999},
		"bound      300, found with 0 requests (99.9 % sure, by answers up to 30m1s old)\n": {
			UpperBound: 300, UpperBoundConfidence: 1, UpperBoundAgeSeconds: 1801,
		},
		"bound      not found with 9 requests\n": {UpperBound: 60, ProbesUsed: 9},
		"5 unconfirmed:":                         {Unconfirmed: 5},
	} {
		if text := summary(r, "output", ""); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// TestPercent_NeverHundred: whatever is rounded, no chance is said to be certain.
func TestPercent_NeverHundred(t *testing.T) {
	t.Parallel()
	for chance, want := range map[float64]string{0: "0.0 %", 0.5: "50.0 %", 0.9987: "99.9 %", 0.9996: "99.9 %", 1: "99.9 %"} {
		if got := percent(chance); got != want {
			t.Errorf("%v is said to be %q, want %q", chance, got, want)
		}
	}
}

func TestStatusLine_Trouble(t *testing.T) {
	t.Parallel()
	settings := &config.Settings{Config: config.Config{Batch: contract.Batch{Prefix: "IMM", Year: "25", Start: 1}, DataDir: "data", Output: "output"}}
	last := contract.Event{RunID: "r", Range: contract.Range{Start: 1, End: 100}, Succeeded: 30, NoRecord: 6, Failed: 1}
	for name, test := range map[string]struct {
		err   error
		run   contract.RunID
		last  contract.Event
		json  bool
		wants []string
	}{
		"in mid-run":  {runtime.ErrBroker, "r", last, false, []string{"IMM-1-25 to IMM-100-25: error (exit code 6)", "at least 37 = 30 success + 6 no-record + 1 failed", "run        r", "store      data", "fix what the error names and repeat the command: it resumes the run\n"}},
		"at its end":  {fmt.Errorf("%w: x", ledger.ErrMismatch), "r", last, false, []string{"(exit code 7)", "report --run"}},
		"not started": {runtime.ErrBroker, "", contract.Event{}, false, []string{"IMM-1-25 to its end", "no run was started", "names and repeat the command\n"}},
		"usage":       {runtime.ErrUsage, "", contract.Event{}, false, nil},
		"JSON":        {runtime.ErrBroker, "r", last, true, nil},
	} {
		var out bytes.Buffer
		p := &program{stdout: &stdoutWriter{w: &out}}
		if err := p.printErrorSummary(errorSummary{errorExitCode(test.err), test.err, settings, test.run, test.last}, test.json); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
		for _, want := range test.wants {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, out.String())
			}
		}
		if test.wants == nil && out.Len() > 0 {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

func TestStatusText_Planned(t *testing.T) {
	t.Parallel()
	for status, want := range map[contract.Status]string{contract.Running: "3 of 9 = ", contract.Blocked: "3 of 9 = ", contract.Completed: "  9 = "} {
		s := runtime.RunStatus{RunID: "r", Status: status, Planned: 9, Done: 3}
		if status == contract.Completed {
			s.Done = 9
		}
		if text := statusText(s); !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q", status, text, want)
		}
	}
}
