//go:build soak

package e2e_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
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

// unreachableSites are origins and what their failure says.
func unreachableSites(t *testing.T) map[string]struct{ url, says string } {
	t.Helper()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	return map[string]struct{ url, says string }{
		"no such name":   {"https://court.invalid", "court.invalid"},
		"refused":        {"http://" + fcttest.FreeAddr(t), "refused"},
		"no certificate": {secure.URL, "certificate"},
	}
}

func TestSiteUnreachable_SafeStop(t *testing.T) {
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
func TestSiteUnreachable_ComesUp(t *testing.T) {
	t.Parallel()
	addr := fcttest.FreeAddr(t)
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
	court := fcttest.Site(t, courtsim.Options{Seed: 7, Max: 60})
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
	if n := fcttest.Repeated(court.Stats().PerNumber["IMM-25"]); n != 0 {
		t.Errorf("%d requests were repeated", n)
	}
}
