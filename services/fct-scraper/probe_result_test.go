package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

func TestSummary_Search(t *testing.T) {
	t.Parallel()
	found := probeResultOf(contract.Manifest{Prefix: "IMM", Year: "25", Bound: &contract.Bound{
		Number: 5600, FiledOn: "2025-12-30", Confidence: 0.9987, Ending: "done", Requests: 21, Absences: []int{5601, 5610},
	}})
	data, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"prefix":"IMM","year":"25","upper_bound":5600,"probes_used":21,"confidence":0.9987,` +
		`"condition":"no gap of 200 or more numbers lies close under the highest one","ending":"done","filed_on":"2025-12-30",` +
		`"evidence":[{"case_id":"IMM-5600-25","outcome":"success"},{"case_id":"IMM-5601-25","outcome":"no-record"},{"case_id":"IMM-5610-25","outcome":"no-record"}]}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"highest number 5600\n", "99.9 % that none is more than 200 higher", "no gap of 200", "21 requests", "2025-12-30", "IMM-5601-25 IMM-5610-25\n"} {
		if !strings.Contains(found.text(time.Now()), part) {
			t.Errorf("%q is not said:\n%s", part, found.text(time.Now()))
		}
	}
}

func TestSummary_BoundAtLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []bool{false, true} {
		found := probeResultOf(contract.Manifest{Prefix: "IMM", Year: "25", Bound: &contract.Bound{
			Number: 100, AtLimit: limit, Confidence: 0.999, Ending: "done", Requests: 1,
		}})
		text := found.text(time.Now())
		if found.AtLimit != limit || strings.Contains(text, " or more\n") != limit || strings.Contains(text, "99.9 %") == limit {
			t.Errorf("at limit %t:\n%s", limit, text)
		}
		if strings.Contains(text, "no record") {
			t.Errorf("a search without absences lists them:\n%s", text)
		}
	}
}
