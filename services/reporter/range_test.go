package reporter

import (
	"encoding/json"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
)

func TestVerifierChecksRange(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	numbers := func(from, to int) (entries []contract.Entry) {
		for n := from; n <= to; n++ {
			entries = append(entries, fcttest.Success(n))
		}
		return entries
	}
	requested := contract.Range{Start: 1, End: 5}
	for name, c := range map[string]struct {
		entries []contract.Entry
		plan    contract.Planned
		want    string
	}{
		"neither fetched nor collected": {numbers(1, 4), contract.Planned{Range: requested, Jobs: 4, Skipped: 1},
			"neither fetched nor collected: 1 case, first IMM-5-25"},
		"outside of the range": {numbers(2, 6), contract.Planned{Range: requested, Jobs: 5},
			"outcomes outside of the range: 1 case, first IMM-6-25"},
		"more outcomes than jobs": {numbers(1, 6), contract.Planned{Range: requested, Jobs: 5},
			"6 outcomes for 5 jobs"},
		"another range": {numbers(1, 4), contract.Planned{Range: contract.Range{Start: 1, End: 4},
			Jobs: 4}, "range 1..4 was planned, the manifest has 1..5"},
		"a longer range": {numbers(1, 6), contract.Planned{Range: contract.Range{Start: 1, End: 6},
			Jobs: 6}, "range 1..6 was planned, the manifest has 1..5"},
		"fewer numbers than the range": {numbers(1, 5), contract.Planned{Range: requested, Jobs: 4},
			"4 jobs and 0 skipped for 5 numbers"},
		"more numbers than the range": {numbers(1, 5), contract.Planned{Range: requested, Jobs: 6},
			"6 jobs and 0 skipped for 5 numbers"},
		"less than nothing skipped": {numbers(1, 5), contract.Planned{Range: requested, Jobs: 6, Skipped: -1},
			"6 jobs and -1 skipped"},
		"less than no jobs": {nil, contract.Planned{Range: requested, Jobs: -1, Skipped: 6},
			"-1 jobs and 6 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 5)
			if len(c.entries) > 0 {
				f.publishEntries(c.entries...)
			}
			f.publishPlan(c.plan)
			state, err := f.runToError(nil)
			f.assertMismatch(state, err, c.want)
		})
	}
}

// A run of a list has the listed numbers of its range and no others.
func TestVerifierChecksList(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	list, problems := contract.ParseCaseList([]string{"IMM-1-25", "IMM-3-25", "IMM-5-25"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	of := func(numbers ...int) (entries []contract.Entry) {
		for _, n := range numbers {
			entries = append(entries, fcttest.Success(n))
		}
		return entries
	}
	for name, c := range map[string]struct {
		entries []contract.Entry
		plan    contract.Planned
		want    string
	}{
		"all": {of(1, 3, 5), contract.Planned{Jobs: 3}, ""},
		"neither fetched nor collected": {of(1, 5), contract.Planned{Jobs: 2, Skipped: 1},
			"neither fetched nor collected: 1 case, first IMM-3-25"},
		"not listed": {of(1, 2, 3), contract.Planned{Jobs: 3},
			"outcomes outside of the range: 1 case, first IMM-2-25"},
		"planned as a range": {of(1, 3, 5), contract.Planned{Jobs: 3, Skipped: 2},
			"3 jobs and 2 skipped for 3 numbers"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 5, func(m *contract.Manifest) { m.IDs = list })
			c.plan.Range = contract.Range{Start: 1, End: 5}
			f.publishEntries(c.entries...)
			f.publishPlan(c.plan)
			if c.want == "" {
				state := f.runToEnd()
				if r := state.Report; state.Status != contract.Completed || r.Total != 3 || r.Remaining != 0 ||
					r.StartID != "IMM-1-25" || r.EndID != "IMM-5-25" {
					t.Errorf("%s: %s: %+v", state.Status, state.Reason, r)
				}
				return
			}
			state, err := f.runToError(nil)
			f.assertMismatch(state, err, c.want)
		})
	}
}

func TestUnreadableMessageIsMismatch(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	encoded := func(change func(*contract.EntryPack)) []byte {
		pack := contract.EntryPack{Version: contract.MessageVersion, RunID: "run",
			Entries: []contract.Entry{fcttest.Success(2)}}
		change(&pack)
		data, err := ledger.Encode(pack)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"no pack":         {[]byte("hello\n"), "on outcome.run.0: message not readable"},
		"nothing":         {nil, "message not readable"},
		"another version": {encoded(func(p *contract.EntryPack) { p.Version = 2 }), "version 2, this program reads 1"},
		"another run":     {encoded(func(p *contract.EntryPack) { p.RunID = "other" }), "pack of run other"},
		"another series": {encoded(func(p *contract.EntryPack) { p.Entries[0].CaseID.Series = "T" }),
			"T-2-25: not of series IMM and year 25"},
		"another year": {encoded(func(p *contract.EntryPack) { p.Entries[0].CaseID.Year = "24" }),
			"IMM-2-24: not of series IMM and year 25"},
		"no outcome": {encoded(func(p *contract.EntryPack) { p.Entries[0].Outcome = "fine" }), `outcome "fine"`},
		"no record": {encoded(func(p *contract.EntryPack) { p.Entries[0].Record = nil }),
			"success without a record"},
		"something behind": {append(encoded(func(*contract.EntryPack) {}), 'x'), "1 bytes after the last body"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 2)
			f.publishEntries(fcttest.NoRecord(1))
			f.publish(f.manifest.RunID.OutcomeSubject(0), c.data)
			state, err := f.runToError(nil)
			f.assertMismatch(state, err, c.want)
		})
	}
}

func TestUnreadablePlannedMessageIsMismatch(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for name, data := range map[string]string{"no JSON": "end",
		"another version": `{"v":2,"range":{"start":1,"end":2},"jobs":2}`} {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, emptied(t, b), 2)
			f.publishEntries(fcttest.NoRecord(1), fcttest.Success(2))
			f.publish(f.manifest.RunID.PlannedSubject(), []byte(data))
			state, err := f.runToError(nil)
			f.assertMismatch(state, err, "outcome.run.planned: message not readable")
		})
	}
}

func TestMismatchIsReportedAfterResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	f.publishEntries(fcttest.Success(1))
	f.publishPlan(contract.Planned{Range: f.manifest.Range, Jobs: 1, Skipped: 4})
	for range 2 {
		state, err := f.runToError(nil)
		f.assertMismatch(state, err, "neither fetched nor collected: 4 cases")
		f.setRunning()
	}
	for n := 2; n <= 5; n++ {
		value, err := json.Marshal(contract.Collected{Outcome: contract.Success, RunID: "other"})
		if err != nil {
			t.Fatal(err)
		}
		f.publish("$KV."+contract.BucketCollected+"."+f.manifest.Case(n).Key(), value)
	}
	if state := f.runToEnd(); state.Status != contract.Completed || state.Report.Skipped != 4 ||
		StateError(state) != nil {
		t.Errorf("%s: %s", state.Status, state.Reason)
	}
}
