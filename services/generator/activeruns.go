package generator

import (
	"context"
	"strconv"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

const (
	// maxActiveRuns limits the runs that are active at once. Runs take turns at the site, so
	// another run would only wait, and cost each service a consumer, a lease and memory.
	maxActiveRuns = 100
	// addTimeout limits the time that a start waits until its run is added. A run that is halted
	// meanwhile is never added.
	addTimeout = 2 * time.Second
)

// activeRuns is the set of runs that this generator serves.
type activeRuns struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
	// added is closed and replaced when a run is added.
	added chan struct{}
}

func newActiveRuns() *activeRuns {
	return &activeRuns{runs: make(map[contract.RunID]bool), added: make(chan struct{})}
}

// add adds a run until remove is called.
func (a *activeRuns) add(run contract.RunID) (remove func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[run] = true
	close(a.added)
	a.added = make(chan struct{})
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.runs, run)
	}
}

// await returns when a run has been added, or after addTimeout.
func (a *activeRuns) await(ctx context.Context, run contract.RunID) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	for {
		a.mu.Lock()
		active, added := a.runs[run], a.added
		a.mu.Unlock()
		if active {
			return
		}
		select {
		case <-added:
		case <-ctx.Done():
			return
		}
	}
}

// checkLimit rejects a run that would exceed maxActiveRuns.
func (a *activeRuns) checkLimit(run contract.RunID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runs[run] || len(a.runs) < maxActiveRuns {
		return nil
	}
	return invalid(contract.Problem{
		Field: "runs under way", Value: strconv.Itoa(len(a.runs)), Reason: "no further run may wait for the site",
		Allowed: strconv.Itoa(maxActiveRuns) + "; retry the start when one of them has ended",
	})
}
