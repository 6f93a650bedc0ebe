package reporter

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// version1 returns entries whose records are of version 1, as an older classifier writes them.
func version1(entries ...contract.Entry) []contract.Entry {
	for i := range entries {
		if e := &entries[i]; e.Outcome == contract.Success {
			e.Record = fmt.Appendf(nil, `{
 "version": 1,
 "case_id": %q,
 "filed_on": %q,
 "entries": 0,
 "docket": [],
 "fetched_at": %q,
 "source": "http://court.test/"
}
`, e.CaseID, e.FiledOn, e.StartedAt.Format(time.RFC3339Nano))
		}
	}
	return entries
}

// asOlder makes the files and keys of successes as an older reporter leaves them, and returns the
// states of the files.
func (f *fixture) asOlder(entries []contract.Entry) map[string]os.FileInfo {
	f.t.Helper()
	for _, e := range entries {
		if e.Outcome == contract.Success {
			f.must(os.WriteFile(f.path("cases/IMM/25/"+e.CaseID.String()+".json"), e.Record, 0o640))
			f.put(f.buckets.collected, e.CaseID.Key(), contract.Collected{Outcome: e.Outcome, Site: f.manifest.Site,
				RunID: f.manifest.RunID, At: e.StartedAt, FiledOn: e.FiledOn, Size: len(e.Record)})
		}
	}
	return f.states(entries)
}

// states returns the states of the record files of successes.
func (f *fixture) states(entries []contract.Entry) map[string]os.FileInfo {
	f.t.Helper()
	states := map[string]os.FileInfo{}
	for _, e := range entries {
		if e.Outcome != contract.Success {
			continue
		}
		name := "cases/IMM/25/" + e.CaseID.String() + ".json"
		info, err := os.Stat(f.path(name))
		f.must(err)
		states[name] = info
	}
	return states
}

// wantVersion checks the version of all record files and, by their keys, the sizes that restore
// expects. With states the files must be those of then, not written again.
func (f *fixture) wantVersion(version int, entries []contract.Entry, states map[string]os.FileInfo) {
	f.t.Helper()
	collected, _ := f.keys()
	files := f.files()
	for name, info := range f.states(entries) {
		if !strings.HasPrefix(files[name], fmt.Sprintf("{\n \"version\": %d,\n", version)) {
			f.t.Errorf("%s has another version than %d: %.30q", name, version, files[name])
		}
		if states != nil && !os.SameFile(info, states[name]) {
			f.t.Errorf("%s was written again", name)
		}
	}
	for _, e := range entries {
		if size := len(files["cases/IMM/25/"+e.CaseID.String()+".json"]); e.Outcome == contract.Success &&
			collected[e.CaseID.Number].Size != size {
			f.t.Errorf("%s: the key has size %d, the file %d", e.CaseID, collected[e.CaseID.Number].Size, size)
		}
	}
}

// TestRecordVersion1_Upgrade: records that an older program collected are whole and stay as they are,
// until report --run or a restore writes them as the current version.
func TestRecordVersion1_Upgrade(t *testing.T) {
	t.Parallel()
	entries := version1(mixedEntries()...)
	f := newFixture(t, 8)
	f.publishEach(entries...)
	f.publishPlanned(0)
	f.runToEnd()
	f.wantVersion(contract.RecordVersion, entries, nil) // new reporter, older classifier
	want := records(f.files())
	old := f.asOlder(entries)
	for _, run := range []contract.RunID{"next", "later"} {
		if state := f.runNext(run); state.Status != contract.Completed {
			t.Fatalf("%s: %s", state.Status, state.Reason)
		}
		f.wantVersion(1, entries, old)
	}
	if _, _, err := f.rewrite(); err != nil {
		t.Fatal(err)
	}
	rewritten := f.states(entries)
	if state := f.runNext("after"); state.Status != contract.Completed {
		t.Fatalf("%s: %s", state.Status, state.Reason)
	}
	f.wantVersion(contract.RecordVersion, entries, rewritten)
	f.asOlder(entries)
	f.must(os.RemoveAll(f.path("cases")))
	f.runNext("last")
	f.wantVersion(contract.RecordVersion, entries, nil)
	got := records(f.files())
	delete(got, "cases/IMM/25/IMM-20-25.json")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRecordVersion1_ResumedRun: a run that an older program began ends without rewriting what that
// one wrote.
func TestRecordVersion1_ResumedRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 4)
	old := version1(fcttest.Success(1), fcttest.Success(2))
	f.publishEach(old...)
	f.putHalt(contract.Halt{Status: contract.Stopped, Reason: "signal", At: endTime})
	f.runToEnd()
	states := f.asOlder(old)
	f.must(f.buckets.runs.Delete(t.Context(), f.manifest.RunID.HaltKey()))
	f.setRunning()
	f.publishEach(fcttest.Success(3), fcttest.NoRecord(4))
	f.publishPlanned(0)
	if state := f.runToEnd(); state.Status != contract.Completed || state.Report.Succeeded != 3 {
		t.Fatalf("%s: %s; %+v", state.Status, state.Reason, state.Report)
	}
	f.wantVersion(1, old, states)
	f.wantVersion(contract.RecordVersion, []contract.Entry{fcttest.Success(3)}, nil)
}
