package runtime

import (
	"errors"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// absent is a court to which there is no connection before an instant.
type absent struct {
	*memory
	until time.Time
	tries []time.Time
}

func (a *absent) RoundTrip(request *http.Request) (*http.Response, error) {
	if now := time.Now(); now.Before(a.until) {
		a.tries = append(a.tries, now)
		if trace := httptrace.ContextClientTrace(request.Context()); trace != nil && trace.GetConn != nil {
			trace.GetConn(request.URL.Host)
		}
		return nil, errors.New("no route to host")
	}
	return a.memory.RoundTrip(request)
}

// A site that is away at the start: tries for backoff_max, then a safe stop; one that comes up in
// time costs no number an attempt, and the same command goes on later.
func TestSiteUnreachable_AtStart(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	for name, probe := range map[string]string{"batch": "false", "with a search": "true"} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				p := newFixture(t, courtsim.Options{Seed: 7, Max: 60}, map[string]string{
					"end": "60", "probe": probe, "robots": "true", "delay_min": "1s", "delay_max": "3s",
				})
				court := &absent{memory: p.memory, until: time.Now().Add(time.Hour)}
				p.transport = court
				began := time.Now()
				report := p.report(nil)
				took := time.Since(began)
				if report.Status != contract.SafeStop || report.Reason != "the site cannot be reached: no route to host" {
					t.Errorf("%s: %s", report.Status, report.Reason)
				}
				if took < 5*time.Minute || took > 5*time.Minute+10*time.Second {
					t.Errorf("ended after %s, want backoff_max, 5 minutes", took)
				}
				if report.Total != 0 || report.Failed != 0 || report.Requests != 0 || len(court.tries) > 15 {
					t.Errorf("%d numbers, %d requests, %d tries", report.Total, report.Requests, len(court.tries))
				}
				court.until = time.Now().Add(4 * time.Minute)
				report = p.report(nil)
				if report.Status != contract.Completed || report.Succeeded != 60 || report.Retries != 0 {
					t.Errorf("%s: %s: %d succeeded, %d retries", report.Status,
						report.Reason, report.Succeeded, report.Retries)
				}
				if report.WaitedSeconds < 200 || report.WaitedSeconds > 330 {
					t.Errorf("waited for %.0f s", report.WaitedSeconds)
				}
				p.checkOnce()
			})
		})
	}
}
