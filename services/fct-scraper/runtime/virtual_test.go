package runtime

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// The spec's load: 100 small jobs with concurrency 4 in under ten minutes, here with the pauses that are the default. The time is
// within a tenth of the plan.
func TestBatch_HundredNumbersAtDefaultPace(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 500, Missing: 0.05, Latency: 400 * time.Millisecond},
			map[string]string{"max_cases": "100", "delay_min": "1s", "delay_max": "3s"})
		began := time.Now()
		planned := p.plan(nil)
		report := p.report(nil)
		if took := time.Since(began); took > 10*time.Minute || (planned.EndsAt.Sub(began)-took).Abs() > took/10 {
			t.Errorf("100 numbers took %s, planned until %s", took, planned.EndsAt.Sub(began))
		} else {
			t.Logf("100 numbers took %s, %d requests; planned %s, %d", took, report.Requests, planned.EndsAt.Sub(began),
				planned.Requests)
		}
		if report.Status != contract.Completed || report.Total != 100 || report.Failed != 0 {
			t.Errorf("%s: %d numbers, %d failed; want 100 and none", report.Status, report.Total, report.Failed)
		}
		for i := 1; i < len(p.memory.times); i++ {
			if gap := p.memory.times[i].Sub(p.memory.times[i-1]); gap < time.Second {
				t.Errorf("requests %d and %d are %s apart", i-1, i, gap)
			}
		}
		if report.MinRequestGapSeconds < 1 {
			t.Errorf("smallest gap reported: %.3f s", report.MinRequestGapSeconds)
		}
	})
}

func TestRetry_BackoffGrows(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 1,
			Faults: []courtsim.Fault{{Kind: "500", Share: 1, Times: -1}}},
			map[string]string{"end": "1", "max_retries": "4", "backoff_base": "5s", "backoff_factor": "3",
				"backoff_max": "1m"})
		report := p.report(nil)
		if report.Failed != 1 || report.Requests != 5 || report.Retries != 4 {
			t.Fatalf("%d failed, %d requests, %d retries; want 1, 5, 4", report.Failed, report.Requests, report.Retries)
		}
		for retry, whole := range []time.Duration{5 * time.Second, 15 * time.Second, 45 * time.Second, time.Minute} {
			wait := p.memory.times[retry+1].Sub(p.memory.times[retry])
			if wait < whole/2 || wait > whole+2*time.Second {
				t.Errorf("retry %d came after %s, want %s to %s", retry+1, wait, whole/2, whole)
			}
		}
	})
}

func TestRetryWait_FreesAdmission(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 60,
			Faults: []courtsim.Fault{{Kind: "500", Share: 0.5, Times: 1}}},
			map[string]string{"end": "60", "concurrency": "1", "backoff_base": "20m", "backoff_max": "20m",
				"delay_min": "1s", "delay_max": "1s"})
		report := p.report(nil)
		if report.Succeeded != 60 {
			t.Errorf("%d succeeded, want all 60", report.Succeeded)
		}
		// Half of the answers are failures, so everybody is slowed down for some minutes; twenty are those of a retry.
		if took := p.memory.times[59].Sub(p.memory.times[0]); took > 10*time.Minute {
			t.Errorf("the first 60 requests took %s: jobs that wait for twenty minutes held the one place", took)
		}
	})
}

func TestJobTimeout_Retried(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := newFixture(t, courtsim.Options{Seed: 7, Max: 3,
			Faults: []courtsim.Fault{{Kind: "timeout", Share: 1, Times: 1}}},
			map[string]string{"end": "3", "job_timeout": "20s", "request_timeout": "1h"})
		began := time.Now()
		report := p.report(nil)
		if report.Succeeded != 3 || report.Retries != 3 {
			t.Errorf("%d succeeded with %d retries, want 3 and 3", report.Succeeded, report.Retries)
		}
		if took := time.Since(began); took < 20*time.Second || took > 2*time.Minute {
			t.Errorf("took %s; the first attempts are to end after 20 s", took)
		}
	})
}

// A few numbers that fail for ever are no trouble of the site: the run takes as long as its requests and their own backoff.
func TestBatch_NumbersThatAlwaysFail(t *testing.T) {
	for name, c := range map[string]struct {
		share    float64
		failing  int
		settings map[string]string
		within   time.Duration
		long     bool
	}{
		"default pauses and backoff": {
			0.1, 10, map[string]string{"end": "100", "concurrency": "4", "delay_min": "1s", "delay_max": "3s"},
			10 * time.Minute, true,
		},
		"no pauses, backoff of 100ms": {
			0.1, 10, map[string]string{"end": "100", "concurrency": "4", "backoff_base": "100ms"}, 30 * time.Second,
			false,
		},
		"half of them, no pauses": {0.4, 8, map[string]string{"end": "20"}, 2 * time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			if c.long {
				fcttest.SkipUnlessSoak(t)
			}
			fcttest.VirtualTime(t, func(t *testing.T) {
				p := newFixture(t, courtsim.Options{
					Seed: 13, Max: 99999, Latency: 200 * time.Millisecond,
					Faults: []courtsim.Fault{{Kind: "500", Share: c.share, Times: -1}},
				}, c.settings)
				for round, within := range []time.Duration{c.within, c.within / 2} { // the second asks for those alone
					began := time.Now()
					report := p.report(nil)
					if took := time.Since(began); took > within {
						t.Errorf("round %d took %s, want at most %s", round, took, within)
					} else {
						t.Logf("round %d took %s, %d failed", round, took, report.Failed)
					}
					if report.Status != contract.Completed || report.Failed != c.failing ||
						report.Retries != 3*report.Failed {
						t.Errorf("%s: %d failed, want %d; %d retries", report.Status, report.Failed, c.failing,
							report.Retries)
					}
				}
			})
		})
	}
}
