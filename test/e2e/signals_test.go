package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

func TestBatch_StoppedBySignal(t *testing.T) {
	t.Parallel()
	// A process that takes the signal gives it on as its default, also where whoever started the tests ignores it.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hup) })
	for name, c := range map[string]struct {
		signal syscall.Signal
		code   int
		times  int
	}{
		"SIGHUP":  {syscall.SIGHUP, 129, 2}, // a terminal that closes may send it twice
		"SIGINT":  {syscall.SIGINT, 130, 1},
		"SIGTERM": {syscall.SIGTERM, 143, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := startSim(t, "--max", "99999", "--latency", "30ms")
			p := newPlace(t, sim, "--end", "60")
			begun := p
			begun.args = append(slices.Clone(p.args), "--delay-min", "300ms", "--delay-max", "300ms")
			p.args = append(p.args, "--delay-min", "0", "--delay-max", "0")
			var out bytes.Buffer
			cmd := begun.start(&out)
			sim.await(3)
			for range c.times {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait() // its state says it
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Fatalf("exit code %d, want %d", code, c.code)
			}
			var report contract.Report
			if err := json.Unmarshal(out.Bytes(), &report); err != nil {
				t.Fatalf("reading the report: %v\n%s", err, out.String())
			}
			if report.Status != contract.Stopped || report.Reason != "stopped by "+name {
				t.Errorf("status %q, reason %q", report.Status, report.Reason)
			}
			if n := len(p.glob("checkpoint-*.json")); n != 1 {
				t.Errorf("%d checkpoints, want 1", n)
			}
			if n := len(p.glob("report-*.json")); n != 1 {
				t.Errorf("%d reports, want 1", n)
			}
			if report := p.finish(codeCompleted); report.Total != 60 {
				t.Errorf("the run that went on gave %d numbers an outcome, want 60", report.Total)
			}
		})
	}
}

func TestBatch_UnderNohup(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--latency", "30ms")
	p := newPlace(t, sim, "--end", "60", "--delay-min", "0", "--delay-max", "0")
	cmd := exec.Command("nohup", append([]string{"fct-scraper"}, p.args...)...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sim.await(10)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its state says it
	if code := cmd.ProcessState.ExitCode(); code != codeCompleted {
		t.Errorf("exit code %d, want %d", code, codeCompleted)
	}
}

func TestBatch_SecondSignal(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "99999", "--latency", "20s")
	p := newPlace(t, sim, "--end", "60", "--graceful-shutdown-timeout", "60")
	var out bytes.Buffer
	cmd := p.start(&out)
	sim.await(1)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} { // two of a kind at once are one to the kernel
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait() // its state says it
	var said struct {
		Error struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil || said.Error.Message == "" {
		t.Errorf("%v:\n%s", err, out.String())
	}
	// Which of the two is taken first is the kernel's affair.
	if code := cmd.ProcessState.ExitCode(); code != said.Error.Code || code != codeTerminated && code != codeInterrupt {
		t.Errorf("exit code %d, want %d or %d, and that of the document: %d", code, codeTerminated, codeInterrupt, said.Error.Code)
	}
}

// A batch that is killed in mid-run is resumed by the same command: every number has one outcome, and only what was in flight is
// requested again.
func TestBatch_KilledAndResumed(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 22, Max: 99999, Missing: 0.1}, 40)
	p := newPlace(t, sim, "--end", "100", "--delay-min", "0", "--delay-max", "0")
	cmd := p.start(nil)
	sim.await(40)
	kill(t, cmd)
	open()
	p.checkResumed(sim, 100)
}
