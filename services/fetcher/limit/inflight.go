package limit

import (
	"context"
	"sync/atomic"
)

// inFlightLimit is the semaphore of the cases in flight, shared by all runs of a fetcher. If other
// processes fetch from the same site, each case also needs a slot, which the processes share.
//
// Waiters are served in the order in which they came: a run that waits with a job gets an admission
// after at most one admission of each other run. With slots, a run that was the only waiter may get
// up to maxExtraSlots more.
type inFlightLimit struct {
	sem   chan struct{}
	slots *slots
	// requestingSlots is held by the one caller that requests slots from the server. A request is
	// repeated after a while and then goes to the end of the server's queue, so the server does not
	// keep the order of several requests. waiters counts all callers.
	requestingSlots chan struct{}
	waiters         atomic.Int64
}

// maxExtraSlots is how many slots a caller takes at once in addition to the first. Measured: one by
// one, a process fetched 640 cases a second. If a process took all free slots, it kept them from
// the others, and four processes together fetched 350.
const maxExtraSlots = 7

// Admission is the right to have one case in flight until it is released.
type Admission struct{ release func() }

// Release ends the case.
func (a Admission) Release() { a.release() }

// newInFlightLimit returns a limit of n cases without slots.
func newInFlightLimit(n int) *inFlightLimit {
	return &inFlightLimit{sem: make(chan struct{}, n), requestingSlots: make(chan struct{}, 1)}
}

// available returns how many admissions are free now; with slots, at most as many as one call of
// acquire returns.
func (l *inFlightLimit) available() int {
	idle := cap(l.sem) - len(l.sem)
	if l.slots != nil {
		return min(idle, 1+maxExtraSlots)
	}
	return idle
}

// acquire waits until an admission is free and returns between one and limit admissions. The error
// is the cause of ctx.
func (l *inFlightLimit) acquire(ctx context.Context, limit int) ([]Admission, error) {
	if l.slots != nil {
		return l.acquireShared(ctx, limit)
	}
	if err := acquireSem(ctx, l.sem); err != nil {
		return nil, err
	}
	admissions := []Admission{{l.release}}
	for range l.tryAcquire(limit - 1) {
		admissions = append(admissions, Admission{l.release})
	}
	return admissions, nil
}

// acquireShared is acquire where each admission needs a slot.
func (l *inFlightLimit) acquireShared(ctx context.Context, limit int) ([]Admission, error) {
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
	admissions := []Admission{l.withSlot(slot)}
	if l.waiters.Load() > 1 { // the free slots are for the other waiters
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

// tryAcquire takes up to limit units of the semaphore without waiting and returns how many.
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

func (l *inFlightLimit) withSlot(slot slot) Admission {
	return Admission{func() {
		slot.release()
		l.release()
	}}
}

func (l *inFlightLimit) release() { <-l.sem }

// acquireSem takes one unit of a semaphore. Waiters are served in the order in which they came.
func acquireSem(ctx context.Context, semaphore chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case semaphore <- struct{}{}:
		return nil
	}
}
