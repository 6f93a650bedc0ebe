package reporter

import (
	"errors"
	"fmt"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
)

var (
	// ErrLedger says that the ledger, the counts, the files and the keys of a run do not agree. The program
	// exits with 7 on it.
	ErrLedger = errors.New("ledger mismatch")
	// ErrRunning says that a run is still worked on, so its files must not be written by anybody else.
	ErrRunning = errors.New("run is still running")
	// errFenced says that another reporter has written the checkpoint: what this one knows is out of date.
	errFenced = errors.New("checkpoint written by another reporter")
)

// StateError is the error that ended a run with the status error, as far as its reason tells: it matches
// ErrLedger, store.ErrNotWritable or runs.ErrUnreadable with errors.Is where the reporter matched them. Nil for any other status.
func StateError(state contract.State) error {
	if state.Status != contract.Errored {
		return nil
	}
	for _, sentinel := range []error{ErrLedger, store.ErrNotWritable, runs.ErrUnreadable} {
		if _, rest, found := strings.Cut(state.Reason, sentinel.Error()+": "); found {
			return fmt.Errorf("%w: %s", sentinel, rest)
		}
	}
	return errors.New(state.Reason)
}
