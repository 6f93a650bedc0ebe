//go:build soak

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// logged is what a process writes to stderr, while it does.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what the process writes.
func (l *logged) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// follower starts one more batch and waits until it says that it waits for another process. It ends with the test.
func (p place) follower(out *bytes.Buffer, flags ...string) *exec.Cmd {
	p.t.Helper()
	said := &logged{}
	cmd := exec.Command("fct-scraper", append(append(p.args, "--log-level", "info"), flags...)...)
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	p.await("word that it waits", func() bool { return said.has("batch.run.wait") })
	return cmd
}

func reportIn(t *testing.T, out *bytes.Buffer) (r contract.Report) {
	t.Helper()
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return r
}

func TestBatch_EqualBatchesJoin(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 41, Max: 60, Missing: 0.1}, 12)
	p := newPlace(t, sim, "--end", "50", "--delay-min", "0", "--delay-max", "0")
	var first, second, third bytes.Buffer
	holder := p.running(&first)
	joined := []*exec.Cmd{p.follower(&second), p.follower(&third, "--concurrency", "2")}
	open()
	for i, cmd := range append(joined, holder) {
		if code := exitCode(cmd); code != codeCompleted {
			t.Errorf("batch %d: exit code %d", i, code)
		}
	}
	if first.String() != second.String() || first.String() != third.String() {
		t.Errorf("reports differ:\n%s\n%s\n%s", first.String(), second.String(), third.String())
	}
	if r := reportIn(t, &first); r.Total != 50 || r.Status != contract.Completed {
		t.Errorf("%s, total %d", r.Status, r.Total)
	}
	if n := len(p.glob("report-*.json")); n != 1 {
		t.Errorf("%d reports", n)
	}
	if n := fcttest.Repeated(sim.asked()); n > 1 { // a canary
		t.Errorf("%d requests were repeated", n)
	}
}

// TestJoin_TakesOver: the holder is killed, and one of those who joined it goes on with the run.
func TestJoin_TakesOver(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 42, Max: 60, Missing: 0.1}, 12)
	p := newPlace(t, sim, "--end", "50", "--delay-min", "0", "--delay-max", "0")
	var second, third bytes.Buffer
	holder := p.running(nil)
	run := p.status().RunID
	joined := []*exec.Cmd{p.follower(&second), p.follower(&third)}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	open()
	for i, cmd := range joined {
		if code := exitCode(cmd); code != codeCompleted {
			t.Errorf("batch %d: exit code %d", i, code)
		}
	}
	if r := reportIn(t, &second); r.Total != 50 || r.RunID != run {
		t.Errorf("run %s, total %d; want %s and 50", r.RunID, r.Total, run)
	}
	if second.String() != third.String() {
		t.Errorf("reports differ:\n%s\n%s", second.String(), third.String())
	}
}

func TestJoin_StoppedRun(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "800", "--seed", "43")
	p := slowPlace(t, sim, "--end", "800")
	var first, second, third bytes.Buffer
	holder := p.running(&first)
	joined, left := p.follower(&second), p.follower(&third)
	// A signal to one that joined is its own end alone.
	if err := left.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(left); code != codeInterrupt || !strings.Contains(third.String(), `"code": 130`) {
		t.Errorf("left with %d: %s", code, third.String())
	}
	s := p.status()
	if s.Status != contract.Running {
		t.Errorf("after one has left: %+v", s)
	}
	did(t, codeCompleted, "stop", "--run", string(s.RunID), "--data-dir", p.data())
	for _, cmd := range []*exec.Cmd{holder, joined} {
		if code := exitCode(cmd); code != codeTerminated {
			t.Errorf("exit code %d, want %d", code, codeTerminated)
		}
	}
	if first.String() != second.String() {
		t.Errorf("reports differ:\n%s\n%s", first.String(), second.String())
	}
}

// TestBatch_DifferentBatchesQueue: other numbers, and the same numbers for another folder.
func TestBatch_DifferentBatchesQueue(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 44, Max: 60, Missing: 0.1}, 12)
	p := newPlace(t, sim, "--end", "30", "--delay-min", "0", "--delay-max", "0")
	var first, second, third, fourth bytes.Buffer
	elsewhere := filepath.Join(p.dir, "elsewhere")
	holder := p.running(&first)
	waiting := []*exec.Cmd{p.follower(&second, "--start", "31", "--end", "50"), p.follower(&third, "--output", elsewhere, "--force")}
	impatient := p.follower(&fourth, "--end", "40")
	if err := impatient.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(impatient); code != codeTerminated {
		t.Errorf("exit code %d after a signal, want %d", code, codeTerminated)
	}
	open()
	for i, cmd := range append(waiting, holder) {
		if code := exitCode(cmd); code != codeCompleted {
			t.Errorf("batch %d: exit code %d", i, code)
		}
	}
	a, b, c := reportIn(t, &first), reportIn(t, &second), reportIn(t, &third)
	if a.Total != 30 || b.Total != 20 || c.Total != 30 || a.RunID == b.RunID || b.RunID == c.RunID {
		t.Errorf("totals %d, %d, %d of runs %s, %s, %s", a.Total, b.Total, c.Total, a.RunID, b.RunID, c.RunID)
	}
	files, err := filepath.Glob(filepath.Join(elsewhere, "cases", "IMM", "25", "*.json"))
	if err != nil || len(files) < c.Succeeded {
		t.Errorf("%d files of %d successes in the other folder, %v", len(files), c.Succeeded, err)
	}
}

// TestBatch_BesideServeEmbedded: it works over the server as it does by its address.
func TestBatch_BesideServeEmbedded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sim := startSim(t, "--max", "20", "--seed", "45")
	p := newPlace(t, sim, "--end", "20", "--delay-min", "0", "--delay-max", "0")
	embeddedServer(t, dir, "--site", "fct-cf", "--base-url", sim.url, "--robots=false", "--delay-min", "0", "--delay-max", "0",
		"--data-dir", p.data(), "--output", filepath.Join(p.dir, "output"))
	if r := p.finish(codeCompleted); r.Total != 20 || r.Status != contract.Completed {
		t.Errorf("%s: total %d", r.Status, r.Total)
	}
}

// TestJoin_AfterHolder: one that joined stands still while the run ends, and finds the holder gone.
func TestJoin_AfterHolder(t *testing.T) {
	t.Parallel()
	sim, open := gated(t, courtsim.Options{Seed: 46, Max: 60}, 12)
	p := newPlace(t, sim, "--end", "30", "--delay-min", "0", "--delay-max", "0")
	var first, second bytes.Buffer
	holder := p.running(&first)
	joined := p.follower(&second)
	if err := joined.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	open()
	if code := exitCode(holder); code != codeCompleted {
		t.Errorf("the holder ended with %d", code)
	}
	if err := joined.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(joined); code != codeCompleted || first.String() != second.String() {
		t.Errorf("exit code %d; reports:\n%s\n%s", code, first.String(), second.String())
	}
}

// TestBatch_TwoStoresOneOutput: the second is told who writes there before it asks for anything; another year is free.
func TestBatch_TwoStoresOneOutput(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "300", "--seed", "47")
	p := slowPlace(t, sim, "--end", "300")
	holder := p.running(nil)
	elsewhere := filepath.Join(p.dir, "elsewhere")
	flags := []string{"batch", "2025", "--json", "--base-url", sim.url, "--robots=false", "--probe=false", "--start", "290", "--end", "300", "--delay-min", "0", "--delay-max", "0",
		"--output", filepath.Join(p.dir, "output"), "--data-dir", elsewhere}
	told := did(t, codeOutput, flags...)
	for _, want := range []string{fmt.Sprintf("process %d (data_dir %s)", holder.Process.Pid, p.data()), "IMM-25", "give another output"} {
		if !strings.Contains(told.stdout, want) {
			t.Errorf("%q is not said: %s", want, told.stdout)
		}
	}
	if calls := sim.asked()["290"]; len(calls) > 0 {
		t.Errorf("the refused batch has asked the site: %v", calls)
	}
	flags[1] = "2024"
	did(t, codeCompleted, flags...)
	if len(sim.stats().PerNumber["IMM-24"]) == 0 {
		t.Error("nothing was asked of the other year")
	}
	did(t, codeCompleted, "stop", "--run", string(p.status().RunID), "--data-dir", p.data())
	if code := exitCode(holder); code != codeTerminated {
		t.Errorf("the first batch ended with %d", code)
	}
	flags[1] = "2025"
	did(t, codeCompleted, flags...)
}
