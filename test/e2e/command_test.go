package e2e_test

import (
	"bytes"
	"os/exec"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// printed is what a command wrote.
type printed struct{ stdout, stderr string }

// did runs the program; it is to end with a code, and nothing that it writes may steer a terminal.
func did(t testing.TB, code int, args ...string) printed {
	t.Helper()
	return didIn(t, nil, code, args...)
}

// didIn is did with these environment variables and no others.
func didIn(t testing.TB, environ []string, code int, args ...string) printed {
	t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.Command("fct-scraper", args...)
	cmd.Env = append([]string{}, environ...) // nil would be the environment of the test
	cmd.Stdout, cmd.Stderr = &out, &problems
	_ = cmd.Run() // its state says it
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("%q: exit code %d, want %d: %s", args, got, code, problems.String())
	}
	p := printed{out.String(), problems.String()}
	if fcttest.HasControl(p.stdout, true) || fcttest.HasControl(p.stderr, true) {
		t.Errorf("%q steers: %q and %q", args, p.stdout, p.stderr)
	}
	return p
}

// runStatus is what `status --json` and `runs --json` say of a run.
type runStatus struct {
	RunID       contract.RunID  `json:"run_id"`
	Status      contract.Status `json:"status"`
	StartID     string          `json:"start_id"`
	Planned     int             `json:"planned"`
	Done        int             `json:"done"`
	Succeeded   int             `json:"succeeded"`
	NoRecord    int             `json:"no_record"`
	Failed      int             `json:"failed"`
	LeftSeconds float64         `json:"left_seconds"`
	Wait        *contract.Wait  `json:"wait"`
}

// probeResult is what `probe --json` says.
type probeResult struct {
	UpperBound int       `json:"upper_bound"`
	ProbesUsed int       `json:"probes_used"`
	Confidence float64   `json:"confidence"`
	Condition  string    `json:"condition"`
	AtLimit    bool      `json:"at_limit"`
	Ending     string    `json:"ending"`
	FiledOn    string    `json:"filed_on"`
	Evidence   []any     `json:"evidence"`
	KnownSince time.Time `json:"known_since"`
	Reason     string    `json:"reason"`
}

// serviceState is what a service says of itself by the services API. Those from Site on only a fetcher says.
type serviceState struct {
	Service         string              `json:"service"`
	Runs            []contract.RunID    `json:"runs"`
	Site            string              `json:"site"`
	InFlight        int                 `json:"in_flight"`
	Concurrency     int                 `json:"concurrency"`
	PauseMinSeconds float64             `json:"pause_min_seconds"`
	PauseMaxSeconds float64             `json:"pause_max_seconds"`
	Block           *contract.SiteBlock `json:"block"`
}

// allServices are the roles that `serve` can have.
func allServices() []string {
	return []string{"prober", "generator", "fetcher", "classifier", "reporter"}
}
