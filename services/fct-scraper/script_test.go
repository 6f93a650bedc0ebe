package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
)

// TestScripts runs the command as people type it.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Condition: func(name string) (bool, error) {
			if name != "soak" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return fcttest.Soak(), nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			env.Setenv("GOGC", "400") // as fcttest.RareGC: the processes are short
			// No script reaches a court beyond this machine, whatever the program does: nobody listens there.
			env.Setenv("HTTPS_PROXY", "http://127.0.0.1:9")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "lastrun": lastRun, "onedocument": oneDocument, "sim": simulate,
		},
	})
}

// exits runs a command that is to end with a code: exits <code> <command> [<argument>...].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits <code> <command> [<argument>...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if end, failed := errors.AsType[*exec.ExitError](err); failed {
		got = end.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
	if shown := ts.ReadFile("stderr"); strings.Contains(shown, "usage: ") { // what is wrong tells it
		ts.Fatalf("stderr: %q", shown)
	}
}

// TestCalls runs scripts of calls that do no work, such as those with mistakes. Their command exits calls the program
// in this process, which takes a tenth of the time. It sets the working folder: nothing else runs meanwhile.
func TestCalls(t *testing.T) { //nolint:paralleltest // for the working folder
	testscript.RunT(serial{t}, testscript.Params{
		Dir:                 filepath.Join("testdata", "calls"),
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": returns, "onedocument": oneDocument},
	})
}

// serial runs one script after the other.
type serial struct{ *testing.T }

func (serial) Parallel() {}

func (serial) Verbose() bool { return testing.Verbose() }

func (s serial) Run(name string, script func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { script(serial{t}) }) //nolint:paralleltest // as TestCalls
}

// returns is exits in this process. Of the environment it passes on what the scripts set.
func returns(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "fct-scraper" {
		ts.Fatalf("usage: exits <code> fct-scraper [<argument>...]")
	}
	here, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	defer func() { ts.Check(os.Chdir(here)) }()
	var environ []string
	for _, name := range []string{"HOME", "FCT_MAX_RETRIES", "FCT_NONSENSE", "FCT_CONCURRENCY"} {
		if value := ts.Getenv(name); value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	var shown strings.Builder
	got := run(context.Background(), args[2:], environ, ts.Stdout(), io.MultiWriter(ts.Stderr(), &shown))
	if fmt.Sprint(got) != args[0] || strings.Contains(shown.String(), "usage: ") { // what is wrong tells it
		ts.Fatalf("exit code %d, want %s: %s", got, args[0], shown.String())
	}
}

// lastRun puts the run id of a report into $RUN.
func lastRun(ts *testscript.TestScript, _ bool, args []string) {
	var report contract.Report
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	ts.Setenv("RUN", string(report.RunID))
}

// simulate starts a court in this process, by the flags of `fct-scraper sim`, and puts where it is into $SIM.
func simulate(ts *testscript.TestScript, _ bool, args []string) {
	f, flags := &simFlags{}, pflag.NewFlagSet("sim", pflag.ContinueOnError)
	f.add(flags)
	ts.Check(flags.Parse(args))
	options, err := f.options(nil)
	ts.Check(err)
	server, err := runtime.StartSimulator("127.0.0.1:0", options)
	ts.Check(err)
	ts.Defer(func() { ts.Check(server.Close()) })
	ts.Setenv("SIM", server.URL)
}

// oneDocument tries that stdout holds one JSON document, the error of that exit code with those words: onedocument <code> <word>...
func oneDocument(ts *testscript.TestScript, _ bool, args []string) {
	var got failure
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &got))
	if fmt.Sprint(got.Error.Code) != args[0] || got.Error.Message != strings.Join(got.Error.Problems, "; ") {
		ts.Fatalf("code %d, message %q, problems %q", got.Error.Code, got.Error.Message, got.Error.Problems)
	}
	for _, word := range args[1:] {
		if !strings.Contains(got.Error.Message, word) {
			ts.Fatalf("message %q: want a word of %q", got.Error.Message, word)
		}
	}
}
