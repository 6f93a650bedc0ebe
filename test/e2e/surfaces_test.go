//go:build soak

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// screenText is what a process has written so far.
type screenText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screenText) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

// lastBlock is the newest status block of the text.
func (s *screenText) lastBlock() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.text.String()
	return text[strings.LastIndex(text, "\x1b[J")+1:]
}

// The terminal, the API, status, the events and the metrics of a batch tell the same state, with its reason
// and its end.
func TestStates_FiveSurfaces(t *testing.T) {
	t.Parallel()
	quiet := quietNow()
	for name, c := range map[string]struct {
		flags    []string
		commands []string
		phase    contract.Phase
		reason   string
		ends     bool // the wait has an end that is known
		tuned    bool
	}{
		"running": {nil, nil, contract.PhaseFetching, "", false, false},
		"tuned":   {nil, []string{"tune"}, contract.PhaseFetching, "", false, true},
		"paused":  {nil, []string{"pause"}, contract.PhasePaused, contract.WaitPaused, false, false},
		"resumed": {nil, []string{"pause", "resume"}, contract.PhaseFetching, "", false, false},
		"quiet":   {[]string{"--quiet-hours", quiet}, nil, contract.PhaseWaiting, contract.WaitQuietHours, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "5000", "--seed", "3")
			f := newFleet(t, sim)
			addr := fcttest.FreeAddr(t)
			cmd := exec.Command("fct-scraper", append([]string{"batch", "2025", "--end", "4000", "--probe=false", "--site", "fct-cf", "--base-url", sim.url,
				"--robots=false", "--delay-min", "200ms", "--delay-max", "200ms", "--nats-url", f.server.URL(), "--http-addr", addr, "--progress", "tty",
				"--log-level", "error", "--output", t.TempDir()}, c.flags...)...)
			var screen screenText
			cmd.Stderr = &screen
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			f.connect()
			get := func(path string) string {
				response, err := http.Get("http://" + addr + path)
				if err != nil {
					return ""
				}
				text, err := io.ReadAll(response.Body)
				if err != nil || response.Body.Close() != nil {
					t.Error(path, err)
				}
				return string(text)
			}
			type told struct {
				runStatus
				Phase contract.Phase `json:"phase"`
				Tuned map[string]any `json:"tuned"`
			}
			var all []told
			f.until("the run starts", func() bool { return json.Unmarshal([]byte(get("/api/runs")), &all) == nil && len(all) == 1 })
			run := all[0].RunID
			for _, command := range c.commands {
				args := []string{command, "--run", string(run), "--nats-url", f.server.URL()}
				if command == "tune" {
					args = append(args, "--concurrency", "2")
				}
				did(t, codeCompleted, args...)
			}
			agrees := func(phase contract.Phase, wait *contract.Wait) bool {
				if c.reason == "" {
					return phase == c.phase && wait == nil
				}
				return phase == c.phase && wait != nil && wait.Reason == c.reason && wait.Until.IsZero() != c.ends
			}
			surfaces := map[string]func() (string, bool){
				"API": func() (string, bool) {
					var s told
					text := get("/api/runs/" + string(run))
					err := json.Unmarshal([]byte(text), &s)
					return text, err == nil && agrees(s.Phase, s.Wait) && (len(s.Tuned) > 0) == c.tuned
				},
				"status": func() (string, bool) {
					var s told
					text := did(t, codeCompleted, "status", "--run", string(run), "--json", "--nats-url", f.server.URL()).stdout
					err := json.Unmarshal([]byte(text), &s)
					return text, err == nil && agrees(s.Phase, s.Wait) && (len(s.Tuned) > 0) == c.tuned
				},
				"events": func() (string, bool) {
					var last contract.Event
					for _, event := range []string{"progress", "waiting"} {
						msg, err := f.broker.GetLast(t.Context(), contract.StreamEvents, run.EventSubject(event))
						var e contract.Event
						if err == nil && json.Unmarshal(msg.Data, &e) == nil && e.At.After(last.At) {
							last = e
						}
					}
					return fmt.Sprintf("%+v", last), agrees(last.Phase, last.Wait)
				},
				"metrics": func() (string, bool) {
					text := get("/metrics")
					waits := strings.Contains(text, `batch_run_waiting{reason="`+c.reason+`",`) && strings.Contains(text, `batch_run_waiting_until_seconds{`) == c.ends
					return text, waits
				},
				"terminal": func() (string, bool) {
					text := screen.lastBlock()
					said := "waits: " + c.reason
					if c.ends {
						said = "waits until "
					}
					return text, strings.Contains(text, "elapsed") && strings.Contains(text, c.reason) && strings.Contains(text, "waits") == (c.reason != "") &&
						(c.reason == "" || strings.Contains(text, said))
				},
			}
			for surface, look := range surfaces {
				text, good := look()
				for began := time.Now(); !good && time.Since(began) < 20*time.Second; text, good = look() {
					at(time.Now(), 50*time.Millisecond)
				}
				if !good {
					t.Errorf("%s: %s", surface, text)
				}
			}
			did(t, codeCompleted, "stop", "--run", string(run), "--nats-url", f.server.URL())
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != codeTerminated {
				t.Errorf("exit code %d, want %d", code, codeTerminated)
			}
			var finished contract.Event
			msg, err := f.broker.GetLast(t.Context(), contract.StreamEvents, run.EventSubject("finished"))
			if err != nil || json.Unmarshal(msg.Data, &finished) != nil || finished.Report == nil || finished.Report.Status != contract.Stopped {
				t.Errorf("finished: %+v, %v", finished, err)
			}
			ended := did(t, codeCompleted, "status", "--run", string(run), "--nats-url", f.server.URL()).stdout
			if !strings.Contains(ended, "stopped") || !strings.Contains(ended, "of 4000") || !strings.Contains(ended, finished.Report.Reason) {
				t.Errorf("status: %s", ended)
			}
		})
	}
}
