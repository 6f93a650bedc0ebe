package fold

import (
	"fmt"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

func TestCauseOf(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"docket call: status 500"},
		{"docket call: status 503", "docket call: status 503"},
		{"list call: status 500"},
		{"docket call: read tcp 127.0.0.1:53412->127.0.0.1:80: connection reset by peer",
			"docket call: read tcp 10.0.0.7:6->192.168.100.200:65535: connection reset by peer"},
		{"dial tcp [2001:db8::1]:443: i/o timeout", "dial tcp [::1]:8443: i/o timeout",
			"dial tcp 10.1.2.3:443: i/o timeout"},
		{"max_body: the store cannot hold this answer: 41943040 bytes",
			"max_body: the store cannot hold this answer: 1 bytes"},
		{"request_timeout: longer than 30s", "request_timeout: longer than 1m30s", "request_timeout: longer than 1.5s"},
		{"docket call: rows of other cases alone: \"IMM-3-25\"", `docket call: rows of other cases alone: "T-1 \" v 7"`,
			`docket call: rows of other cases alone: "cut off`},
		{"copying IMM-1-25 from run imm-25-20261125t101500z-1: gone",
			"copying IMM-77-25 from run imm-25-20261125t101501z-12: gone"},
		{"digest 0123456789abcdef0123456789abcdef is another", "digest f0000000000000000000000000000000 is another"},
		{"RecordsTotal says 12, there are 11 rows", "RecordsTotal says 1,200, there are 3 rows"},
		{"worker crashed"},
		{""},
	} {
		want := CauseOf(same[0])
		for _, other := range same[1:] {
			if got := CauseOf(other); got != want {
				t.Errorf("%q is of the cause %q, want %q", other, got, want)
			}
		}
	}
	if CauseOf("status 500") == CauseOf("status 503") || CauseOf("docket call: Status 500") == CauseOf("list call: Status 500") {
		t.Error("status codes and calls do not tell causes apart")
	}
}

// Every failed number counts, in whatever order the errors came.
func TestErrorSamplesGroupByCause(t *testing.T) {
	t.Parallel()
	var folded Tally
	for number := 1; number <= 30; number++ {
		entry := fcttest.Failure(number)
		entry.Error = fmt.Sprintf("docket call: status %d", 500+number%3*(number%2))
		folded.AddEntry(entry, 0)
	}
	want := []contract.ErrorSample{
		{CaseID: fcttest.Failure(2).CaseID, Attempts: 1, Error: "docket call: status 500", Count: 20},
		{CaseID: fcttest.Failure(1).CaseID, Attempts: 1, Error: "docket call: status 501", Count: 5},
		{CaseID: fcttest.Failure(5).CaseID, Attempts: 1, Error: "docket call: status 502", Count: 5},
	}
	if diff := cmp.Diff(want, folded.ErrorSamples()); diff != "" || folded.Failed != 30 {
		t.Errorf("%d failed: %s", folded.Failed, diff)
	}
}

func TestErrorSamples_TooManyCauses(t *testing.T) {
	t.Parallel()
	var folded Tally
	for number := 1; number <= 60; number++ {
		entry := fcttest.Failure(number)
		entry.Error = "no field " + strings.Repeat("x", number%30)
		folded.AddEntry(entry, 0)
	}
	sum := 0
	for _, sample := range folded.ErrorSamples() {
		sum += sample.Count
	}
	other := folded.ErrorSamples()[0]
	if len(folded.ErrorSamples()) != contract.MaxErrorSamples || sum != 60 || other.Count != 22 ||
		!strings.HasPrefix(other.Error, "other causes, such as: no field x") {
		t.Errorf("%d causes of %d failures; %+v", len(folded.ErrorSamples()), sum, other)
	}
}
