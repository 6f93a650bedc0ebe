package runtime

import (
	"cmp"
	"flag"
	"strconv"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// nightly is how many numbers TestPace_WholeNight asks for; 30,000 take 40 virtual hours.
var nightly = flag.Int("nightly", 0, "how many numbers TestPace_WholeNight asks for; 0 takes the usual ones")

// A long run at 3 to 6 seconds, one number in twenty failing at first: no gap is too short, nearly all of the rate is used, and
// every number is counted once.
func TestPace_WholeNight(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		numbers := cmp.Or(*nightly, fcttest.Scaled(200, 800))
		options := courtsim.Options{Seed: 41, Max: 99999, Missing: 0.05, Latency: 700 * time.Millisecond, Faults: []courtsim.Fault{{Kind: "500", Share: 0.05, Times: 1}}}
		p := newFixture(t, options, map[string]string{
			"start": "1", "max_cases": strconv.Itoa(numbers), "probe": "false", "delay_min": "3s", "delay_max": "6s", "concurrency": "4",
		})
		report := p.report(nil)
		exist, missing := fcttest.Truth(p.sim, contract.Range{Start: 1, End: numbers})
		if report.Total != numbers || report.Succeeded != exist || report.NoRecord != missing || report.Failed != 0 {
			t.Errorf("%d = %d + %d + %d; want %d = %d + %d + 0", report.Total, report.Succeeded, report.NoRecord, report.Failed, numbers, exist, missing)
		}
		times := p.memory.times
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 3*time.Second {
				t.Fatalf("requests %d and %d are %s apart", i-1, i, gap)
			}
		}
		const mean = 4500 * time.Millisecond
		used := float64(mean) * float64(len(times)-1) / float64(times[len(times)-1].Sub(times[0]))
		if used < float64(fcttest.Scaled(90, 95))/100 { // the mean of so many draws is off by some hundredths itself
			t.Errorf("%.2f %% of the rate used", 100*used)
		}
		t.Logf("%d requests in %s: %.2f %% of the allowed rate", len(times), times[len(times)-1].Sub(times[0]), 100*used)
	})
}
