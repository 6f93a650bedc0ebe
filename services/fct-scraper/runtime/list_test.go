package runtime

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// everyNth returns the list of the cases IMM-<n>-25 with every step-th number of a range.
func everyNth(r contract.Range, step int) contract.CaseList {
	var lists contract.CaseLists
	for n := r.Start; n <= r.End; n += step {
		lists.Add(contract.CaseID{Series: "IMM", Year: "25", Number: n})
	}
	return lists.Lists()[0]
}

// checkList checks that of the year only the listed numbers were requested, each exactly once, and
// returns how many of them have a record.
func (p *fixture) checkList(list contract.CaseList) (exist int) {
	p.t.Helper()
	asked := map[int]bool{}
	for number := range p.sim.Stats().PerNumber["IMM-25"] {
		n, err := strconv.Atoi(number)
		if err != nil {
			p.t.Fatal(err)
		}
		asked[n] = true
	}
	if got, want := slices.Sorted(maps.Keys(asked)), slices.Collect(list.Numbers()); !slices.Equal(got, want) {
		p.t.Errorf("requested %v, want %v", got, want)
	}
	for n := range list.Numbers() {
		found, _ := fcttest.Truth(p.sim, contract.Range{Start: n, End: n})
		exist += found
	}
	return exist
}

func TestList_StartToReport(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 5000, Missing: 0.2},
		map[string]string{"start": "3", "max_cases": "2", "probe": "true"})
	p.ids = everyNth(contract.Range{Start: 40, End: 4000}, 60)
	first := p.report(nil)
	exist, all := p.checkList(p.ids), p.ids.Size()
	if first.Status != contract.Completed || first.Total != all || first.Succeeded != exist ||
		first.NoRecord != all-exist ||
		first.Skipped != 0 || first.Beyond != 0 || first.Remaining != 0 || first.ProbesUsed != 0 {
		t.Errorf("%+v; want %d = %d + %d", first, all, exist, all-exist)
	}
	if first.Start != 40 || first.StartID != "IMM-40-25" || first.End != 4000 || first.EndID != "IMM-4000-25" {
		t.Errorf("%d..%d, %s..%s", first.Start, first.End, first.StartID, first.EndID)
	}
	if ids, ok := first.Config[contract.FieldIDs].([]any); !ok || len(ids) != all || ids[0] != "IMM-40-25" {
		t.Errorf("ids of the report: %v", first.Config[contract.FieldIDs])
	}
	before := p.memory.requests()
	second := p.report(nil)
	if p.memory.requests() != before || second.Skipped != all || second.Total != 0 || second.RunID == first.RunID {
		t.Errorf("again: %d requests, %d skipped, %d in total", p.memory.requests()-before, second.Skipped,
			second.Total)
	}
	forced := p.report(map[string]string{"force": "true"})
	if forced.Total != all || forced.Skipped != 0 {
		t.Errorf("forced: %d skipped, %d in total", forced.Skipped, forced.Total)
	}
	// A range requests what the list has left out.
	p.ids = contract.CaseList{}
	if whole := p.report(map[string]string{"start": "40", "max_cases": "61", "probe": "false"}); whole.Skipped != 2 ||
		whole.Total != 59 {
		t.Errorf("the range: %d skipped, %d in total", whole.Skipped, whole.Total)
	}
}

// Another list with the same first and last number is another batch.
func TestList_IdentityOfList(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 5000, Latency: time.Millisecond},
		map[string]string{"concurrency": "1"})
	p.ids = everyNth(contract.Range{Start: 1, End: 81}, 4)
	p.cut(20, nil)
	p.ids = everyNth(contract.Range{Start: 1, End: 81}, 2)
	other := p.report(nil)
	if other.Total+other.Skipped != 41 || other.Skipped == 0 {
		t.Errorf("%d in total, %d skipped, want 41 numbers, some collected before", other.Total, other.Skipped)
	}
	p.checkList(p.ids)
}

func TestList_ResumeAfterCut(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 9000, Missing: 0.1, Latency: time.Millisecond},
		map[string]string{"concurrency": "8"})
	p.ids = everyNth(contract.Range{Start: 2, End: 8999}, fcttest.Scaled(75, 30))
	parts := fcttest.Scaled(2, 4)
	for part := 1; part <= parts; part++ {
		p.cut(40*part, nil)
	}
	report := p.report(nil)
	exist, all := p.checkList(p.ids), p.ids.Size()
	if report.Total != all || report.Succeeded != exist || report.NoRecord != all-exist {
		t.Errorf("%d = %d + %d + %d; want %d = %d + %d", report.Total, report.Succeeded, report.NoRecord,
			report.Failed, all, exist, all-exist)
	}
	if most := all + (all - exist) + parts*8*2; p.memory.requests() > most {
		t.Errorf("%d requests, want at most %d", p.memory.requests(), most)
	}
}

// The numbers between two listed ones neither count as no-records nor interrupt them.
func TestList_SafeStop(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 38, Max: 600},
		map[string]string{"safe_stop_no_records": "20", "concurrency": "4"})
	p.ids = everyNth(contract.Range{Start: 10, End: 5000}, 10)
	report := p.report(nil)
	if want := "20 consecutive no-record: IMM-610-25..IMM-800-25"; report.Status != contract.SafeStop ||
		report.Reason != want {
		t.Errorf("%s: %q, want %q", report.Status, report.Reason, want)
	}
	if report.Succeeded != 60 || report.Total+report.Remaining != p.ids.Size() {
		t.Errorf("%d succeeded, %d in total, %d remaining of %d", report.Succeeded, report.Total, report.Remaining,
			p.ids.Size())
	}
	if !strings.Contains(report.NextCommand, `"safe_stop_no_records":0`) ||
		!strings.Contains(report.NextCommand, `"ids":["IMM-10-25"`) {
		t.Errorf("next: %.300s", report.NextCommand)
	}
	// The end of the list stops nothing: no number is left.
	p.ids = everyNth(contract.Range{Start: 5010, End: 5200}, 10)
	if last := p.report(nil); last.Status != contract.Completed || last.NoRecord != 20 {
		t.Errorf("%s: %s, %d no-records", last.Status, last.Reason, last.NoRecord)
	}
}

// No-records of a list are confirmed by a record that was collected before, which a canary requests.
func TestList_Unconfirmed(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 38, Max: 60}, nil)
	p.ids = everyNth(contract.Range{Start: 1000, End: 1070}, 10)
	if report := p.report(nil); report.NoRecord != 8 || report.Unconfirmed != 8 || report.Total != 8 {
		t.Errorf("without a record: %d no-records, %d unconfirmed", report.NoRecord, report.Unconfirmed)
	}
	list := p.ids
	p.ids = everyNth(contract.Range{Start: 10, End: 20}, 10)
	if report := p.report(nil); report.Succeeded != 2 {
		t.Fatalf("%d records", report.Succeeded)
	}
	p.ids = list
	if report := p.report(nil); report.NoRecord != 8 || report.Unconfirmed != 0 || report.CanaryRequests == 0 {
		t.Errorf("after a record: %d no-records, %d unconfirmed, %d canary requests", report.NoRecord,
			report.Unconfirmed, report.CanaryRequests)
	}
}

// In virtual time: a list of half a year is requested at the default pace, without a search.
func TestList_DefaultPace(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 5, Max: 5000},
			map[string]string{"delay_min": "1s", "delay_max": "3s"})
		p.ids = everyNth(contract.Range{Start: 1, End: 197}, fcttest.Scaled(6, 2))
		report := p.report(nil)
		p.checkList(p.ids)
		numbers := p.ids.Size()
		perNumber := report.DurationSeconds / float64(numbers)
		if report.Total != numbers || report.MinRequestGapSeconds < 1 || perNumber < 1.5 || perNumber > 2.5 {
			t.Errorf("%d in total, gap %.2f s, %.0f s", report.Total, report.MinRequestGapSeconds,
				report.DurationSeconds)
		}
	})
}
