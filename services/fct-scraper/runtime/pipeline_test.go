package runtime

import (
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

func TestBatch_StartToReport(t *testing.T) {
	t.Parallel()
	numbers := fcttest.Scaled(264, 1000) // the last ones have records: after no-records a canary is requested
	p := newFixture(t, courtsim.Options{Seed: 3, Max: 1000, Missing: 0.1},
		map[string]string{"end": strconv.Itoa(numbers)})
	report := p.report(nil)
	exist, missing := fcttest.Truth(p.sim, contract.Range{Start: 1, End: numbers})
	if report.Status != contract.Completed || report.Total != numbers || report.Succeeded != exist ||
		report.NoRecord != missing || report.Failed != 0 {
		t.Errorf("%s: %d = %d + %d + %d; want completed: %d = %d + %d + 0", report.Status, report.Total,
			report.Succeeded, report.NoRecord, report.Failed, numbers, exist, missing)
	}
	for call, numbers := range p.sim.Stats().PerNumber["IMM-25"] {
		for name, times := range numbers {
			if times != 1 {
				t.Errorf("%s: %s asked %d times", call, name, times)
			}
		}
	}
	if report.Requests != p.memory.requests() || report.Retries != 0 {
		t.Errorf("%d requests and %d retries reported, the court saw %d", report.Requests, report.Retries,
			p.memory.requests())
	}
	for n := 1; n <= numbers; n++ {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: n}
		_, err := os.Stat(filepath.Join(p.settings["output"], "cases", "IMM", "25", id.String()+".json"))
		if stored := err == nil; stored != p.sim.Exists(id) {
			t.Errorf("%s: record stored: %t", id, stored)
		}
	}
	again := p.report(nil)
	if again.RunID == report.RunID || again.Skipped != numbers || again.Total != 0 || again.Requests != 0 {
		t.Errorf("second run %s: %d skipped, %d attempted, %d requests; want all skipped and nothing asked",
			again.RunID, again.Skipped, again.Total, again.Requests)
	}
}

func TestResume_FailedFirst(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 3, Max: 400,
		Faults: []courtsim.Fault{{Kind: "500", Share: 0.05, Times: 3}}},
		map[string]string{"end": "100", "max_retries": "2", "backoff_base": "1ms", "backoff_max": "5ms",
			"safe_stop_fails": "0", "concurrency": "1"})
	first := p.report(nil)
	if first.Failed == 0 || first.Failed == 200 || first.Retries != 2*first.Failed || len(first.Errors) != 1 ||
		first.Errors[0].Count != first.Failed {
		t.Fatalf("%d failed, %d retries, %d samples; want some after two retries each", first.Failed, first.Retries,
			len(first.Errors))
	}
	for _, sample := range first.Errors {
		if sample.Attempts != 3 {
			t.Errorf("%s failed after %d attempts, want 3", sample.CaseID, sample.Attempts)
		}
	}
	before := p.memory.requests()
	second := p.report(map[string]string{"end": "200"})
	if second.Total != first.Failed+100 {
		t.Errorf("the second run gave %d numbers an outcome, want the %d that failed and 100 new ones", second.Total,
			first.Failed)
	}
	// Numbers above 100 that are hit fail now; those of the first run are healed.
	for number, calls := range p.sim.Stats().PerNumber["IMM-25"] {
		for call, times := range calls {
			if times > 4 {
				t.Errorf("number %s: %s asked %d times", number, call, times)
			}
		}
	}
	if before == 0 {
		t.Error("the first run asked nothing")
	}
}

func TestResume_AfterStop(t *testing.T) {
	t.Parallel()
	numbers, parts := fcttest.Scaled(150, 400), fcttest.Scaled(2, 4)
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 800, Missing: 0.1, Latency: time.Millisecond},
		map[string]string{"end": strconv.Itoa(numbers), "concurrency": "8"})
	for part := 1; part <= parts; part++ {
		p.cut(50*part, nil)
	}
	report := p.report(nil)
	exist, missing := fcttest.Truth(p.sim, contract.Range{Start: 1, End: numbers})
	if report.Total != numbers || report.Succeeded != exist || report.NoRecord != missing {
		t.Errorf("%d = %d + %d + %d; want %d = %d + %d", report.Total, report.Succeeded, report.NoRecord,
			report.Failed, numbers, exist, missing)
	}
	if most := numbers + missing + parts*8*2; p.memory.requests() > most {
		t.Errorf("%d requests, want at most %d", p.memory.requests(), most)
	}
}

func TestResume_OtherKilledRunsWait(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 800, Latency: time.Millisecond},
		map[string]string{"end": "200", "concurrency": "2"})
	p.cut(50, nil)
	other := map[string]string{"start": "201", "end": "220"}
	before := maps.Clone(p.sim.Stats().PerNumber["IMM-25"])
	if report := p.report(other); report.Total != 20 {
		t.Errorf("the other batch gave %d numbers an outcome, want 20", report.Total)
	}
	for number := range p.sim.Stats().PerNumber["IMM-25"] {
		if _, known := before[number]; !known && len(number) == 3 && number < "201" {
			t.Errorf("number %s of the batch that nobody started again was asked", number)
		}
	}
}
