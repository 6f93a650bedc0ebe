//go:build soak

package e2e_test

import (
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
)

// A search that could not end says so by its report, and by the exit codes of a batch.
func TestProbe_SiteSilent(t *testing.T) {
	t.Parallel()
	for fault, c := range map[string]struct {
		code   int
		status contract.Status
		reason string
		total  int
	}{
		"403:1": {codeBlocked, contract.Blocked, "blocked by the site", 0},
		"500:1": {codeSafeStop, contract.SafeStop, "only failures", 3},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, startSim(t, "--max", "30", "--fault", fault), "--delay-min", "0", "--delay-max", "0", "--max-retries", "1", "--backoff-base", "10ms")
			p = p.searching()
			report := p.finish(c.code)
			if report.Status != c.status || !strings.Contains(report.Reason, c.reason) || report.Total != c.total || report.Failed != c.total || report.UpperBound != 0 {
				t.Errorf("%s: %s; %d failed of %d, bound %d", report.Status, report.Reason, report.Failed, report.Total, report.UpperBound)
			}
		})
	}
}
