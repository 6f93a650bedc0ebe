package generator

import (
	"context"
	"strconv"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
)

const (
	// maxRuns is how many runs may be under way at once. They take turns at the site, so each further one only waits, and
	// costs every service a consumer, a lease and memory.
	maxRuns = 100
	// joinLimit is how long a start waits until its run is counted; a run that was halted meanwhile never is.
	joinLimit = 2 * time.Second
)

// underWay are the runs that are worked on.
type underWay struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
	// joined is closed when a run has joined.
	joined chan struct{}
}

func newUnderWay() *underWay {
	return &underWay{runs: make(map[contract.RunID]bool), joined: make(chan struct{})}
}

// join counts a run until leave is called.
func (u *underWay) join(run contract.RunID) (leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.runs[run] = true
	close(u.joined)
	u.joined = make(chan struct{})
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.runs, run)
	}
}

// await returns when a run is counted, or after joinLimit.
func (u *underWay) await(ctx context.Context, run contract.RunID) {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	for {
		u.mu.Lock()
		there, joined := u.runs[run], u.joined
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

// room refuses one run more than may be under way.
func (u *underWay) room(run contract.RunID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.runs[run] || len(u.runs) < maxRuns {
		return nil
	}
	return refuse(contract.Problem{
		Field: "runs under way", Value: strconv.Itoa(len(u.runs)), Reason: "no more may wait for the site at once",
		Allowed: strconv.Itoa(maxRuns) + "; give the same start again when one of them has ended",
	})
}
