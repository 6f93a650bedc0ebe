//go:build soak

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// deadly is a court that does something to the process that asks for certain numbers, one letter of the script a time and then the
// last one for ever: k kills it, t tells it to stop and does not answer, 5 answers with status 503, a dot answers as the court does.
type deadly struct {
	court  http.Handler
	script map[int]string

	mu     sync.Mutex
	victim *os.Process
	asked  map[int]int
}

func newDeadly(t *testing.T, script map[int]string) (*deadly, simulator) {
	t.Helper()
	d := &deadly{
		court:  fcttest.Site(t, courtsim.Options{Seed: 22, Max: 99999, Latency: 20 * time.Millisecond}),
		script: script, asked: make(map[int]int),
	}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return d, simulator{t, server.URL}
}

func (d *deadly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch d.next(r) {
	case 'k':
		d.tell(syscall.SIGKILL)
		<-r.Context().Done()
	case 't':
		d.tell(syscall.SIGTERM)
		<-r.Context().Done()
	case '5':
		http.Error(w, "out of order", http.StatusServiceUnavailable)
	default:
		d.court.ServeHTTP(w, r)
	}
}

// next is the letter of the script for a request.
func (d *deadly) next(r *http.Request) byte {
	id, err := contract.ParseCaseID(r.URL.Query().Get("courtnumber"))
	if err != nil || d.script[id.Number] == "" {
		return '.'
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.asked[id.Number]
	d.asked[id.Number]++
	letters := d.script[id.Number]
	return letters[min(n, len(letters)-1)]
}

func (d *deadly) tell(what os.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.victim.Signal(what) // unless it is dead already
}

// begin starts the process that is meant from now on.
func (d *deadly) begin(start func() *exec.Cmd) *exec.Cmd {
	d.mu.Lock()
	defer d.mu.Unlock()
	cmd := start()
	d.victim = cmd.Process
	return cmd
}

// untilEnd starts a batch again and again until it ends by itself, and returns how often it was killed.
func (d *deadly) untilEnd(p place) (kills, code int) {
	p.t.Helper()
	for {
		cmd := d.begin(func() *exec.Cmd { return p.start(nil) })
		_ = cmd.Wait() // its state says it
		status, known := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case known && status.Signaled():
			kills++
		case cmd.ProcessState.ExitCode() != codeTerminated:
			return kills, cmd.ProcessState.ExitCode()
		}
		if kills > 30 {
			p.t.Fatal("it does not end")
		}
	}
}

func TestJob_KillsItsProcess(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers, concurrency = 40, 4
	for name, c := range map[string]struct {
		script map[int]string
		// failed are the numbers that are given up after so many kills of the batch, with so many attempts.
		failed   []int
		kills    [2]int
		attempts int
	}{
		"one":                        {map[int]string{3: "k"}, []int{3}, [2]int{5, 5}, 1},
		"in mid-run":                 {map[int]string{30: "k"}, []int{30}, [2]int{5, 5}, 1},
		"side by side":               {map[int]string{5: "k", 6: "k"}, []int{5, 6}, [2]int{6, 10}, 1},
		"four times is not too many": {map[int]string{7: "kkkk."}, nil, [2]int{4, 4}, 0},
		"trouble of the site apart":  {map[int]string{7: "kk5kkk"}, []int{7}, [2]int{5, 5}, 2},
		"a stop is no crash":         {map[int]string{7: "tktktttkk."}, nil, [2]int{4, 4}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, sim := newDeadly(t, c.script)
			p := newPlace(t, sim, "--end", fmt.Sprint(numbers), "--delay-min", "0", "--delay-max", "0", "--concurrency", fmt.Sprint(concurrency),
				"--graceful-shutdown-timeout", "1", "--backoff-base", "10ms")
			kills, code := d.untilEnd(p)
			want := codeCompleted
			if len(c.failed) > 0 {
				want = codeFailed
			}
			if code != want || kills < c.kills[0] || kills > c.kills[1] {
				t.Errorf("exit code %d after %d kills, want %d after %v", code, kills, want, c.kills)
			}
			outcomes := p.outcomes()
			p.checkRecords(outcomes)
			for _, n := range c.failed {
				if outcomes[n] != contract.Failed {
					t.Errorf("number %d is %q, want failed", n, outcomes[n])
				}
				delete(outcomes, n)
				p.checkCrashed(n, c.attempts)
			}
			for n := 1; n <= numbers; n++ {
				if _, failed := c.script[n]; outcomes[n] != contract.Success && (!failed || len(c.failed) == 0) {
					t.Errorf("number %d is %q, want success", n, outcomes[n])
				}
			}
			stops := strings.Count(c.script[7], "t")
			if n := again(sim.asked()); n > (kills+stops)*concurrency {
				t.Errorf("%d cases were asked for again after %d kills and %d stops", n, kills, stops)
			}
		})
	}
}

// checkCrashed looks at the last line of a number in the attempts file.
func (p place) checkCrashed(number, attempt int) {
	p.t.Helper()
	var last contract.AttemptLine
	files := p.glob("attempts_*.ndjson")
	if len(files) != 1 {
		p.t.Fatalf("attempts files %v, want one", files)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		p.t.Fatal(err)
	}
	for text := range strings.Lines(string(data)) {
		var line contract.AttemptLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			p.t.Fatal(err)
		}
		if line.CaseID.Number == number {
			last = line
		}
	}
	if last.Error != "worker crashed" || last.Attempt != attempt || last.Outcome != string(contract.Failed) {
		p.t.Errorf("the last line of number %d is %+v, want attempt %d: worker crashed", number, last, attempt)
	}
}

// A fetcher in a process of its own dies: its jobs come again after their ack-wait, to the one that is started in its place.
func TestJob_KillsFetchers(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const numbers = 30
	d, sim := newDeadly(t, map[int]string{5: "k"})
	f := newFleet(t, sim, "--delay-min", "0", "--delay-max", "0", "--concurrency", "4", "--graceful-shutdown-timeout", "5s", "--year", "25")
	f.join()
	f.live = append(f.live, f.launch("prober", "generator", "classifier", "reporter"))
	f.order("deadly", fmt.Sprintf(`{"run_id":"deadly","end":%d,"probe":false}`, numbers))
	f.hasten()
	f.waitFor(contract.StreamJobs, contract.RunID("deadly").ConsumerName())
	for range 5 {
		victim := d.begin(func() *exec.Cmd { return f.launch("fetcher") })
		_ = victim.Wait() // killed, as it was to be
	}
	f.live = append(f.live, d.begin(func() *exec.Cmd { return f.launch("fetcher") }))
	report := f.report("deadly")
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 1 || report.Succeeded != numbers-1 {
		t.Errorf("%s (%s): %d = %d + %d + %d", report.Status, report.Reason, report.Total, report.Succeeded, report.NoRecord, report.Failed)
	}
	if len(report.Errors) != 1 || report.Errors[0].Error != "worker crashed" {
		t.Errorf("errors %+v, want that the worker crashed", report.Errors)
	}
	if n := d.asked[5]; n != 5 {
		t.Errorf("the number was asked for %d times, want 5", n)
	}
}

// After each kill no more cases are asked for again than may be in flight, whatever waits to be stored.
func TestBatch_KilledAtFullSpeed(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	const kills, between = 4, 250
	for _, concurrency := range []int{4, 16, 64} {
		t.Run(fmt.Sprint(concurrency), func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "99999", "--missing", "0", "--seed", "24")
			const numbers = kills*between + 1000 // those after the last kill are the time that a slow machine has for it
			p := newPlace(t, sim, "--end", fmt.Sprint(numbers), "--delay-min", "0", "--delay-max", "0", "--concurrency", fmt.Sprint(concurrency))
			for n := 1; n <= kills; n++ {
				cmd := p.start(nil)
				for len(sim.asked()) < n*between { // requests end it, or the test's own time
					if t.Context().Err() != nil {
						t.Fatal("the test ended first")
					}
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // killed, as it was to be
			}
			report := p.finish(codeCompleted)
			if report.Succeeded != numbers {
				t.Errorf("%d = %d + %d + %d", report.Total, report.Succeeded, report.NoRecord, report.Failed)
			}
			n := again(sim.asked())
			if n > kills*concurrency {
				t.Errorf("%d cases were asked for again after %d kills, want at most %d", n, kills, kills*concurrency)
			}
			t.Logf("%d cases asked for again after %d kills", n, kills)
		})
	}
}
