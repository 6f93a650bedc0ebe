//go:build soak

package e2e_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
)

// quietNow are quiet hours that have begun and last for an hour at least.
func quietNow() string {
	now := time.Now()
	return now.Add(-time.Hour).Format("15:04") + "-" + now.Add(2*time.Hour).Format("15:04")
}

// A batch that begins in its quiet hours says so at once, has started nothing, and stops when it is told to.
func TestWait_ToldAndStopped(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999")
	p := newPlace(t, sim, "--end", "20", "--quiet-hours", quietNow(), "--log-level", "info", "--log-format", "text", "--http-addr", "127.0.0.1:0")
	cmd := exec.Command("fct-scraper", p.args...)
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(io.TeeReader(out, &said))
	addr := ""
	for lines.Scan() && !strings.Contains(lines.Text(), "batch.run.wait") {
		if _, after, found := strings.Cut(lines.Text(), "http.listening addr="); found {
			addr = after
		}
	}
	if !strings.Contains(lines.Text(), `reason="quiet hours"`) {
		t.Errorf("the wait is told without its reason: %s", lines.Text())
	}
	ready, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(ready.Body)
	if err != nil || ready.Body.Close() != nil || !strings.Contains(string(body), "quiet hours") {
		t.Errorf("/readyz says %q, %v", body, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for lines.Scan() { // to the end
	}
	_ = cmd.Wait() // its state says it
	if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
		t.Errorf("exit code %d, want %d", code, codeTerminated)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if told := strings.Count(said.String(), "batch.run.wait"); told != 1 || strings.Contains(said.String(), "batch.job.start") {
		t.Errorf("the wait was told %d times, want once and no job:\n%s", told, said.String())
	}
	if n := sim.requests(); n != 0 {
		t.Errorf("%d requests in quiet hours", n)
	}
}

// A served run that waits says so in its events and in status.
func TestStatus_Wait(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999")
	f := newFleet(t, sim, "--quiet-hours", quietNow())
	f.open(2)
	events, err := f.broker.Conn().SubscribeSync("batch.event.quiet.waiting")
	if err != nil {
		t.Fatal(err)
	}
	f.order("quiet", `{"run_id":"quiet","year":"25","end":20,"probe":false}`)
	msg, err := events.NextMsg(time.Minute)
	if err != nil {
		t.Fatal("waiting for the event:", err)
	}
	var event contract.Event
	if err := json.Unmarshal(msg.Data, &event); err != nil || event.Wait == nil || event.Wait.Reason != "quiet hours" {
		t.Errorf("event %s, %v", msg.Data, err)
	}
	out, err := exec.Command("fct-scraper", "status", "--run", "quiet", "--json", "--nats-url", f.server.URL()).Output()
	var stands runStatus
	if err == nil {
		err = json.Unmarshal(out, &stands)
	}
	if err != nil || stands.Wait == nil || stands.Wait.Reason != "quiet hours" || !stands.Wait.Until.After(time.Now().Add(time.Hour)) {
		t.Errorf("status %s, %v", out, err)
	}
}
