package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

// broken is a stdout that takes nothing.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestStdout_NotWritable(t *testing.T) {
	t.Parallel()
	calls := [][]string{{}, {"completion", "bash"}, {"config", "init", "-"}, {"config", "show"}, {"config", "show", "--json"}, {"version"}, {"version", "--json"},
		{"config", "check", "--site", "sim"}, {"sim", "--addr", "127.0.0.1:0"}, {cobra.ShellCompRequestCmd, "batch", "--conc"}}
	eachCommand((&program{}).rootCommand(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		calls = append(calls, append(path, "--help"), append([]string{"help"}, path...))
	})
	for _, call := range calls {
		for err, want := range map[error]int{syscall.ENOSPC: codeOutput, errors.New("closed"): codeOutput, syscall.EPIPE: codeCompleted} {
			if errors.Is(err, syscall.EPIPE) && slices.Contains(call, "--addr") {
				continue // it serves
			}
			var said strings.Builder
			if code := run(t.Context(), call, nil, broken{err}, &said); code != want {
				t.Errorf("%q with a stdout that is %v: exit code %d, want %d: %s", call, err, code, want, said.String())
			}
			if want == codeOutput && !strings.Contains(said.String(), "writing the result to stdout: "+err.Error()) {
				t.Errorf("%q with a stdout that is %v: %q", call, err, said.String())
			}
		}
	}
}

// TestStdout_BesideOtherError says that the exit code of work that went wrong is not covered up.
func TestStdout_BesideOtherError(t *testing.T) {
	t.Parallel()
	written := fmt.Errorf("%w: %w", errResult, io.ErrShortWrite)
	for err, want := range map[error]int{written: codeOutput, errors.Join(runtime.ErrBroker, written): codeBroker, errors.Join(runtime.ErrUsage, written): codeUsage} {
		if code := errorExitCode(err); code != want {
			t.Errorf("%v: exit code %d, want %d", err, code, want)
		}
	}
}

// TestCommands_AllMistakes gives every command two flags that there are not.
func TestCommands_AllMistakes(t *testing.T) {
	t.Parallel()
	eachCommand((&program{}).rootCommand(), func(cmd *cobra.Command) {
		call := slices.Concat(strings.Fields(cmd.CommandPath())[1:], []string{"--nonsense", "--more-nonsense=1"})
		var out, said strings.Builder
		if code := run(t.Context(), call, nil, &out, &said); code != codeUsage || out.Len() > 0 {
			t.Errorf("%q: exit code %d, stdout %q", call, code, out.String())
		}
		for _, flag := range []string{"--nonsense", "--more-nonsense"} {
			if !strings.Contains(said.String(), "unknown flag: "+flag+":") {
				t.Errorf("%q: %q does not name %s", call, said.String(), flag)
			}
		}
	})
}
