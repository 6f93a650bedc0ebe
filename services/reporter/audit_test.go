package reporter

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

func audited(d *desk) contract.Audit {
	d.t.Helper()
	var audit contract.Audit
	d.must(json.Unmarshal([]byte(d.files()["audit_run.json"]), &audit))
	return audit
}

// TestAuditListsWhatFailed: every failed number, however many, with its last error and a path that leads to the raw answer.
func TestAuditListsWhatFailed(t *testing.T) {
	t.Parallel()
	for _, persist := range []bool{false, true} {
		d := newDesk(t, 40, func(m *contract.Manifest) { m.PersistRawHTML = persist })
		var want []contract.CrawlResult
		for number := 1; number <= 38; number++ {
			first, last := attempt(number, 1, contract.VerdictTransient, ""), attempt(number, 2, contract.VerdictTransient, contract.Failed)
			first.Error, last.Error = "reset", fmt.Sprintf("status 500 & <%d>", number)
			last.Raw, last.RawType = []byte(fmt.Sprint("answer ", number)), "html"
			d.pack(first)
			d.packs(last, last)
			want = append(want, contract.CrawlResult{CaseID: d.manifest.Case(number), Attempts: 2, Error: last.Error,
				HTMLPath: fmt.Sprintf("html_failed/run/IMM-%d-25.html", number)})
		}
		bare := failure(39)
		bare.Raw = nil
		d.packs(bare, success(40))
		want = append(want, contract.CrawlResult{CaseID: d.manifest.Case(39), Attempts: 1, Error: bare.Error})
		d.planned(0)
		d.finish()
		audit := audited(d)
		if diff := cmp.Diff(want, audit.Failed); diff != "" || audit.FailedCount != len(audit.Failed) {
			t.Fatalf("%d failed: %s", audit.FailedCount, diff)
		}
		for i, result := range audit.Failed[:38] {
			if data, err := os.ReadFile(filepath.Join(d.dir, result.HTMLPath)); err != nil || string(data) != fmt.Sprint("answer ", i+1) {
				t.Errorf("%s leads to %q: %v", result.HTMLPath, data, err)
			}
		}
		d.must(os.Remove(d.path("audit_run.json")))
		if _, _, err := d.rewritten(); err != nil || !cmp.Equal(audit, audited(d)) {
			t.Errorf("written again: %v: %s", err, cmp.Diff(audit, audited(d)))
		}
	}
}

// TestAuditOfAnErroredRun: a run that ends by a mismatch lists what failed, and one without failures has an empty list.
func TestAuditOfAnErroredRun(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	d.packs(success(1), failure(2))
	d.plan(contract.Planned{Range: d.manifest.Range, Jobs: 2, Skipped: 1})
	if state, _ := d.errored(nil); state.Status != contract.Errored {
		t.Fatal(state.Status)
	}
	if got := audited(d).Failed; len(got) != 1 || got[0].CaseID != d.manifest.Case(2) || got[0].Attempts != 1 {
		t.Errorf("failed: %+v", got)
	}
	d = newDesk(t, 1)
	d.pack(success(1))
	d.planned(0)
	d.finish()
	if got := audited(d).Failed; got == nil || len(got) != 0 {
		t.Errorf("failed: %+v, want an empty list", got)
	}
}
