package reporter

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

func readAudit(f *fixture) contract.Audit {
	f.t.Helper()
	var audit contract.Audit
	f.must(json.Unmarshal([]byte(f.files()["audit_run.json"]), &audit))
	return audit
}

// Every failed number is listed, however many there are, with its last error and the path of its
// raw answer.
func TestAuditListsFailures(t *testing.T) {
	t.Parallel()
	for _, persist := range []bool{false, true} {
		f := newFixture(t, 40, func(m *contract.Manifest) { m.PersistRawHTML = persist })
		var want []contract.CrawlResult
		for number := 1; number <= 38; number++ {
			first, last := fcttest.Attempt(number, 1, contract.VerdictTransient, ""),
				fcttest.Attempt(number, 2, contract.VerdictTransient, contract.Failed)
			first.Error, last.Error = "reset", fmt.Sprintf("status 500 & <%d>", number)
			last.Raw, last.RawType = []byte(fmt.Sprint("answer ", number)), "html"
			f.publishEntries(first)
			f.publishEach(last, last)
			want = append(want, contract.CrawlResult{CaseID: f.manifest.Case(number), Attempts: 2, Error: last.Error,
				HTMLPath: fmt.Sprintf("html_failed/run/IMM-%d-25.html", number)})
		}
		bare := fcttest.Failure(39)
		bare.Raw = nil
		f.publishEach(bare, fcttest.Success(40))
		want = append(want, contract.CrawlResult{CaseID: f.manifest.Case(39), Attempts: 1, Error: bare.Error})
		f.publishPlanned(0)
		f.runToEnd()
		audit := readAudit(f)
		if diff := cmp.Diff(want, audit.Failed); diff != "" || audit.FailedCount != len(audit.Failed) {
			t.Fatalf("%d failed: %s", audit.FailedCount, diff)
		}
		for i, result := range audit.Failed[:38] {
			if data, err := os.ReadFile(filepath.Join(f.dir, result.HTMLPath)); err != nil ||
				string(data) != fmt.Sprint("answer ", i+1) {
				t.Errorf("%s leads to %q: %v", result.HTMLPath, data, err)
			}
		}
		f.must(os.Remove(f.path("audit_run.json")))
		if _, _, err := f.rewrite(); err != nil || !cmp.Equal(audit, readAudit(f)) {
			t.Errorf("written again: %v: %s", err, cmp.Diff(audit, readAudit(f)))
		}
	}
}

// A run that ends by a mismatch lists its failures; a run without failures has an empty list.
func TestAuditOfErroredRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	f.publishEach(fcttest.Success(1), fcttest.Failure(2))
	f.publishPlan(contract.Planned{Range: f.manifest.Range, Jobs: 2, Skipped: 1})
	if state, _ := f.runToError(nil); state.Status != contract.Errored {
		t.Fatal(state.Status)
	}
	if got := readAudit(f).Failed; len(got) != 1 || got[0].CaseID != f.manifest.Case(2) || got[0].Attempts != 1 {
		t.Errorf("failed: %+v", got)
	}
	f = newFixture(t, 1)
	f.publishEntries(fcttest.Success(1))
	f.publishPlanned(0)
	f.runToEnd()
	if got := readAudit(f).Failed; got == nil || len(got) != 0 {
		t.Errorf("failed: %+v, want an empty list", got)
	}
}
