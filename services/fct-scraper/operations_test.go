package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/services/fct-scraper/runtime"
)

// night is a folder with the settings of a batch against a simulator, for the examples of
// docs/operations.md, and a folder of commands that stand in for those of the machine.
type night struct {
	t          *testing.T
	folder     string
	commands   string
	simulator  *courtsim.Server
	operations string
}

func newNight(t *testing.T, faults ...string) *night {
	t.Helper()
	options := courtsim.DefaultOptions()
	options.Max, options.Missing = 30, 0
	for _, text := range faults {
		fault, err := courtsim.ParseFault(text)
		if err != nil {
			t.Fatal(err)
		}
		options.Faults = append(options.Faults, fault)
	}
	simulator, err := runtime.StartSimulator("127.0.0.1:0", options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = simulator.Close() })
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := &night{t: t, folder: t.TempDir(), commands: t.TempDir(), simulator: simulator, operations: string(page)}
	n.write(filepath.Join(n.folder, defaultConfigFile), fmt.Sprintf(
		"site = \"fct-cf\"\nbase_url = %q\nyear = \"25\"\ndelay_min = 0\ndelay_max = 0\nrobots = false\nmax_retries = 0\nsafe_stop_fails = 0\n",
		simulator.URL))
	n.write(filepath.Join(n.commands, "mail"), "#!/bin/sh\nprintf '%s|' \"$@\" > "+n.folder+"/mailed\ncat >> "+n.folder+"/mailed\n")
	return n
}

func (n *night) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		n.t.Fatal(err)
	}
}

// example returns the part of docs/operations.md that matches, with the folder of the test in place of
// /srv/court.
func (n *night) example(pattern string) string {
	n.t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(n.operations)
	if found == nil {
		n.t.Fatalf("docs/operations.md has no %s", pattern)
	}
	return strings.ReplaceAll(found[1], "/srv/court", n.folder)
}

// shell runs a script and returns its exit code and what it printed.
func (n *night) shell(script string) (code int, printed string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), "sh", "-c", script)
	cmd.Dir = n.folder
	cmd.Env = append(os.Environ(), "PATH="+n.commands+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if ended, is := errors.AsType[*exec.ExitError](err); is {
		return ended.ExitCode(), string(out)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return 0, string(out)
}

// wants runs a script and compares its exit code; words must be in what it printed, which is nothing
// without words.
func (n *night) wants(code int, script string, words ...string) {
	n.t.Helper()
	got, printed := n.shell(script)
	if got != code || len(words) == 0 && printed != "" {
		n.t.Errorf("exit code %d, want %d; printed:\n%s", got, code, printed)
	}
	for _, word := range words {
		if !strings.Contains(printed, word) {
			n.t.Errorf("%q is missing in:\n%s", word, printed)
		}
	}
}

const cronLine = `(?m)^    15 2 \* \* \* (.*)$`

func TestOperations_CronLine(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	line := n.example(cronLine)
	n.wants(codeCompleted, line)
	n.wants(codeCompleted, line) // the next night
	if _, err := os.Stat(filepath.Join(n.folder, "output", "cases", "IMM", "25", "IMM-30-25.json")); err != nil {
		t.Error(err)
	}
	n.wants(1, "flock nightly.lock -c '"+line+"'") // an earlier night
	n.wants(codeCompleted, strings.Replace(line, "--quiet", "--quiet --json", 1), `"status": "completed"`)
}

func TestOperations_CronLineFailed(t *testing.T) {
	t.Parallel()
	n := newNight(t, "500:0.2:forever")
	n.wants(codeFailed, n.example(cronLine), "IMM-1-25 to IMM-30-25: completed", "failed")
}

func TestOperations_MailScript(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault string
		code  int
		mail  string
	}{
		"quiet":   {"500:0", codeCompleted, ""},
		"failed":  {"500:0.2:forever", codeCompleted, ""},
		"blocked": {"403:1:forever", codeBlocked, "-s|fct-scraper: blocked by the site|operator@example.org|"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, test.fault)
			n.wants(test.code, n.example("(?s)```sh\n(.*?)```"))
			mail, _ := os.ReadFile(filepath.Join(n.folder, "mailed"))
			if (test.mail == "") != (len(mail) == 0) || !strings.HasPrefix(string(mail), test.mail) {
				t.Errorf("mailed %q, want %q", mail, test.mail)
			}
			if test.mail != "" && !strings.Contains(string(mail), "blocked") {
				t.Errorf("the mail has no summary: %q", mail)
			}
		})
	}
}

// TestOperations_SystemdUnits runs the command of the service, and lets systemd read the units.
func TestOperations_SystemdUnits(t *testing.T) {
	t.Parallel()
	n := newNight(t)
	folder := filepath.Join("..", "..", "deploy", "systemd")
	units := []string{"fct-scraper.service", "fct-scraper.timer", "fct-scraper-failed@.service"}
	text, err := os.ReadFile(filepath.Join(folder, units[0]))
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/(.*)$`).FindSubmatch(text)
	if start == nil {
		t.Fatal("the service has no ExecStart in /usr/local/bin")
	}
	n.wants(codeCompleted, strings.ReplaceAll(string(start[1]), "/etc/fct-scraper/", n.folder+"/"), "completed")
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("the units are not verified: systemd-analyze is not installed")
		return
	}
	call := analyze + " verify --man=no"
	for _, unit := range units {
		text, err := os.ReadFile(filepath.Join(folder, unit))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(n.folder, unit)
		n.write(to, strings.ReplaceAll(string(text), "/usr/local/bin/fct-scraper", "/bin/true"))
		if err := os.Chmod(to, 0o600); err != nil { // systemd complains about a unit that is executable
			t.Fatal(err)
		}
		call += " " + to
	}
	n.wants(0, call)
}
