package runtime

import (
	"strconv"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// A run that a killed process left is no business of one who only looks.
func TestExplain_MarksNoRun(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 300, Latency: time.Millisecond},
		map[string]string{"end": "300", "concurrency": "1"})
	p.cut(20, nil)
	for range 2 {
		life, err := p.process(nil).Explain(t.Context(), contract.CaseID{Series: "IMM", Year: "25", Number: 1})
		if err != nil || len(life.Runs) != 1 || life.Runs[0].Status != contract.Running ||
			life.Runs[0].Range.End != 300 {
			t.Errorf("%+v, %v; want a run of 300 that still says it is running", life.Runs, err)
		}
	}
}

func TestExplain_AgreesWithSite(t *testing.T) {
	t.Parallel()
	last := fcttest.Scaled(256, 270)
	p := newFixture(t, courtsim.Options{Seed: 9, Max: 300, Missing: 0.2,
		Faults: []courtsim.Fault{{Kind: "500", Share: 0.3, Times: 2}}},
		map[string]string{"start": "250", "end": strconv.Itoa(last), "max_retries": "3", "backoff_base": "1ms",
			"backoff_max": "5ms"})
	report := p.report(nil)
	asked := p.sim.Stats().PerNumber["IMM-25"]
	canaries := 0 // which are no attempts of their numbers
	for number := 249; number <= last+1; number++ {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
		life, err := p.process(nil).Explain(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		requests := 0
		for _, run := range life.Runs {
			for _, attempt := range run.Attempts {
				requests += len(attempt.Requests)
			}
		}
		want := 0
		for _, times := range asked[strconv.Itoa(number)] {
			want += times
		}
		canaries += want - requests
		if requests > want || life.Asked != (want > 0) {
			t.Errorf("%s: %d requests told, asked %t; the court saw %d", id, requests, life.Asked, want)
		}
		if exists := p.sim.Exists(id) && want > 0; (life.Record != nil && life.Record.There) != exists {
			t.Errorf("%s: record %+v, want one: %t", id, life.Record, exists)
		}
	}
	if canaries != report.CanaryRequests {
		t.Errorf("the court saw %d requests more than were told, the report has %d canaries", canaries,
			report.CanaryRequests)
	}
}
