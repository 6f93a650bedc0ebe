package generator

import (
	"context"
	"strconv"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

const (
	// maxActiveRuns is how many runs may be under way at once. They take turns at the site, so each further one only waits, and
	// costs every service a consumer, a lease and memory.
	maxActiveRuns = 100
	// addTimeout is how long a start waits until its run is counted; a run that was halted meanwhile never is.
	addTimeout = 2 * time.Second
)

// activeRuns are the runs that are worked on.
type activeRuns struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
	// added is closed when a run has joined.
	added chan struct{}
}

func newActiveRuns() *activeRuns {
	return &activeRuns{runs: make(map[contract.RunID]bool), added: make(chan struct{})}
}

// add counts a run until leave is called.
func (u *activeRuns) add(run contract.RunID) (leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.runs[run] = true
	close(u.added)
	u.added = make(chan struct{})
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.runs, run)
	}
}

// await returns when a run is counted, or after joinLimit.
func (u *activeRuns) await(ctx context.Context, run contract.RunID) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	for {
		u.mu.Lock()
		there, joined := u.runs[run], u.added
		u.mu.Unlock()
		if there {
			return
		}
		select {
		case <-joined:
		case <-ctx.Done():
			return
		}
	}
}

// checkLimit refuses one run more than may be under way.
func (u *activeRuns) checkLimit(run contract.RunID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.runs[run] || len(u.runs) < maxActiveRuns {
		return nil
	}
	return invalid(contract.Problem{
		Field: "runs under way", Value: strconv.Itoa(len(u.runs)), Reason: "no more may wait for the site at once",
		Allowed: strconv.Itoa(maxActiveRuns) + "; give the same start again when one of them has ended",
	})
}
