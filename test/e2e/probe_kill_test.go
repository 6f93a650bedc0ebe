//go:build soak

package e2e_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

// searcher is a place whose processes search for the bound of a court in another process.
func searcher(t *testing.T, pause string) (place, simulator) {
	sim := startSim(t, "--max", "5600", "--missing", "0.3", "--seed", "36", "--gap", "5420-5597")
	p := newPlace(t, sim, "--delay-min", pause, "--delay-max", pause, "--progress", "none")
	p = p.searching()
	return p, sim
}

// found runs a search to its end.
func (p place) found() probeResult {
	p.t.Helper()
	var out bytes.Buffer
	if err := p.start(&out).Wait(); err != nil {
		p.t.Fatalf("searching: %v\n%s", err, out.String())
	}
	var found probeResult
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		p.t.Fatalf("reading what was found: %v\n%s", err, out.String())
	}
	return found
}

// checkNotRefetched finds numbers that were asked for although they had an outcome.
func (p place) checkNotRefetched(outcomes map[int]contract.Outcome, before map[string]map[string]int, sim simulator) {
	p.t.Helper()
	for number, calls := range sim.asked() {
		if outcomes[fcttest.Number(p.t, number)] != "" && fcttest.Total(calls) != fcttest.Total(before[number]) {
			p.t.Errorf("number %s was answered and asked for again", number)
		}
	}
}

// instant is after how many of the search's requests a kill comes. The kills share the first three quarters of the undisturbed
// search: a disturbed one asks at least as much, so the rest is the time a slow machine has to kill before it ends.
func instant(dice *rand.Rand, length, kill, kills int) int {
	return int(0.75 * float64(length) * (float64(kill) + dice.Float64()) / float64(kills))
}

func TestProbe_KilledTenTimes(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const kills = 10
	undisturbed, quiet := searcher(t, "0")
	want := undisturbed.found()
	length := quiet.requests()
	p, sim := searcher(t, "100ms")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, a search of %d requests", seed, length)
	dice := rand.New(rand.NewPCG(seed, 1))
	for kill := range kills {
		outcomes, asked := p.outcomes(), sim.asked()
		cmd := p.start(nil)
		sim.await(instant(dice, length, kill, kills))
		at(time.Now(), time.Duration(dice.IntN(100))*time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if cmd.Wait() == nil {
			t.Fatalf("the search ended before kill %d of %d", kill+1, kills)
		}
		p.checkNotRefetched(outcomes, asked, sim)
	}
	before := len(p.outcomes())
	got := p.found()
	// Each process that has not seen a docket yet may ask for an empty one in its other form.
	if more := got.ProbesUsed - want.ProbesUsed; more < 0 || more > kills {
		t.Errorf("%d probes, want %d to %d", got.ProbesUsed, want.ProbesUsed, want.ProbesUsed+kills)
	}
	want.ProbesUsed = got.ProbesUsed
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := again(sim.asked()); n > kills {
		t.Errorf("%d questions were asked again in %d kills", n, kills)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(quiet.asked())), slices.Sorted(maps.Keys(sim.asked()))); diff != "" || before == 0 {
		t.Errorf("%d questions were answered when the last kill came; the numbers asked for differ: %s", before, diff)
	}
	t.Logf("bound %d; %d questions answered after %d kills; %d of %d asked again", got.UpperBound, before, kills, again(sim.asked()), len(sim.asked()))
}
