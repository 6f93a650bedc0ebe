package fetcher

import (
	"context"
	"sync/atomic"
)

// inFlightLimit are what cases are asked for in: as many as may be in flight. They are for all runs that a fetcher works on; when
// other processes ask too, each needs a slot that they share beside it. Waiters are served in the order in which they came: a
// run that waits with a job in hand gets a place after at most one place for each other run. With slots, a run that was alone
// when it asked for more of them may get up to slotsAtOnce more.
type inFlightLimit struct {
	sem   chan struct{}
	slots *slots
	// requestingSlots is held by the one caller that asks the server for slots: each request for one is renewed after a while and goes
	// to the end of the server's queue then, so the server does not keep the order of several. waiting counts all callers.
	requestingSlots chan struct{}
	waiters         atomic.Int64
}

// maxExtraSlots is how many slots are taken at once beside the first. One by one a process got 640 cases a second to ask for; who
// took all that were free kept them from the others, and four processes together got 350.
const maxExtraSlots = 7

// admission is one of them, until it is given back.
type admission struct{ release func() }

func newInFlightLimit(n int) *inFlightLimit {
	return &inFlightLimit{sem: make(chan struct{}, n), requestingSlots: make(chan struct{}, 1)}
}

// available is how many places are free now; with slots, at most as many as take returns at once.
func (l *inFlightLimit) available() int {
	idle := cap(l.sem) - len(l.sem)
	if l.slots != nil {
		return min(idle, 1+maxExtraSlots)
	}
	return idle
}

// acquire waits until a place is free and takes at most so many, at least one.
func (l *inFlightLimit) acquire(ctx context.Context, limit int) ([]admission, error) {
	if l.slots != nil {
		return l.acquireShared(ctx, limit)
	}
	if err := acquireSem(ctx, l.sem); err != nil {
		return nil, err
	}
	admissions := []admission{{l.release}}
	for range l.tryAcquire(limit - 1) {
		admissions = append(admissions, admission{l.release})
	}
	return admissions, nil
}

// acquireShared is take when each place needs a slot.
func (l *inFlightLimit) acquireShared(ctx context.Context, limit int) ([]admission, error) {
	l.waiters.Add(1)
	defer l.waiters.Add(-1)
	if err := acquireSem(ctx, l.requestingSlots); err != nil {
		return nil, err
	}
	defer func() { <-l.requestingSlots }()
	if err := acquireSem(ctx, l.sem); err != nil {
		return nil, err
	}
	slot, err := l.slots.take(ctx)
	if err != nil {
		l.release()
		return nil, err
	}
	admissions := []admission{l.withSlot(slot)}
	if l.waiters.Load() > 1 { // what is free is theirs
		return admissions, nil
	}
	more := l.tryAcquire(min(limit-1, maxExtraSlots))
	slots := l.slots.takeMore(more)
	for _, slot := range slots {
		admissions = append(admissions, l.withSlot(slot))
	}
	for range more - len(slots) {
		l.release()
	}
	return admissions, nil
}

// tryAcquire takes places that are free now, at most so many, and says how many.
func (l *inFlightLimit) tryAcquire(limit int) (taken int) {
	for ; taken < limit; taken++ {
		select {
		case l.sem <- struct{}{}:
		default:
			return taken
		}
	}
	return taken
}

func (l *inFlightLimit) withSlot(slot slot) admission {
	return admission{func() {
		slot.release()
		l.release()
	}}
}

func (l *inFlightLimit) release() { <-l.sem }

// acquireSem waits for room in a semaphore, whose waiters are served in the order in which they came.
func acquireSem(ctx context.Context, semaphore chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case semaphore <- struct{}{}:
		return nil
	}
}
