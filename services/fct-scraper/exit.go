package main

import (
	"errors"
	"fmt"
	"strings"

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

// exitMeaning is what one or several exit codes mean.
type exitMeaning struct {
	codes   []int
	meaning string
}

// exitMeanings returns what all exit codes mean.
func exitMeanings() []exitMeaning {
	return []exitMeaning{
		{[]int{codeCompleted}, "completed, nothing failed or unconfirmed"},
		{[]int{codeInternal}, "internal error"},
		{[]int{codeUsage}, "usage or configuration"},
		{[]int{codeFailed}, "completed, but some numbers failed, some no-records are unconfirmed, or more than a tenth of the new " +
			"records are header-only"},
		{[]int{codeSafeStop}, "safe stop: too many no-records or failures in a row, or a search that could not finish"},
		{[]int{codeBlocked}, "blocked by the site"},
		{[]int{codeBroker}, "broker or store trouble"},
		{[]int{codeOutput}, "ledger mismatch, or output not writable"},
		{[]int{codeHangup, codeInterrupt, codeTerminated},
			"stopped by SIGHUP, SIGINT, SIGTERM, or by stop, max_duration or max_requests as by SIGTERM; resumable"},
	}
}

// text returns the codes with commas between them.
func (e exitMeaning) text() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(e.codes), " ", ", "), "[]")
}

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
