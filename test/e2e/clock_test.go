//go:build soak

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// TestClockSteps_InRun: the wall clock of a real process is set back, and forward, while retries wait.
func TestClockSteps_InRun(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	program := buildShiftable(t)
	t.Run("back while it runs", func(t *testing.T) { t.Parallel(); stepWhileRunning(t, program, -10*time.Minute) })
	t.Run("forward while it runs", func(t *testing.T) { t.Parallel(); stepWhileRunning(t, program, time.Hour) })
	t.Run("back between stop and start", func(t *testing.T) { t.Parallel(); stepWhileStopped(t, program, -24*time.Hour) })
}

// stepNumbers is how many numbers these runs ask for, stepAt at which request the clock is set: retries wait then.
const stepNumbers, stepAt = 80, 40

// stepLimit is how long such a run may take. Undisturbed it takes about ten seconds, and each of the steps back would make it longer
// by at least ten minutes. Two cores shared with other tests make it slower.
const stepLimit = 90 * time.Second

// buildShiftable builds the program with a wall clock that a file sets; the monotonic clock stays as it is.
func buildShiftable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(here, filepath.FromSlash(programPath))
	library := filepath.Join(goRoot(t), "src", "time")
	source, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), reading) != 1 {
		t.Fatalf("time.Now of %s is not as this test knows it", runtime.Version())
	}
	shifted := strings.Replace(string(source), reading, reading+
		"\tif by := shift.Load(); by != 0 {\n\t\twall := sec*1e9 + int64(nsec) + by\n\t\tsec, nsec = wall/1e9, int32(wall%1e9)\n\t}\n", 1)
	now, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	files, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(library, "time.go"):    now,
		filepath.Join(library, "shift.go"):   filepath.Join(here, "testdata", "clockshift", "shift.go.txt"),
		filepath.Join(main, "clockshift.go"): filepath.Join(here, "testdata", "clockshift", "follow.go.txt"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{now: []byte(shifted), overlay: files} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "fct-scraper")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, programPath).CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return program
}

func goRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// steppedRun is a batch of a real process whose clock can be set.
type steppedRun struct {
	place
	program string
	sim     simulator
	// clock is the file that sets the clock.
	clock string
	log   *bytes.Buffer
}

func newSteppedRun(t *testing.T, program string) *steppedRun {
	sim := startSim(t, "--max", "80", "--missing", "0.1", "--seed", "31", "--fault", "500:0.3")
	p := newPlace(t, sim, "--end", "80", "--delay-min", "20ms", "--delay-max", "20ms", "--concurrency", "8", "--max-retries", "12",
		"--backoff-base", "500ms", "--backoff-max", "1s", "--safe-stop-fails", "0")
	r := &steppedRun{place: p, program: program, sim: sim, clock: filepath.Join(p.dir, "clock"), log: &bytes.Buffer{}}
	r.set(0)
	return r
}

// set sets the wall clock: by is how far it is from the machine's.
func (r *steppedRun) set(by time.Duration) {
	r.t.Helper()
	if err := os.WriteFile(r.clock+".new", []byte(by.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.clock+".new", r.clock); err != nil {
		r.t.Fatal(err)
	}
}

// begin starts the batch and returns when the simulator was asked so often more.
func (r *steppedRun) begin(out *bytes.Buffer, requests int) *exec.Cmd {
	r.t.Helper()
	before := r.sim.stats().Requests
	cmd := exec.Command(r.program, r.args...)
	cmd.Env = append(os.Environ(), "CLOCK_SHIFT="+r.clock)
	cmd.Stdout, cmd.Stderr = out, r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for until := time.Now().Add(stepLimit); r.sim.stats().Requests < before+requests; {
		if time.Now().After(until) {
			_ = cmd.Process.Kill()
			r.t.Fatalf("%d requests in %s", r.sim.stats().Requests-before, stepLimit)
		}
	}
	return cmd
}

// end waits for the end of the batch, which is to have this exit code, and returns its report.
func (r *steppedRun) end(cmd *exec.Cmd, out *bytes.Buffer, code int) contract.Report {
	r.t.Helper()
	overdue := time.AfterFunc(stepLimit, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // the code says it
	if !overdue.Stop() {
		r.t.Fatalf("the run has not ended %s after the step\n%s", stepLimit, r.log)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("exit code %d, want %d\n%s\n%s", got, code, out, r.log)
	}
	var report contract.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		r.t.Fatalf("reading the report: %v\n%s", err, out)
	}
	return report
}

// check looks at what a run has left that was worked on for at most so long.
func (r *steppedRun) check(report contract.Report, took time.Duration) {
	r.t.Helper()
	outcomes := r.outcomes()
	checkTruth(r.t, fcttest.Site(r.t, courtsim.Options{Seed: 31, Max: stepNumbers, Missing: 0.1}), outcomes, stepNumbers)
	r.checkRecords(outcomes)
	asked := r.sim.stats().Requests
	if report.Total != stepNumbers || report.Failed != 0 || report.Requests != asked {
		r.t.Errorf("%d numbers, %d failed, %d requests; the simulator was asked %d times", report.Total, report.Failed, report.Requests, asked)
	}
	// Each request waits for 20 ms, but the first of each process.
	if least := time.Duration(asked-2) * 20 * time.Millisecond; report.DurationSeconds < least.Seconds() || report.DurationSeconds > took.Seconds() {
		r.t.Errorf("duration %v s, want %s to %s", report.DurationSeconds, least, took)
	}
	if report.FinishedAt.Before(report.StartedAt) {
		r.t.Errorf("from %s to %s", report.StartedAt, report.FinishedAt)
	}
	if d := report.Metrics.JobDurationSeconds; d.Min < 0 || d.Max > took.Seconds() {
		r.t.Errorf("attempts took %v to %v s", d.Min, d.Max)
	}
	r.checkTimes(report)
	r.t.Logf("%d requests in %.1f s of %s", asked, report.DurationSeconds, took)
}

// checkTimes looks at the times of the attempts: none outside of the run, and those of one number in their order.
func (r *steppedRun) checkTimes(report contract.Report) {
	r.t.Helper()
	last := make(map[int]time.Time)
	for _, file := range r.glob("attempts_*.ndjson") {
		data, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		for text := range strings.Lines(string(data)) {
			var line contract.AttemptLine
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				r.t.Fatal(err)
			}
			number := line.CaseID.Number
			if line.Timestamp.Before(last[number]) || line.Timestamp.Before(report.StartedAt) || line.Timestamp.After(report.FinishedAt) {
				r.t.Errorf("%s, attempt %d: %s, the attempt before %s, the run from %s to %s",
					line.CaseID, line.Attempt, line.Timestamp, last[number], report.StartedAt, report.FinishedAt)
			}
			if line.DurationMS < 0 || line.DurationMS > 1000*report.DurationSeconds {
				r.t.Errorf("%s, attempt %d took %v ms", line.CaseID, line.Attempt, line.DurationMS)
			}
			last[number] = line.Timestamp
		}
	}
}

func stepWhileRunning(t *testing.T, program string, by time.Duration) {
	r := newSteppedRun(t, program)
	begun := time.Now()
	var out bytes.Buffer
	cmd := r.begin(&out, stepAt)
	r.set(by)
	report := r.end(cmd, &out, 0)
	r.check(report, time.Since(begun))
	if n := strings.Count(r.log.String(), "clock.stepped"); n != 1 {
		t.Errorf("the step was logged %d times\n%s", n, r.log)
	}
}

func stepWhileStopped(t *testing.T, program string, by time.Duration) {
	r := newSteppedRun(t, program)
	begun := time.Now()
	var first, second bytes.Buffer
	cmd := r.begin(&first, stepAt)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	before := r.end(cmd, &first, codeTerminated)
	r.set(by)
	report := r.end(r.begin(&second, 1), &second, 0)
	r.check(report, time.Since(begun))
	if report.RunID != before.RunID || report.DurationSeconds <= before.DurationSeconds {
		t.Errorf("run %s took %v s, after %s had taken %v s", report.RunID, report.DurationSeconds, before.RunID, before.DurationSeconds)
	}
	if n := strings.Count(r.log.String(), "clock.stepped"); n != 0 {
		t.Errorf("a step was logged that no process saw\n%s", r.log)
	}
}

// TestClockSteps_AllSizes is TestClockSteps_InRun with every size of step.
func TestClockSteps_AllSizes(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	program := buildShiftable(t)
	for _, by := range []time.Duration{-10 * time.Second, -10 * time.Minute, -24 * time.Hour, time.Hour} {
		t.Run(by.String()+" while it runs", func(t *testing.T) { t.Parallel(); stepWhileRunning(t, program, by) })
		t.Run(by.String()+" between stop and start", func(t *testing.T) { t.Parallel(); stepWhileStopped(t, program, by) })
	}
}
