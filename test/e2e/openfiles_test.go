//go:build soak

package e2e_test

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestOpenFiles_Limit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit, concurrency string
		code               int
		says               string
	}{
		"too low":                  {"40", "4", codeUsage, "open files: the limit is 40, and concurrency 4 needs 56"},
		"too low for so many":      {"100", "64", codeUsage, "open files: the limit is 100, and concurrency 64 needs 296"},
		"just enough for one":      {"44", "1", codeCompleted, ""},
		"just enough for the most": {"296", "64", codeCompleted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "99999", "--latency", "20ms")
			p := newPlace(t, sim, "--end", "300", "--delay-min", "0", "--delay-max", "0", "--concurrency", c.concurrency)
			var errors bytes.Buffer
			cmd := exec.Command("sh", append([]string{"-c", `ulimit -n "$0" && exec fct-scraper "$@"`, c.limit}, p.args...)...)
			cmd.Stderr = &errors
			_ = cmd.Run() // its state says it
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(errors.String(), c.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, errors.String())
			}
			if asked := sim.requests() > 0; asked != (c.code == codeCompleted) {
				t.Errorf("%d requests, exit code %d", sim.requests(), c.code)
			}
		})
	}
}
