package main

import (
	"errors"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/generator"
	"fct-scraper/services/reporter"
	"fct-scraper/streams"
)

// The exit codes that people and schedulers rely on.
const (
	codeCompleted  = 0
	codeInternal   = 1
	codeUsage      = 2
	codeFailed     = 3 // completed, but some numbers failed, some no-records are unconfirmed or too many records are header-only
	codeSafeStop   = 4
	codeBlocked    = 5
	codeBroker     = 6 // broker or store trouble
	codeOutput     = 7 // ledger mismatch or output not writable
	codeHangup     = 129
	codeInterrupt  = 130
	codeTerminated = 143
)

var (
	// errUsage marks a call that asks for what there is not.
	errUsage = errors.New("usage")
	// errResult marks a result that stdout does not take.
	errResult = errors.New("writing the result to stdout")
	// errBroker marks trouble with the broker that has no name of its own.
	errBroker = errors.New("broker")
)

// errorExitCode is the exit code of an error.
func errorExitCode(err error) int {
	if stop, is := errors.AsType[waitInterrupted](err); is {
		return stop.code
	}
	kinds := []struct {
		code  int
		among []error
	}{
		{codeOutput, []error{reporter.ErrLedger, store.ErrNotWritable}},
		{codeUsage, []error{errUsage, config.ErrConfig, generator.ErrCommand, reporter.ErrRunning}},
		{codeBroker, []error{errBroker, errHolderEnded, bus.ErrStore, integrity.ErrDamaged, runs.ErrUnreadable, natsd.ErrLocked, natsd.ErrStart, natsd.ErrNoSpace, streams.ErrDrift}},
		{codeOutput, []error{errResult}}, // after the causes of trouble, which it may come with
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

// runExitCode is the exit code of a run that ended; stop is the code of the signal that stopped it, if one did.
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
