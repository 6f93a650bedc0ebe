//go:build soak

package e2e_test

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

func TestServe_ServerAwayAndBack(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers = 150
	sim := startSim(t, "--max", "99999", "--missing", "0.05", "--seed", "7", "--latency", "20ms")
	f := &fleet{t: t, dir: t.TempDir()}
	addr := fcttest.FreeAddr(t)
	s := startServer(t, "--nats-url", "nats://"+addr, "--site", "fct-cf", "--base-url", sim.url, "--delay-min", "20ms", "--delay-max", "30ms",
		"--output", filepath.Join(f.dir, "output"))
	// Nobody is there yet: it waits, and says for what.
	s.hears("nats.waiting")
	away := func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "no connection to nats_url") && strings.Contains(text, "refused")
	}
	s.until("/readyz", "", away)
	if status, _ := s.get("/livez", ""); status != http.StatusOK {
		t.Errorf("/livez: %d while it waits", status)
	}
	f.later(addr)
	s.until("/readyz", "", ready)
	f.openRuns()
	f.order("outlived", `{"run_id":"outlived","year":"25","end":150,"probe":false}`)
	// The server goes away in the middle, for longer than a publish may stay without an answer three times in a row.
	for asked := 0; asked < numbers/3; asked = len(sim.asked()) {
		at(time.Now(), 20*time.Millisecond)
	}
	if err := f.server.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("/readyz", "", away)
	at(time.Now(), serverAway)
	f.later(addr)
	t.Cleanup(func() {
		if err := f.server.Close(); err != nil {
			t.Error(err)
		}
	})
	s.until("/readyz", "", ready)
	f.openRuns()
	report := f.report("outlived")
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 0 {
		t.Errorf("%s (%s): %d numbers, %d failed", report.Status, report.Reason, report.Total, report.Failed)
	}
	p := place{t: t, dir: f.dir}
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 7, Max: 99999, Missing: 0.05}), outcomes, numbers)
	p.checkRecords(outcomes)
	if n := fcttest.Repeated(sim.asked()); n > 8 {
		t.Errorf("%d requests were repeated by one outage, want at most 8", n)
	}
	// What waits for news of runs has outlived it too.
	f.order("after", `{"run_id":"after","year":"25","start":151,"end":155,"probe":false}`)
	if report := f.report("after"); report.Total != 5 {
		t.Errorf("the run after the outage: %+v", report)
	}
	s.stop() // before its server
	if slices.ContainsFunc(s.heard, func(line string) bool { return strings.Contains(line, "serve.again") }) {
		t.Error("the outage broke the services off")
	}
}

// serverAway is how long the server is away: longer than three publishes may take.
const serverAway = 17 * time.Second
