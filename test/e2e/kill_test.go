//go:build soak

package e2e_test

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

func TestBatch_TwoThousandCollectedElsewhere(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	sim := startSim(t, "--max", "2000", "--missing", "0.1", "--seed", "21")
	p := newPlace(t, sim, "--end", "2000", "--delay-min", "0", "--delay-max", "0", "--concurrency", "16")
	report := p.finish(0)
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 21, Max: 2000, Missing: 0.1}), outcomes, 2000)
	p.checkRecords(outcomes)
	if report.Total != 2000 || report.Succeeded+report.NoRecord != 2000 {
		t.Errorf("%d = %d + %d + %d", report.Total, report.Succeeded, report.NoRecord, report.Failed)
	}
	if share := float64(report.Requests) / 2000; share > 1.12 {
		t.Errorf("%.3f requests a number, want at most 1.12", share)
	}
	// In what order the last answers come in decides whether a canary is asked.
	if n := fcttest.Repeated(sim.asked()); n != report.CanaryRequests || n > 2 {
		t.Errorf("%d requests were repeated, %d of them by canaries", n, report.CanaryRequests)
	}
}

func TestBatch_KilledFortyTimes(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const concurrency, numbers, kills = 4, 2000, 40
	sim := startSim(t, "--max", "2000", "--missing", "0.1", "--seed", "22")
	p := newPlace(t, sim, "--end", "2000", "--delay-min", "2ms", "--delay-max", "4ms", "--concurrency", "4")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	warm := p.warmUp(sim)
	for range kills {
		begun, before := time.Now(), sim.totals(0)
		cmd := p.start(nil)
		sim.life(dice, begun, warm, before)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed, as it was to be
	}
	before := len(p.outcomes())
	report := p.finish(0)
	if before == 0 || before == numbers {
		t.Errorf("%d numbers had an outcome after the last kill: the kills came too early or too late to show anything", before)
	}
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 22, Max: numbers, Missing: 0.1}), outcomes, numbers)
	p.checkRecords(outcomes)
	if report.Total != numbers {
		t.Errorf("total %d, want %d", report.Total, numbers)
	}
	n := again(sim.asked())
	if most := (kills+1)*concurrency + report.CanaryRequests; n > most {
		t.Errorf("%d cases were asked for again, want at most %d", n, most)
	}
	t.Logf("%d numbers done after %d kills; %d cases asked for again", before, kills, n)
}

// life waits until a process that began then is to be killed: one half of them at an instant of the start, which takes about warm, the
// other half up to 250 ms after their first request. The court had seen so many requests before.
func (s simulator) life(dice *rand.Rand, begun time.Time, warm time.Duration, before int) {
	s.t.Helper()
	if dice.IntN(2) == 0 {
		for end := begun.Add(time.Duration(dice.Int64N(int64(warm)))); time.Now().Before(end) && s.totals(0) == before; {
			at(time.Now(), 2*time.Millisecond)
		}
		return
	}
	s.totals(before + 1)
	at(time.Now(), time.Duration(dice.IntN(250))*time.Millisecond)
}

// warmUp is how long a process takes until its first request here, under this load; it is killed then.
func (p place) warmUp(sim simulator) time.Duration {
	p.t.Helper()
	begun := time.Now()
	cmd := p.start(nil)
	for len(sim.asked()) == 0 {
		if time.Since(begun) > time.Minute {
			p.t.Fatal("no request within a minute")
		}
	}
	warm := time.Since(begun)
	if err := cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as it was to be
	return warm
}

func TestBatch_StoppedTwentyTimes(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	// No request hangs for as long as the timeout: a process that is out of time leaves without a report.
	const timeout, stops = 10 * time.Second, 20
	sim := startSim(t, "--max", "3000", "--missing", "0.1", "--seed", "23", "--latency", "5ms", "--fault", "timeout:0.01")
	p := newPlace(t, sim, "--end", "3000", "--delay-min", "1ms", "--delay-max", "3ms", "--concurrency", "8", "--graceful-shutdown-timeout", "10",
		"--request-timeout", "3s")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	for i := range stops {
		collected, asked, before := p.outcomes(), sim.asked(), sim.totals(0)
		var out bytes.Buffer
		cmd := p.start(&out)
		sim.totals(before + 1)
		at(time.Now(), time.Duration(dice.IntN(300))*time.Millisecond)
		signalled := time.Now()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the code says it
		if took := time.Since(signalled); took > timeout+time.Second {
			t.Errorf("stop %d took %s", i, took)
		}
		if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
			t.Fatalf("stop %d: exit code %d", i, code)
		}
		reports, checkpoints := p.glob("report-*.json"), p.glob("checkpoint-*.json")
		if len(reports) != i+1 || len(checkpoints) != 1 {
			t.Fatalf("stop %d after %s: %d reports and %d checkpoints\n%s", i, time.Since(signalled), len(reports), len(checkpoints), out.String())
		}
		for number, calls := range sim.asked() {
			if n := fcttest.Number(t, number); collected[n] != "" && fcttest.Total(calls) != fcttest.Total(asked[number]) {
				t.Errorf("stop %d: number %s was collected and asked again", i, number)
			}
		}
	}
	report := p.finish(0)
	outcomes := p.outcomes()
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 23, Max: 3000, Missing: 0.1}), outcomes, 3000)
	if report.Total != 3000 || report.Status != contract.Completed {
		t.Errorf("%s: total %d", report.Status, report.Total)
	}
}
