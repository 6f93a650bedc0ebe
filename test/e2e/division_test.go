//go:build soak

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/contract"
)

// TestDivision_Dockets: whichever form of the docket call a court answers, every record has its
// docket; the other form costs a request of the first case and one more, which count like all
// others.
func TestDivision_Dockets(t *testing.T) {
	t.Parallel()
	for form, requests := range map[string]int{"number": 12, "t": 14, "any": 12} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "12", "--missing", "0", "--division", form)
			p := newPlace(t, sim, "--end", "12", "--concurrency", "1", "--delay-min", "0", "--delay-max", "0")
			report := p.finish(codeCompleted)
			if stats := sim.stats(); report.Succeeded != 12 || report.Requests != requests || stats.Requests != requests {
				t.Errorf("%d succeeded, %d requests reported, %d at the court, want %d", report.Succeeded, report.Requests, stats.Requests, requests)
			}
			files, err := filepath.Glob(filepath.Join(p.dir, "output", "cases", "IMM", "25", "*.json"))
			if err != nil || len(files) != 12 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			for _, file := range files {
				var record contract.Record
				if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, &record) != nil || record.Entries == 0 {
					t.Errorf("%s: %v, %d entries", file, err, record.Entries)
				}
			}
		})
	}
}
