package runtime

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// typicalProbeRequests is how many requests the search of a typical year may take.
const typicalProbeRequests = 50

func TestProbe_SpecifiedYear(t *testing.T) {
	t.Parallel()
	for _, missing := range []float64{0.05, 0, 0.2}[:fcttest.Scaled(1, 3)] {
		p := newFixture(t, courtsim.Options{Seed: 32, Max: 5600, Missing: missing}, nil)
		p.wanted = BatchOptions{ProbeOnly: true}
		run, err := p.run(t.Context(), map[string]string{"probe": "true"})
		if err != nil || run.Status != contract.Completed || run.Manifest.Bound == nil {
			t.Fatalf("%s: %s: %v", run.Status, run.Reason, err)
		}
		found, report := *run.Manifest.Bound, *run.Report
		if found.Number < 5400 || found.Number > 5600 || found.Requests > typicalProbeRequests ||
			report.UpperBound != found.Number {
			t.Errorf("bound %d with %d requests, reported as %d", found.Number, found.Requests, report.UpperBound)
		}
		if asked := len(p.asked()); report.Requests != p.memory.requests() || report.TotalAttempted != asked ||
			report.Total != 0 || found.NumbersProbed != asked || report.EndID != "" {
			t.Errorf("%d requests and %d numbers reported to %q, the court saw %d and %d", report.Requests,
				report.TotalAttempted, report.EndID, p.memory.requests(), asked)
		}
		p.checkOnce()
	}
}

// Start 30 and at most 50 cases are 30 to 79 unless the year ends before.
func TestBatch_SpecifiedRange(t *testing.T) {
	t.Parallel()
	for highest, end := range map[int]int{60: 60, 500: 79} {
		p := newFixture(t, courtsim.Options{Seed: 33, Max: highest, Missing: 0.05},
			map[string]string{"probe": "true", "start": "30", "max_cases": "50"})
		report := p.report(nil)
		want := contract.Range{Start: 30, End: end}
		asked := p.asked()
		for n := want.Start; n <= want.End; n++ {
			if asked[n] == 0 {
				t.Errorf("number %d of a year of %d was not asked for", n, highest)
			}
		}
		p.checkOnce()
		beyond, _ := above(asked, end)
		if report.Start != want.Start || report.End != want.End || report.StartID != "IMM-30-25" ||
			report.Status != contract.Completed {
			t.Errorf("a year of %d: %s to %s, %s", highest, report.StartID, report.EndID, report.Status)
		}
		if len(asked) != want.Size()+beyond || report.Total != want.Size() || report.Beyond != beyond ||
			report.UpperBound != end || beyond > 79-end {
			t.Errorf("a year of %d: %d numbers asked for, %d of them above %d; %d reported, bound %d", highest,
				len(asked), beyond, end, report.Total, report.UpperBound)
		}
	}
}

// TestBatch_BoundAtLimit: a bound that is only the end of the range is nothing to be sure of, also one that an earlier, wider
// search has found.
func TestBatch_BoundAtLimit(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 36, Max: 300}, map[string]string{"probe": "true"})
	for _, c := range []struct {
		end   string
		bound int
		limit bool
	}{
		{"200", 200, true},
		{"400", 300, false},
		{"100", 300, true},
	} {
		report := p.report(map[string]string{"end": c.end})
		if report.UpperBound != c.bound || report.UpperBoundAtLimit != c.limit ||
			(report.UpperBoundConfidence == 0) != c.limit {
			t.Errorf("end %s: bound %d, at limit %t, %v sure", c.end, report.UpperBound, report.UpperBoundAtLimit,
				report.UpperBoundConfidence)
		}
	}
}

func TestBatch_WithoutEndSafeStops(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 34, Max: 60}, map[string]string{"safe_stop_no_records": "40"})
	report := p.report(nil)
	if report.Status != contract.SafeStop || report.Reason != "40 consecutive no-record: IMM-61-25..IMM-100-25" ||
		report.Succeeded != 60 || report.ProbesUsed != 0 {
		t.Errorf("%s: %s; %d succeeded, %d probes", report.Status, report.Reason, report.Succeeded, report.ProbesUsed)
	}
}

// The daily run: a year of which more numbers are handed out every day.
func TestBatchNew_DayByDay(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		time.Sleep(150 * 24 * time.Hour) // a year that has begun
		court := func(highest int) *courtsim.Simulator {
			return fcttest.Site(t, courtsim.Options{Seed: 35, Max: highest, Missing: 0.1, Today: time.Now()})
		}
		p := newFixture(t, courtsim.Options{}, map[string]string{"probe": "true", "year": time.Now().Format("06"),
			"concurrency": "8"})
		known := 0
		for _, highest := range []int{1000, 1000, 1023, 1023, 1090} {
			p.sim = court(highest)
			p.memory.court = p.sim
			report := p.report(nil)
			beyond, requests := above(p.asked(), highest)
			exist, missing := fcttest.Truth(p.sim, contract.Range{Start: known + 1, End: highest})
			if report.Status != contract.Completed || report.UpperBound != highest || report.Skipped != known ||
				report.Succeeded != exist || report.NoRecord != missing ||
				report.Beyond != beyond {
				t.Errorf("%d to %d: %s, bound %d, %d skipped, %d succeeded, %d no-record", known, highest,
					report.Status, report.UpperBound, report.Skipped, report.Succeeded, report.NoRecord)
			}
			canaries := 0 // of files that were known before
			for number := range p.asked() {
				if number <= known {
					canaries++
				}
			}
			if requests > typicalProbeRequests || len(p.asked())-canaries != highest-known+beyond || canaries > 1 {
				t.Errorf("%d to %d: %d numbers asked for, %d requests above", known, highest, len(p.asked()), requests)
			}
			p.checkOnce()
			t.Logf("%d to %d: %d probes, %d numbers above", known, highest, report.ProbesUsed, beyond)
			known, p.wanted.OnlyNew = highest, true
			time.Sleep(24 * time.Hour)
		}
	})
}

// A plain batch of a year that has grown finds what is new once the no-records above the highest record are old.
func TestBatch_YearHasGrown(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{}, map[string]string{"probe": "true"})
		grow := func(highest int) {
			p.sim = fcttest.Site(t, courtsim.Options{Seed: 35, Max: highest})
			p.memory.court = p.sim
		}
		grow(300)
		first := p.report(nil)
		if first.UpperBound != 300 || first.UpperBoundConfidence >= 1 || first.UpperBoundAgeSeconds != 0 {
			t.Fatalf("bound %d, %v sure, %v s old", first.UpperBound, first.UpperBoundConfidence,
				first.UpperBoundAgeSeconds)
		}
		grow(900)
		time.Sleep(30 * time.Minute)
		young := p.report(nil)
		if age := young.UpperBoundAgeSeconds; young.UpperBound != 300 || young.ProbesUsed != 0 ||
			young.UpperBoundConfidence >= 1 || age < 1800 || age > 3600 {
			t.Errorf("after half an hour: bound %d, %d probes, %v sure, %v s old", young.UpperBound, young.ProbesUsed,
				young.UpperBoundConfidence, age)
		}
		always := p.report(map[string]string{"bound_max_age": "0", "end": "310"})
		if always.UpperBound <= 300 || always.ProbesUsed == 0 {
			t.Errorf("with bound_max_age 0: bound %d, %d probes", always.UpperBound, always.ProbesUsed)
		}
		time.Sleep(31 * time.Minute)
		old := p.report(nil)
		if old.UpperBound != 900 || old.ProbesUsed == 0 || old.UpperBoundAgeSeconds != 0 {
			t.Errorf("after an hour: bound %d, %d probes, %v s old", old.UpperBound, old.ProbesUsed,
				old.UpperBoundAgeSeconds)
		}
		if got := first.Succeeded + young.Succeeded + always.Succeeded + old.Succeeded; got != 900 {
			t.Errorf("%d records collected of 900: numbers that were no-record before are missing", got)
		}
	})
}
