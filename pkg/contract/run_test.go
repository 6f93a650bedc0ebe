package contract_test

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// TestEventProgressAt: a forecast whose time is over says nothing while numbers are left.
func TestEventProgressAt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		left    float64
		numbers int
		later   time.Duration
		want    float64 // negative is unknown
		unknown string
	}{
		"at once":            {60, 30, 0, 60, ""},
		"half over":          {60, 30, 30 * time.Second, 30, ""},
		"an earlier clock":   {60, 30, -time.Second, 60, ""},
		"over":               {60, 30, 5 * time.Minute, -1, contract.LeftUnknownOverdue},
		"over, all are done": {60, 0, 5 * time.Minute, 0, ""},
		"nothing was left":   {0, 0, time.Minute, 0, ""},
		"a forecast of zero": {0, 30, 0, -1, contract.LeftUnknownOverdue},
	} {
		e := contract.Event{At: now, Metrics: &contract.Metrics{Left: c.numbers},
			Progress: contract.Progress{Phase: contract.PhaseFetching, LeftSeconds: &c.left}}
		p, left := e.ProgressAt(now.Add(c.later)), -1.0
		if p.LeftSeconds != nil {
			left = *p.LeftSeconds
		}
		if left != c.want || p.LeftUnknown != c.unknown {
			t.Errorf("%s: %.1f s, %q; want %.1f, %q", name, left, p.LeftUnknown, c.want, c.unknown)
		}
	}
	unknown := contract.Event{At: now, Progress: contract.Progress{LeftUnknown: contract.LeftUnknownStarting}}
	if p := unknown.ProgressAt(now); p.LeftSeconds != nil || p.LeftUnknown != contract.LeftUnknownStarting {
		t.Errorf("unknown: %+v", p)
	}
}
