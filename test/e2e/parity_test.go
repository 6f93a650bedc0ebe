//go:build soak

package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// times are the parts of files that no two runs have in common: when something happened, how long it took, the run's id, and the
// port of the court.
var times = regexp.MustCompile(`"(?:fetched_at|timestamp|duration_ms|run_id)": ?(?:"[^"]*"|[0-9.]+)|127\.0\.0\.1:[0-9]+`)

// timeless reads files of the output folder by their names there, but for the times in them.
func (p place) timeless(pattern string) map[string]string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "output", pattern))
	if err != nil {
		p.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		all[filepath.Base(file)] = times.ReplaceAllString(string(data), "")
	}
	if len(all) == 0 {
		p.t.Errorf("no file is called %s", pattern)
	}
	return all
}

// attempts are the lines of the only attempts file, but for the times in them, in the order of their text: that of the answers is
// another one in every run.
func (p place) attempts() []string {
	p.t.Helper()
	var lines []string
	for _, text := range p.timeless("attempts_*.ndjson") {
		lines = slices.AppendSeq(lines, strings.Lines(text))
	}
	slices.Sort(lines)
	return lines
}

// The same batch in one process and in five that have one service each: the same ledger and the same records.
func TestServices_FiveProcesses(t *testing.T) {
	t.Parallel()
	court := []string{"--max", "400", "--missing", "0.1", "--seed", "71", "--fault", "500:0.05"}
	flags := []string{"--delay-min", "0", "--delay-max", "0", "--concurrency", "8", "--backoff-base", "10ms"}
	alone := newPlace(t, startSim(t, court...), append([]string{"--probe", "--end", "350"}, flags...)...)
	one := alone.finish(codeCompleted)

	f := newFleet(t, startSim(t, court...), flags...)
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
	if diff := cmp.Diff(alone.attempts(), together.attempts()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(alone.timeless("cases/IMM/25/IMM-*.json"), together.timeless("cases/IMM/25/IMM-*.json")); diff != "" {
		t.Error(diff)
	}
}
