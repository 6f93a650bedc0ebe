package runtime

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// TestProgressNow: phase, wait and time left agree, whatever the reporter has told last.
func TestProgressNow(t *testing.T) {
	t.Parallel()
	now, left := time.Now(), 60.0
	fetching := contract.Event{At: now, Progress: contract.Progress{Phase: contract.PhaseFetching, InFlight: 2, RatePerMinute: 30, LeftSeconds: &left}}
	waiting := contract.Event{At: now, Progress: contract.Progress{Phase: contract.PhaseWaiting, LeftSeconds: &left},
		Wait: &contract.Wait{Reason: "a rest", Until: now.Add(time.Minute)}}
	paused := contract.Event{At: now, Progress: contract.Progress{Phase: contract.PhasePaused, LeftUnknown: contract.LeftUnknownPaused},
		Wait: &contract.Wait{Reason: contract.WaitPaused}}
	over := waiting
	over.Wait = &contract.Wait{Reason: "a rest", Until: now.Add(-time.Second)}
	search := contract.Manifest{RunSettings: contract.RunSettings{Probe: true}}
	for name, c := range map[string]struct {
		manifest      contract.Manifest
		paused        bool
		event         contract.Event
		phase         contract.Phase
		wait, unknown string
	}{
		"no event":             {contract.Manifest{}, false, contract.Event{}, contract.PhaseFetching, "", contract.LeftUnknownStarting},
		"fetching":             {contract.Manifest{}, false, fetching, contract.PhaseFetching, "", ""},
		"waiting":              {contract.Manifest{}, false, waiting, contract.PhaseWaiting, "a rest", ""},
		"wait over":            {contract.Manifest{}, false, over, contract.PhaseFetching, "", ""},
		"paused":               {contract.Manifest{}, true, paused, contract.PhasePaused, contract.WaitPaused, contract.LeftUnknownPaused},
		"paused, not told":     {contract.Manifest{}, true, fetching, contract.PhasePaused, contract.WaitPaused, contract.LeftUnknownPaused},
		"paused in a wait":     {contract.Manifest{}, true, waiting, contract.PhasePaused, contract.WaitPaused, contract.LeftUnknownPaused},
		"resumed, not told":    {contract.Manifest{}, false, paused, contract.PhaseFetching, "", contract.LeftUnknownStarting},
		"resumed in a search":  {search, false, paused, contract.PhaseSearching, "", contract.LeftUnknownSearching},
		"paused, no event yet": {search, true, contract.Event{}, contract.PhasePaused, contract.WaitPaused, contract.LeftUnknownPaused},
	} {
		p, wait := progressNow(c.manifest, c.paused, c.event, now)
		reason := ""
		if wait != nil {
			reason = wait.Reason
		}
		if p.Phase != c.phase || reason != c.wait || p.LeftUnknown != c.unknown || (p.LeftSeconds == nil) != (c.unknown != "") {
			t.Errorf("%s: %+v, %q", name, p, reason)
		}
		if c.paused && p.RatePerMinute != 0 {
			t.Errorf("%s: %.1f numbers a minute", name, p.RatePerMinute)
		}
	}
}
