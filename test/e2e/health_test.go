//go:build soak

package e2e_test

import (
	"bufio"
	"bytes"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
)

func TestServe_ReadyAndMetrics(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "30", "--missing", "0")
	f := newFleet(t, sim)
	f.connect()
	s := startServer(t, "--nats-url", f.server.URL(), "--site", "fct-cf", "--base-url", sim.url, "--delay-min", "0", "--delay-max", "0", "--output", filepath.Join(f.dir, "output"))
	s.until("/readyz", "", ready)
	if status, text := s.get("/livez", ""); status != http.StatusOK || text != "ok\n" {
		t.Errorf("/livez: %d %q", status, text)
	}
	if code, said := s.checked("/readyz"); code != 0 {
		t.Errorf("healthcheck ends with %d: %s", code, said)
	}
	f.order("seen", `{"run_id":"seen","year":"25","end":30,"probe":false}`)
	report := f.report("seen")
	plain := s.until("/metrics", "", func(_ int, text string) bool {
		return strings.Contains(text, `batch_job_duration_seconds_count{run_id="seen"} 30`)
	})
	literal := s.until("/metrics", "text/plain;version=1.0.0;escaping=allow-utf-8", ready)
	for _, name := range []string{"batch.run.duration_seconds", "batch.job.duration_seconds", "batch.job.retry_count", "batch.run.failure_rate", "site.blocked"} {
		if under := strings.ReplaceAll(name, ".", "_"); !strings.Contains(plain, "# TYPE "+under+" ") {
			t.Errorf("no %s in\n%s", under, plain)
		}
		if !strings.Contains(literal, `# TYPE "`+name+`" `) {
			t.Errorf("no %s in\n%s", name, literal)
		}
	}
	if want := `batch_run_failure_rate{run_id="seen"} 0`; report.Metrics.RunFailureRate != 0 || !strings.Contains(plain, want) {
		t.Errorf("no %s in\n%s", want, plain)
	}
	// Without a stream that it needs it cannot work, and says which.
	if err := f.broker.JetStream().DeleteStream(t.Context(), contract.StreamJobs); err != nil {
		t.Fatal(err)
	}
	s.until("/readyz", "", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, contract.StreamJobs)
	})
	if code, said := s.checked("/readyz"); code != 1 || !strings.Contains(said, contract.StreamJobs) {
		t.Errorf("healthcheck ends with %d: %s", code, said)
	}
	// What breaks a service off makes all begin again, with everything in its place.
	if err := f.broker.JetStream().DeleteStream(t.Context(), contract.StreamBatch); err != nil {
		t.Fatal(err)
	}
	s.hears("serve.again")
	s.until("/readyz", "", ready)
	f.order("again", `{"run_id":"again","year":"25","start":31,"end":32,"probe":false}`)
	f.report("again")
}

func TestBatch_Metrics(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "2000", "--missing", "0", "--latency", "20ms")
	p := newPlace(t, sim, "--end", "2000", "--delay-min", "0", "--delay-max", "0", "--log-format", "json", "--http-addr", "127.0.0.1:0", "--log-level", "info")
	cmd := exec.Command("fct-scraper", p.args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd, said: make(chan string, 10_000)}
	go func() {
		defer close(s.said)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.said <- lines.Text()
		}
	}()
	t.Cleanup(s.stop)
	s.http = "http://" + s.hears("http.listening")["addr"].(string)
	s.until("/readyz", "", ready)
	s.until("/metrics", "", func(_ int, text string) bool { return strings.Contains(text, "batch_run_duration_seconds{") })
}

func TestHealthcheck_NoServer(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("fct-scraper", "healthcheck", "--http-addr", "127.0.0.1:1")
	said, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(said), "127.0.0.1:1/readyz") {
		t.Errorf("%d: %s", code, said)
	}
}
