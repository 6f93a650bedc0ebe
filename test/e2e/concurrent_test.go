//go:build soak

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/natsd"
)

// slowPlace is a place whose batches take long enough to be looked at: 0.1 s a number.
func slowPlace(t *testing.T, sim simulator, flags ...string) place {
	return newPlace(t, sim, append([]string{"--concurrency", "1", "--delay-min", "100ms", "--delay-max", "100ms"}, flags...)...)
}

// running starts a batch and waits until it has collected some files. What it prints goes to out. It ends with the test.
func (p place) running(out *bytes.Buffer) *exec.Cmd {
	p.t.Helper()
	cmd := p.start(out)
	p.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	p.await("files", func() bool { return len(p.glob("cases/IMM/25/*.json")) > 2 })
	return cmd
}

// await waits until something is so.
func (p place) await(what string, so func() bool) {
	p.t.Helper()
	for begun := time.Now(); !so(); at(time.Now(), 10*time.Millisecond) {
		if time.Since(begun) > time.Minute {
			p.t.Fatalf("no %s within a minute", what)
		}
	}
}

// data is the store.
func (p place) data() string { return filepath.Join(p.dir, "data") }

// status is how the newest run stands, as a process beside tells it.
func (p place) status(more ...string) (s runStatus) {
	p.t.Helper()
	told := did(p.t, codeCompleted, append([]string{"status", "--json", "--data-dir", p.data()}, more...)...)
	if err := json.Unmarshal([]byte(told.stdout), &s); err != nil {
		p.t.Fatalf("%v: %s", err, told.stdout)
	}
	return s
}

func exitCode(cmd *exec.Cmd) int {
	_ = cmd.Wait() // the code says it
	return cmd.ProcessState.ExitCode()
}

func TestCommands_BesideBatch(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "300", "--missing", "0.1", "--seed", "31")
	p := slowPlace(t, sim, "--end", "300")
	var out bytes.Buffer
	batch := p.running(&out)
	var s runStatus
	p.await("progress", func() bool { s = p.status(); return s.Done > 0 && s.LeftSeconds > 0 })
	if s.Status != contract.Running || s.Planned == 0 || s.Done != s.Succeeded+s.NoRecord+s.Failed {
		t.Errorf("status: %+v", s)
	}
	run, data := string(s.RunID), p.data()
	var all []runStatus
	if err := json.Unmarshal([]byte(did(t, codeCompleted, "runs", "--json", "--data-dir", data).stdout), &all); err != nil || len(all) != 1 {
		t.Errorf("runs: %+v, %v", all, err)
	}
	if told := did(t, codeCompleted, "explain", "IMM-1-25", "--data-dir", data); !strings.Contains(told.stdout, run) {
		t.Errorf("explain: %s", told.stdout)
	}
	planned := did(t, codeCompleted, append([]string{"plan"}, p.args[1:]...)...)
	if !strings.Contains(planned.stdout, `"run_id": "`+run) || !strings.Contains(planned.stdout, `"selected": 300`) {
		t.Errorf("plan: %s", planned.stdout)
	}
	told := did(t, codeUsage, "report", "--run", run, "--data-dir", data, "--output", filepath.Join(p.dir, "output"), "--json")
	if !strings.Contains(told.stdout, "still running") {
		t.Errorf("report: %s", told.stdout)
	}
	if info, err := os.Lstat(filepath.Join(data, "fct-scraper.sock")); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	did(t, codeCompleted, "stop", "--run", run, "--data-dir", data)
	if code := exitCode(batch); code != codeTerminated {
		t.Errorf("the stopped batch ended with %d, want %d", code, codeTerminated)
	}
	var report contract.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Status != contract.Stopped {
		t.Errorf("%v: %s", err, out.String())
	}
	// Nobody holds the store now, and the commands open it themselves.
	if s := p.status("--run", run); s.Status != contract.Stopped || s.Done != report.Total || s.Done == 0 {
		t.Errorf("status after the stop: %+v, the report has %d", s, report.Total)
	}
	did(t, codeCompleted, "report", "--run", run, "--data-dir", data, "--output", filepath.Join(p.dir, "output"))
}

// Two commands that look at a store that nobody works on do not turn each other away.
func TestCommands_ManyAtOnce(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "5", "--seed", "32")
	p := newPlace(t, sim, "--end", "5", "--delay-min", "0", "--delay-max", "0")
	p.finish(codeCompleted)
	var all []*exec.Cmd
	for range 4 {
		for _, args := range [][]string{{"status"}, {"runs"}, {"explain", "IMM-1-25"}} {
			cmd := exec.Command("fct-scraper", append(args, "--data-dir", p.data())...)
			cmd.Stderr = t.Output()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, cmd)
		}
	}
	for _, cmd := range all {
		if code := exitCode(cmd); code != codeCompleted {
			t.Errorf("%v: exit code %d", cmd.Args, code)
		}
	}
}

func TestStatus_LongDataDir(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "800", "--seed", "33")
	p := slowPlace(t, sim, "--end", "800")
	long := filepath.Join(p.dir, strings.Repeat("a long way down/", 12), "data")
	p.args = append(p.args, "--data-dir", long)
	batch := p.running(nil)
	told := did(t, codeCompleted, "status", "--data-dir", long)
	if !strings.Contains(told.stdout, "running") {
		t.Error(told.stdout)
	}
	if err := batch.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(batch); code != codeTerminated {
		t.Errorf("exit code %d", code)
	}
}

// A batch without a socket, and one that stands still, are told apart from nobody: the store is in use.
func TestStatus_BatchWithoutSocket(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "800", "--seed", "34")
	p := slowPlace(t, sim, "--end", "800")
	batch := p.running(nil)
	locked := func(after string) {
		t.Helper()
		if told := did(t, codeBroker, "status", "--json", "--data-dir", p.data()); !strings.Contains(told.stdout, "in use by another process") {
			t.Errorf("%s: %s", after, told.stdout)
		}
	}
	if err := batch.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	locked("frozen")
	if err := errors.Join(batch.Process.Signal(syscall.SIGCONT), os.Remove(filepath.Join(p.data(), "fct-scraper.sock"))); err != nil {
		t.Fatal(err)
	}
	locked("without its socket")
}

// A killed process leaves its socket, which misleads nobody, and what it had stored is told.
func TestStatus_AfterKill(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "300", "--missing", "0.1", "--seed", "35")
	p := slowPlace(t, sim, "--end", "300")
	batch := p.running(nil)
	p.await("the end of the planning", func() bool { return p.status().Planned == 300 })
	if err := batch.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = batch.Wait() // killed, as it was to be
	if _, err := os.Lstat(filepath.Join(p.data(), "fct-scraper.sock")); err != nil {
		t.Error("the kill came too late to leave a socket:", err)
	}
	files := len(p.glob("cases/IMM/25/*.json"))
	s := p.status()
	if s.Status != contract.Stopped || s.Succeeded < files || s.Done != s.Succeeded+s.NoRecord+s.Failed || s.Planned != 300 {
		t.Errorf("%+v, with %d files", s, files)
	}
	var all []runStatus
	if err := json.Unmarshal([]byte(did(t, codeCompleted, "runs", "--json", "--data-dir", p.data()).stdout), &all); err != nil || len(all) != 1 || all[0] != s {
		t.Errorf("runs: %+v, %v; status: %+v", all, err, s)
	}
	// The counts of a run that was killed twice are those of both its lives.
	batch = p.start(nil)
	p.await("more files", func() bool { return len(p.glob("cases/IMM/25/*.json")) > files+2 })
	if err := batch.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = batch.Wait()
	if again := p.status(); again.RunID != s.RunID || again.Status != contract.Stopped || again.Succeeded < len(p.glob("cases/IMM/25/*.json")) {
		t.Errorf("after the second kill: %+v", again)
	}
}

// TestSetup_EmptyServer: setup creates what is missing, and changes nothing when it runs again.
func TestSetup_EmptyServer(t *testing.T) {
	t.Parallel()
	server, err := natsd.StartOn(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if out := did(t, codeCompleted, "setup", "--nats-url", server.URL()).stdout; out != "all streams, buckets and shared consumers exist\n" {
			t.Errorf("%q", out)
		}
		did(t, codeCompleted, "runs", "--nats-url", server.URL())
	}
}

// TestReadOnlyCommands_MakeNoStore: neither in a folder that is missing or holds no store, nor on a server.
func TestReadOnlyCommands_MakeNoStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.StartOn(filepath.Join(dir, "server"), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, data := range map[string]string{"empty": filepath.Join(dir, "empty"), "missing": filepath.Join(dir, "missing")} {
		if name == "empty" {
			if err := os.Mkdir(data, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"status"}, {"runs"}, {"stop", "--run", "x"}, {"explain", "IMM-1-25"}, {"report", "--run", "x"}} {
			told := did(t, codeUsage, append(args, "--data-dir", data)...)
			if !strings.Contains(told.stderr, "there is no store at data_dir "+data) {
				t.Errorf("%s: %q: %s", name, args, told.stderr)
			}
			told = did(t, codeUsage, append(args, "--nats-url", server.URL())...)
			if name == "empty" && args[0] != "explain" && !strings.Contains(told.stderr, "there is no store on the server of nats_url") {
				t.Errorf("%q over NATS: %s", args, told.stderr)
			}
		}
		if left, err := filepath.Glob(filepath.Join(data, "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %q were made, %v", name, left, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "server", "jetstream", "*", "streams", "*")); err != nil || len(left) > 0 {
		t.Errorf("streams were made: %q, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing folder was made")
	}
}
