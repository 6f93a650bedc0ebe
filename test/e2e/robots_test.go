package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// robotsPlace is a place whose court has this robots.txt.
func robotsPlace(t *testing.T, text string, flags ...string) (simulator, place) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "robots.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sim := startSim(t, "--max", "5000", "--missing", "0", "--robots", file)
	return sim, newPlace(t, sim, append([]string{"--end", "20", "--delay-min", "0", "--delay-max", "0", "--robots=true"}, flags...)...)
}

func TestRobots_ReadOnceAndCounted(t *testing.T) {
	t.Parallel()
	sim, p := robotsPlace(t, "User-agent: *\nDisallow: /private\n")
	report := p.finish(codeCompleted)
	stats := sim.stats()
	if stats.Robots != 1 || stats.Requests != 20 || report.Requests != 21 || report.Succeeded != 20 {
		t.Errorf("%d looks at robots.txt, %d other requests; %d reported, %d succeeded", stats.Robots, stats.Requests, report.Requests, report.Succeeded)
	}
}

func TestRobots_Disallow(t *testing.T) {
	t.Parallel()
	sim, p := robotsPlace(t, "User-agent: fct-scraper\nDisallow: /CourtFilesAndDecisions/\n")
	report := p.finish(codeBlocked)
	if stats := sim.stats(); stats.Requests != 0 || report.Total != 0 || !strings.Contains(report.Reason, "robots.txt of the site forbids /CourtFilesAndDecisions/") {
		t.Errorf("%d requests, %d numbers; %s", stats.Requests, report.Total, report.Reason)
	}
	p.args = append(p.args, "--robots=false")
	if report := p.finish(codeCompleted); report.Succeeded != 20 {
		t.Errorf("%d succeeded without robots.txt, want 20", report.Succeeded)
	}
}

func TestRobots_CrawlDelay(t *testing.T) {
	t.Parallel()
	sim, p := robotsPlace(t, "User-agent: *\nCrawl-delay: 0.3\n", "--end", "6")
	begun := time.Now()
	report := p.finish(codeCompleted)
	if took := time.Since(begun); took < 1500*time.Millisecond || report.MinRequestGapSeconds < 0.3 {
		t.Errorf("6 numbers took %s, smallest gap %.3f s; 0.3 s were asked for", took, report.MinRequestGapSeconds)
	}
	if stats := sim.stats(); stats.Robots != 1 || report.Status != contract.Completed {
		t.Errorf("%d looks at robots.txt; %s", stats.Robots, report.Status)
	}
}

// Where robots.txt cannot be read nothing is asked: the numbers fail as they do at a court that is down.
func TestRobots_UnreadableStopsRequests(t *testing.T) {
	t.Parallel()
	var looks, others atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" {
			looks.Add(1)
		} else {
			others.Add(1)
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	p := newPlace(t, simulator{t, server.URL}, "--end", "3", "--delay-min", "0", "--delay-max", "0", "--robots=true", "--max-retries", "1", "--backoff-base", "1ms")
	report := p.finish(codeFailed)
	if report.Failed != 3 || others.Load() != 0 || looks.Load() != 6 || report.Requests != 6 {
		t.Errorf("%d failed, %d looks at robots.txt and %d other requests, %d reported; want 3, 6, 0, 6", report.Failed, looks.Load(), others.Load(), report.Requests)
	}
	if len(report.Errors) == 0 || strings.Count(report.Errors[0].Error, "robots.txt could not be read") != 1 {
		t.Errorf("errors %v", report.Errors)
	}
}
