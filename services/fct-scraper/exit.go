package main

import (
	"errors"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter"
)

// The exit codes are part of the contract.
const (
	codeCompleted  = 0
	codeInternal   = 1
	codeUsage      = 2
	codeFailed     = 3 // completed, but with failed numbers, unconfirmed no-records or many header-only records
	codeSafeStop   = 4
	codeBlocked    = 5
	codeBroker     = 6 // error of the broker or the store
	codeOutput     = 7 // ledger mismatch or output not writable
	codeHangup     = 129
	codeInterrupt  = 130
	codeTerminated = 143
)

// errResult marks a failed write of the result to stdout.
var errResult = errors.New("writing the result to stdout")

func errorExitCode(err error) int {
	if stop, is := errors.AsType[runtime.Interrupted](err); is {
		return signalExitCode(stop.By)
	}
	switch {
	case runtime.IsOutputError(err):
		return codeOutput
	case runtime.IsUsageError(err):
		return codeUsage
	case runtime.IsBrokerError(err):
		return codeBroker
	case errors.Is(err, errResult): // last: it may be joined with another cause
		return codeOutput
	}
	return codeInternal
}

// runExitCode returns the exit code for a run that has ended. stop is the code of the signal that
// stopped it, 0 if none did.
func runExitCode(state contract.State, stop int) int {
	switch state.Status {
	case contract.Completed:
		if r := state.Report; r != nil && (r.FailedCount+r.Unconfirmed > 0 || r.TooManyHeaderOnly()) {
			return codeFailed
		}
		return codeCompleted
	case contract.SafeStop:
		return codeSafeStop
	case contract.Blocked:
		return codeBlocked
	case contract.Stopped:
		if stop != 0 {
			return stop
		}
		return codeTerminated
	case contract.Errored:
		return errorExitCode(reporter.StateError(state))
	default:
		return codeInternal
	}
}
