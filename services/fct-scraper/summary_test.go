package main

import (
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
)

func TestSummaryCountsFailuresByCause(t *testing.T) {
	t.Parallel()
	id := contract.CaseID{Series: "IMM", Year: "25", Number: 3}
	r := contract.Report{Start: 1, End: 40, Total: 30, Failed: 28, TotalAttempted: 33, FailedCount: 30, Beyond: 3, Requests: 1, Retries: 1, Errors: []contract.ErrorSample{
		{CaseID: id, Attempts: 1, Error: "docket call: status 500", Count: 20}, {CaseID: id, Attempts: 2, Error: "docket call: status 503", Count: 5},
		{CaseID: id, Attempts: 2, Error: "docket call: status 502", Count: 4}, {CaseID: id, Attempts: 2, Error: "worker crashed", Count: 1},
	}}
	text := summary(r, "output", "")
	for _, want := range []string{
		"20 of 30: docket call: status 500 (IMM-3-25, after 1 attempt)\n", "5 of 30: docket call: status 503 (IMM-3-25, after 2 attempts)\n",
		"1 cause more in the report\n", "3 more asked for by the search: 0 success, 0 no-record, 2 failed\n", "1, 1 retry, smallest gap",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
