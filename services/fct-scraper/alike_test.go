package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// records reads the record files of IMM-25 but for the time at which they were fetched.
func (p place) records() map[string]map[string]any {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "output", "cases", "IMM", "25", "IMM-*.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	all := make(map[string]map[string]any)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		var record map[string]any
		if err := json.Unmarshal(data, &record); err != nil {
			p.t.Fatalf("%s: %v", file, err)
		}
		delete(record, "fetched_at")
		all[filepath.Base(file)] = record
	}
	return all
}

// The same batch in one process and in five that have one service each: the same ledger and the same records.
func TestFiveProcessesDoWhatOneDoes(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "400", "--missing", "0.1", "--seed", "71", "--fault", "500:0.05")
	flags := []string{"--delay-min", "0", "--delay-max", "0", "--concurrency", "8", "--backoff-base", "10ms"}
	alone := newPlace(t, sim, append([]string{"--probe", "--end", "350"}, flags...)...)
	one := alone.finish(codeCompleted)

	f := newFleet(t, sim, flags...)
	for _, service := range []string{"generator", "prober", "fetcher", "classifier", "reporter"} {
		f.live = append(f.live, f.launch(service))
	}
	f.join()
	f.order("five", `{"run_id":"five","year":"25","end":350}`)
	five := f.report("five")
	together := place{t: t, dir: f.dir, shared: true}
	if five.Status != contract.Completed || five.Total != one.Total || five.Succeeded != one.Succeeded || five.NoRecord != one.NoRecord ||
		five.Failed != one.Failed || five.UpperBound != one.UpperBound {
		t.Errorf("five processes: %s, %d = %d + %d + %d, bound %d; one: %d = %d + %d + %d, bound %d", five.Status, five.Total, five.Succeeded,
			five.NoRecord, five.Failed, five.UpperBound, one.Total, one.Succeeded, one.NoRecord, one.Failed, one.UpperBound)
	}
	if diff := cmp.Diff(alone.outcomes(), together.outcomes()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(alone.records(), together.records()); diff != "" {
		t.Error(diff)
	}
}
