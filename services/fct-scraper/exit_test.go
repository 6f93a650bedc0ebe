package main

import (
	"testing"

	"fct-scraper/pkg/contract"
)

func TestRunExitCode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state      contract.State
		stop, want int
	}{
		"completed":            {contract.State{Status: contract.Completed, Report: &contract.Report{}}, 0, codeCompleted},
		"failed numbers":       {contract.State{Status: contract.Completed, Report: &contract.Report{FailedCount: 1}}, 0, codeFailed},
		"unconfirmed":          {contract.State{Status: contract.Completed, Report: &contract.Report{Unconfirmed: 1}}, 0, codeFailed},
		"safe stop":            {contract.State{Status: contract.SafeStop}, 0, codeSafeStop},
		"blocked":              {contract.State{Status: contract.Blocked}, 0, codeBlocked},
		"stopped by a signal":  {contract.State{Status: contract.Stopped}, codeInterrupt, codeInterrupt},
		"stopped by a command": {contract.State{Status: contract.Stopped}, 0, codeTerminated},
		"still running":        {contract.State{Status: contract.Running}, 0, codeInternal},
	} {
		if got := runExitCode(c.state, c.stop); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
