package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// atNewYear is fct-scraper as a program that is always called on 15 January 2026.
const atNewYear = "fct-scraper-at-new-year"

func mainAtNewYear() {
	now := time.Date(2026, time.January, 15, 6, 0, 0, 0, time.UTC)
	p := &program{environ: os.Environ(), stdout: &stdoutWriter{w: os.Stdout}, stderr: os.Stderr, now: now}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

func TestBatchNew_LastYear(t *testing.T) {
	t.Parallel()
	day := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 23, 59, 59, 0, time.UTC)
	}
	january, ranged := day(2026, time.January, 15), map[string]string{"start": "7", "end": "9"}
	file := filepath.Join(t.TempDir(), "court.toml")
	if err := os.WriteFile(file, []byte("year = \"26\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		now     time.Time
		all     bool // a batch without --new
		sources config.Sources
		want    string
	}{
		"first day":   {now: day(2026, time.January, 1).Add(-24*time.Hour + time.Second), want: "25"},
		"January":     {now: january, want: "25"},
		"last day":    {now: day(2026, time.February, 28), want: "25"},
		"leap day":    {now: day(2028, time.February, 29), want: "27"},
		"new century": {now: day(2100, time.February, 1), want: "99"},
		"March":       {now: day(2026, time.March, 1)},
		"December":    {now: day(2026, time.December, 31)},
		"not of new":  {now: january, all: true},
		"argument":    {now: january, sources: config.Sources{Arguments: map[string]string{"year": "2026"}}},
		"flag":        {now: january, sources: config.Sources{Flags: map[string]string{"year": "26"}}},
		"variable":    {now: january, sources: config.Sources{Environ: []string{"FCT_YEAR=25"}}},
		"file":        {now: january, sources: config.Sources{File: file}},
		"a range":     {now: january, sources: config.Sources{Flags: ranged}, want: "25"},
	} {
		c.sources.Now = c.now
		settings, err := config.Load(c.sources)
		if err != nil {
			t.Fatal(err)
		}
		before, got := settings.Year, ""
		if last := lastYearSettings(settings, !c.all, c.now); last != nil {
			got = last.Year
			if last.Start != settings.Start || last.End != settings.End {
				t.Errorf("%s: last year's range is not that of the settings", name)
			}
		}
		if got != c.want || settings.Year != before {
			t.Errorf("%s: last year %q, want %q; this year %q", name, got, c.want, settings.Year)
		}
	}
}

func TestMayFollow(t *testing.T) {
	t.Parallel()
	for _, status := range []contract.Status{
		contract.Completed, contract.SafeStop, contract.Blocked, contract.Stopped, contract.Errored, contract.Running,
	} {
		if got := mayFollow(status, 0); got != (status == contract.Completed) {
			t.Errorf("after %s: %t", status, got)
		}
		if mayFollow(status, codeInterrupt) {
			t.Errorf("after %s and a signal", status)
		}
	}
}

// An error in this year's batch, or its end without a result, leaves last year's report in the document.
func TestBatchNew_FailureAfterLastYear(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &program{jsonWanted: true, stdout: &stdoutWriter{w: &out}}
	p.earlier.Store(&earlierRuns{LastYear: &contract.Report{RunID: "imm-25"}})
	p.writeAborted(codeInterrupt)
	var got failure
	err := json.Unmarshal(out.Bytes(), &got)
	if err != nil || got.Error.Code != codeInterrupt || got.LastYear == nil || got.LastYear.RunID != "imm-25" {
		t.Errorf("%v: %s", err, out.String())
	}
}

// january is where batches of what is new run, as processes in January, against a simulator.
type january struct {
	t      testing.TB
	output string
	args   []string
}

func newJanuary(t *testing.T, url string, flags ...string) january {
	dir := t.TempDir()
	output := filepath.Join(dir, "output")
	return january{t: t, output: output, args: append([]string{
		"batch", "--new", "--json", "--site", "fct-cf", "--base-url", url, "--probe=false", "--robots=false", "--log-level", "warn",
		"--output", output, "--data-dir", filepath.Join(dir, "data"), "--delay-min", "0", "--delay-max", "0",
	}, flags...)}
}

// serveSim serves a simulator over HTTP.
func serveSim(t *testing.T, options courtsim.Options) (*courtsim.Simulator, string) {
	t.Helper()
	sim := fcttest.Site(t, options)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return sim, server.URL
}

// files are those of the output folder that a pattern matches.
func (p january) files(pattern string) []string {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(p.output, pattern))
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}

// begin starts a batch in January; its result goes to out.
func (p january) begin(out *bytes.Buffer, more ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(atNewYear, append(p.args, more...)...)
	cmd.Stdout, cmd.Stderr = out, p.t.Output()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	return cmd
}

// exitCode waits for the end of a process.
func exitCode(cmd *exec.Cmd) int {
	_ = cmd.Wait() // the code says it
	return cmd.ProcessState.ExitCode()
}

// document is the result of a batch in January that ends with this exit code: one JSON document.
func (p january) document(code int, more ...string) (result batchDocument) {
	p.t.Helper()
	var out bytes.Buffer
	return p.read(p.begin(&out, more...), &out, code)
}

func (p january) read(cmd *exec.Cmd, out *bytes.Buffer, code int) (result batchDocument) {
	p.t.Helper()
	if got := exitCode(cmd); got != code {
		p.t.Fatalf("exit code %d, want %d\n%s", got, code, out)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil || result.Report == nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
	return result
}

// checkFirst looks at the document of a batch that last year's run ended: this year nothing was asked for.
func (p january) checkFirst(got batchDocument, status contract.Status, sim *courtsim.Simulator) {
	p.t.Helper()
	if got.Status != status || got.StartID != "IMM-1-25" || got.LastYear != nil || got.NotStarted != "26" {
		p.t.Errorf("%s from %s, %+v before, %q not started", got.Status, got.StartID, got.LastYear, got.NotStarted)
	}
	if !strings.HasSuffix(got.NextCommand, " --year 25") {
		p.t.Errorf("last year's run goes on with %s", got.NextCommand)
	}
	if asked := sim.Stats().PerNumber["IMM-26"]; len(asked) > 0 {
		p.t.Errorf("this year's numbers were asked for: %v", asked)
	}
}

func TestBatchNew_AtNewYear(t *testing.T) {
	t.Parallel()
	_, url := serveSim(t, courtsim.Options{Seed: 3, Max: 12, Missing: 0.2})
	p := newJanuary(t, url, "--end", "12")
	got := p.document(codeCompleted)
	if got.LastYear == nil || got.LastYear.EndID != "IMM-12-25" || got.EndID != "IMM-12-26" || got.NotStarted != "" ||
		got.Total != 12 || got.LastYear.Total != 12 || got.StartedAt.Before(got.LastYear.FinishedAt) {
		t.Errorf("%+v after %+v, %q not started", got.Report, got.LastYear, got.NotStarted)
	}
	for _, year := range []string{"25", "26"} {
		if files := p.files("cases/IMM/" + year + "/*.json"); len(files) != got.Succeeded {
			t.Errorf("%d records of %s, want %d", len(files), year, got.Succeeded)
		}
	}
	if files := p.files("report-*.json"); len(files) != 2 {
		t.Errorf("reports %v", files)
	}

	var text bytes.Buffer
	if code := exitCode(p.begin(&text, "--json=false")); code != codeCompleted {
		t.Errorf("exit code %d", code)
	}
	last := strings.Index(text.String(), "IMM-1-25 to IMM-12-25: completed\n")
	this := strings.Index(text.String(), "IMM-1-26 to IMM-12-26: completed\n")
	if last != 0 || this < last || strings.Contains(text.String(), "not started") {
		t.Errorf("last year's summary at %d, this year's at %d:\n%s", last, this, text.String())
	}

	given := p.document(codeCompleted, "--year", "26")
	p.args = append([]string{"--batch"}, p.args[1:]...)
	root := p.document(codeCompleted)
	if given.LastYear != nil || given.EndID != "IMM-12-26" {
		t.Errorf("with --year: %s after %+v", given.EndID, given.LastYear)
	}
	if root.LastYear == nil || root.LastYear.EndID != "IMM-12-25" {
		t.Errorf("with --batch: %+v before", root.LastYear)
	}
}

// What failed last year counts for the exit code, also when this year's run is all well.
func TestBatchNew_FailedLastYear(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	_, url := serveSim(t, courtsim.Options{Seed: 3, Max: 12})
	p := newJanuary(t, url, "--end", "12", "--max-retries", "0")
	p.document(codeCompleted, "--year", "26")
	_, faulty := serveSim(t, courtsim.Options{Seed: 3, Max: 12, Faults: []courtsim.Fault{{Kind: "500", Share: 0.5}}})
	got := p.document(codeFailed, "--base-url", faulty)
	if got.LastYear == nil || got.LastYear.Failed == 0 || got.Failed > 0 || got.Status != contract.Completed {
		t.Errorf("%+v after %+v", got.Report, got.LastYear)
	}
}

func TestBatchNew_LastYearEndsEarly(t *testing.T) {
	t.Parallel()
	for fault, c := range map[string]struct {
		status contract.Status
		code   int
	}{
		"403": {contract.Blocked, codeBlocked},
		"500": {contract.SafeStop, codeSafeStop},
	} {
		t.Run(string(c.status), func(t *testing.T) {
			t.Parallel()
			sim, url := serveSim(t, courtsim.Options{Max: 12, Faults: []courtsim.Fault{{Kind: fault, Share: 1}}})
			p := newJanuary(t, url, "--end", "12", "--max-retries", "0", "--safe-stop-fails", "3")
			p.checkFirst(p.document(c.code), c.status, sim)
			var text bytes.Buffer
			elsewhere := []string{"--output", p.output + "-text", "--data-dir", p.output + "-text-data"}
			if code := exitCode(p.begin(&text, append(elsewhere, "--json=false")...)); code != c.code {
				t.Errorf("exit code %d", code)
			}
			told := "\nIMM-26: not started; the same command resumes IMM-25 and then starts it\n"
			if !strings.HasSuffix(text.String(), told) {
				t.Error(text.String())
			}
		})
	}
}

// A signal in last year's run stops both, and the same command goes on with both.
func TestBatchNew_Signal(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	sim, url := serveSim(t, courtsim.Options{Seed: 3, Max: 20})
	p := newJanuary(t, url, "--end", "20", "--concurrency", "1")
	var out bytes.Buffer
	cmd := p.begin(&out, "--delay-min", "250ms", "--delay-max", "250ms")
	for begun := time.Now(); len(p.files("cases/IMM/25/*.json")) <= 2; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("no files within a minute")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first := p.read(cmd, &out, codeTerminated)
	p.checkFirst(first, contract.Stopped, sim)
	got := p.document(codeCompleted)
	if got.LastYear == nil || got.LastYear.RunID != first.RunID || got.LastYear.Total != 20 || got.Total != 20 {
		t.Errorf("%+v after %+v", got.Report, got.LastYear)
	}
}
