package main

import (
	"errors"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/generator"
	"fct-scraper/services/reporter"
	"fct-scraper/streams"
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

var (
	// errUsage marks an invalid call.
	errUsage = errors.New("usage")
	// errResult marks a failed write of the result to stdout.
	errResult = errors.New("writing the result to stdout")
	// errBroker marks an error of the broker that has no sentinel of its own.
	errBroker = errors.New("broker")
)

// errorExitCode returns the exit code for an error.
func errorExitCode(err error) int {
	if stop, is := errors.AsType[waitInterrupted](err); is {
		return stop.code
	}
	kinds := []struct {
		code  int
		among []error
	}{
		{codeOutput, []error{ledger.ErrMismatch, store.ErrNotWritable}},
		{codeUsage, []error{errUsage, config.ErrConfig, generator.ErrCommand, reporter.ErrRunning}},
		{codeBroker, []error{
			errBroker, errHolderEnded, bus.ErrStore, integrity.ErrDamaged, runs.ErrUnreadable,
			natsd.ErrLocked, natsd.ErrStart, natsd.ErrNoSpace, streams.ErrDrift,
		}},
		{codeOutput, []error{errResult}}, // last: it may be joined with another cause
	}
	for _, kind := range kinds {
		for _, sentinel := range kind.among {
			if errors.Is(err, sentinel) {
				return kind.code
			}
		}
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
