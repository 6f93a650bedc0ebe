package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// A run of a list resumes after kills: every listed number gets one outcome, no other is requested.
func TestList_Killed(t *testing.T) {
	t.Parallel()
	const numbers, kills = 300, 4
	sim := startSim(t, "--max", "9000", "--missing", "0.1", "--seed", "23")
	p := newPlace(t, sim, "--delay-min", "2ms", "--delay-max", "4ms", "--concurrency", "4")
	var text strings.Builder
	listed := make(map[string]bool)
	for i := range numbers {
		fmt.Fprintf(&text, "imm-%05d-2025\n", 8999-29*i)
		listed[strconv.Itoa(8999-29*i)] = true
	}
	file := filepath.Join(p.dir, "ids.txt")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p.args = append(p.args, "--list", file)
	for kill := range kills {
		cmd := p.start(nil)
		sim.await((kill + 1) * numbers / (kills + 1))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed, as it was to be
	}
	report := p.finish(0)
	outcomes := p.outcomes()
	truth := fcttest.Site(t, courtsim.Options{Seed: 23, Max: 9000, Missing: 0.1})
	for i := range numbers {
		n := 8999 - 29*i
		want := contract.NoRecord
		if truth.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: n}) {
			want = contract.Success
		}
		if outcomes[n] != want {
			t.Errorf("number %d is %q, want %q", n, outcomes[n], want)
		}
	}
	p.checkRecords(outcomes)
	if len(outcomes) != numbers || report.Total != numbers || report.Start != 8999-29*(numbers-1) ||
		report.End != 8999 {
		t.Errorf("%d outcomes, %d in total, %d..%d", len(outcomes), report.Total, report.Start, report.End)
	}
	for number := range sim.asked() {
		if !listed[number] {
			t.Errorf("number %s, which is not listed, was requested", number)
		}
	}
	if runs := p.glob("attempts_*.ndjson"); len(runs) != 1 {
		t.Errorf("%d runs, want one that was resumed", len(runs))
	}
	if n := fcttest.Repeated(sim.asked()); n > kills*4+report.CanaryRequests {
		t.Errorf("%d requests were repeated", n)
	}
}
