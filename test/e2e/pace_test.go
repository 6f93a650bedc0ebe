//go:build soak

package e2e_test

import (
	"encoding/json"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go/jetstream"
)

// killFor is how long processes are killed one after another.
var killFor = flag.Duration("kill-for", 15*time.Second, "how long TestPace_ThreeProcesses kills processes")

func TestPace_ThreeProcesses(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const pause = 100 * time.Millisecond
	killing := *killFor
	numbers := int(killing/pause)*8/10 + 40
	sim := startSim(t, "--max", "99999", "--missing", "0.05", "--seed", "31", "--latency", "40ms")
	f := newFleet(t, sim, "--delay-min", "100ms", "--delay-max", "120ms", "--concurrency", "4", "--graceful-shutdown-timeout", "5s")
	f.open(3)
	body, err := json.Marshal(map[string]any{"run_id": "paced", "year": "25", "end": numbers, "probe": false})
	if err != nil {
		t.Fatal(err)
	}
	f.order("paced", string(body))
	kills := 0
	for begun := time.Now(); time.Since(begun) < killing; kills++ {
		at(time.Now(), 2*time.Second)
		victim := kills % len(f.live)
		if err := f.live[victim].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = f.live[victim].Wait() // killed, as it was to be
		f.live[victim] = f.launch()
	}
	report := f.report("paced")
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 0 {
		t.Errorf("%s (%s): %d numbers, %d failed; want %d and none", report.Status, report.Reason, report.Total, report.Failed, numbers)
	}
	p := place{t: t, dir: f.dir, shared: true}
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 31, Max: 99999, Missing: 0.05}), outcomes, numbers)
	p.checkRecords(outcomes)
	stats := sim.stats()
	// A busy machine may let the court notice the first of two requests late, so the gaps are those of the senders.
	starts := f.starts("paced")
	for i := 1; i < len(starts); i++ {
		if gap := starts[i].Sub(starts[i-1]); gap < pause {
			t.Errorf("two requests started %s apart, at %s", gap, starts[i].Format(time.RFC3339Nano))
		}
	}
	if stats.MaxInFlight > 4 {
		t.Errorf("%d requests in flight at once, want at most 4", stats.MaxInFlight)
	}
	n := again(sim.asked())
	if most := kills*4 + report.CanaryRequests; n > most {
		t.Errorf("%d cases were asked for again after %d kills, want at most %d", n, kills, most)
	}
	t.Logf("%d kills, %d cases asked for again, smallest gap at the court %.4f s", kills, n, *stats.MinGapSeconds)
}

// starts are when the requests in the ledger of a run were started, in order of time.
func (f *fleet) starts(run contract.RunID) []time.Time {
	f.t.Helper()
	var starts []time.Time
	for _, entry := range f.entries(run) {
		for _, request := range entry.Requests {
			starts = append(starts, request.StartedAt)
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	// One entry may be there twice: a classifier that was killed behind its word says it again.
	return slices.CompactFunc(starts, time.Time.Equal)
}

// entries are all entries in the ledger of a run, canaries included.
func (f *fleet) entries(run contract.RunID) []contract.Entry {
	f.t.Helper()
	stream, err := f.broker.JetStream().Stream(f.t.Context(), contract.StreamOutcomes)
	if err != nil {
		f.t.Fatal(err)
	}
	var entries []contract.Entry
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(f.t.Context(), seq, jetstream.WithGetMsgSubject(run.OutcomeFilter()))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return entries
		}
		if err != nil {
			f.t.Fatal(err)
		}
		seq = msg.Sequence + 1
		if msg.Subject == run.PlannedSubject() {
			continue
		}
		pack, err := ledger.Decode[contract.EntryPack](msg.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		entries = append(entries, pack.Entries...)
	}
}
