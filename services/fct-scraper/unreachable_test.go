package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
func TestSiteAwayAtTheStart(t *testing.T) {
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

// unreachableSites are origins and what their failure says.
func unreachableSites(t *testing.T) map[string]struct{ url, says string } {
	t.Helper()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	return map[string]struct{ url, says string }{
		"no such name":   {"https://court.invalid", "court.invalid"},
		"refused":        {"http://" + freeAddr(t), "refused"},
		"no certificate": {secure.URL, "certificate"},
	}
}

func TestUnreachableSiteIsASafeStop(t *testing.T) {
	t.Parallel()
	for name, site := range unreachableSites(t) {
		for _, command := range []string{"batch", "probe", "robots"} {
			dir := t.TempDir()
			args := []string{
				"batch", "--json", "--year", "25", "--site", "fct-cf", "--base-url", site.url, "--contact", "me@court.invalid",
				"--end", "20", "--delay-min", "0",
				"--delay-max", "0", "--backoff-base", "200ms",
				"--backoff-max", "1s", "--log-format", "json",
				"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"),
			}
			switch command {
			case "batch":
				args = append(args, "--robots=false", "--probe=false")
			case "probe":
				args[0] = command
				args = append(args, "--robots=false")
			}
			ran := didIn(t, []string{"HTTPS_PROXY="}, codeSafeStop, args...)
			var report contract.Report
			if err := json.Unmarshal([]byte(ran.stdout), &report); err != nil {
				t.Fatalf("%s, %s: %v: %s", name, command, err, ran.stdout)
			}
			if report.Status != contract.SafeStop || report.Total != 0 || report.Requests != 0 ||
				!strings.HasPrefix(report.Reason, "the site cannot be reached: ") || !strings.Contains(report.Reason, site.says) {
				t.Errorf("%s, %s: %s: %s, %d numbers", name, command, report.Status, report.Reason, report.Total)
			}
			if n := strings.Count(ran.stderr, `"msg":"site.unreachable"`); n != 1 {
				t.Errorf("%s, %s: told %d times: %s", name, command, n, ran.stderr)
			}
		}
	}
}

// unreached starts a batch and waits until it says that it does not reach its site.
func (p place) unreached() *exec.Cmd {
	p.t.Helper()
	said := &logged{}
	cmd := exec.Command("fct-scraper", p.args...)
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.await("word of the site", func() bool { return said.has("site.unreachable") })
	return cmd
}

// A process whose site comes up goes on by itself; one that waits for it stops when it is told to.
func TestSiteComesUp(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	p := newPlace(t, simulator{t, "http://" + addr}, "--end", "20", "--delay-min", "0", "--delay-max", "0")
	waiting := p.unreached()
	began := time.Now()
	if err := waiting.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = waiting.Wait() // its state says it
	if code := waiting.ProcessState.ExitCode(); code != codeTerminated || time.Since(began) > 20*time.Second {
		t.Errorf("exit code %d after %s, want %d", code, time.Since(began), codeTerminated)
	}
	cmd := p.unreached()
	court := newSim(t, courtsim.Options{Seed: 7, Max: 60})
	server, err := court.Start(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	checkTruth(t, court, p.outcomes(), 20)
	if n := repeated(court.Stats().PerNumber["IMM-25"]); n != 0 {
		t.Errorf("%d requests were repeated", n)
	}
}
