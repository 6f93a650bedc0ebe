//go:build soak

package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// TestOutput_DisturbedInMidRun has somebody else change the output folder while a batch runs: the batch mends it, or ends with exit
// code 7 and names it; started again it completes, and a batch behind it mends what is broken between the two.
func TestOutput_DisturbedInMidRun(t *testing.T) {
	t.Parallel()
	const numbers = 80
	attempts := func(output string) string {
		names, err := filepath.Glob(output + "/attempts_*")
		if err != nil || len(names) != 1 {
			t.Errorf("attempts files %v, %v", names, err)
			return ""
		}
		return names[0]
	}
	record := func(output string) string {
		names, err := filepath.Glob(output + "/cases/IMM/25/IMM*")
		if err != nil || len(names) == 0 {
			t.Errorf("records %v, %v", names, err)
			return ""
		}
		return names[0]
	}
	for name, disturb := range map[string]struct {
		do   func(output string) error
		code int
	}{
		"moved":            {func(output string) error { return os.Rename(output, output+"-away") }, codeOutput},
		"records moved":    {func(output string) error { return os.Rename(output+"/cases", output+"-cases") }, 0},
		"record truncated": {func(output string) error { return os.Truncate(record(output), 10) }, 0},
		"attempts cut":     {func(output string) error { return os.Truncate(attempts(output), 10) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, open := gated(t, courtsim.Options{Seed: 41, Max: numbers, Missing: 0.1,
				Latency: 5 * time.Millisecond}, 50)
			p := newPlace(t, sim, "--end", "80", "--delay-min", "2ms", "--delay-max", "4ms")
			output := filepath.Join(p.dir, "output")
			var out bytes.Buffer
			cmd := exec.Command("fct-scraper", p.args...)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p.await("records", func() bool { return len(p.glob("cases/IMM/25/IMM*")) >= 20 })
			disturbed := disturb.do(output)
			open()
			_ = cmd.Wait() // its exit code says it
			if code := cmd.ProcessState.ExitCode(); code != disturb.code || disturbed != nil {
				t.Fatalf("%v; exit code %d, want %d: %s", disturbed, code, disturb.code, out.String())
			}
			if disturb.code != 0 {
				if !strings.Contains(out.String(), output) {
					t.Errorf("%s does not name %s", out.String(), output)
				}
				p.finish(0)
			}
			outcomes := p.outcomes()
			checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 41, Max: numbers, Missing: 0.1}), outcomes, numbers)
			p.checkRecords(outcomes)
			if left := p.glob("checkpoint-*"); len(left) > 0 || len(p.glob("report-*.json")) != 1 ||
				len(p.glob("audit_*")) != 1 {
				t.Errorf("checkpoints %v, or not one report and one audit", left)
			}
			if err := errors.Join(os.Truncate(record(output), 0), os.Remove(attempts(output))); err != nil {
				t.Fatal(err)
			}
			if again := p.finish(0); again.Status != contract.Completed || again.Requests > again.CanaryRequests {
				t.Errorf("the batch behind it: %+v", again)
			}
			p.checkRecords(outcomes)
		})
	}
}
