package fetcher

import (
	"context"
	"sync/atomic"
)

// places are what cases are asked for in: as many as may be in flight. They are for all runs that a fetcher works on; when
// other processes ask too, each needs a slot that they share beside it. Waiters are served in the order in which they came: a
// run that waits with a job in hand gets a place after at most one place for each other run. With slots, a run that was alone
// when it asked for more of them may get up to slotsAtOnce more.
type places struct {
	free   chan struct{}
	shared *slots
	// asking is held by the one caller that asks the server for slots: each request for one is renewed after a while and goes
	// to the end of the server's queue then, so the server does not keep the order of several. waiting counts all callers.
	asking  chan struct{}
	waiting atomic.Int64
}

// slotsAtOnce is how many slots are taken at once beside the first. One by one a process got 640 cases a second to ask for; who
// took all that were free kept them from the others, and four processes together got 350.
const slotsAtOnce = 7

// place is one of them, until it is given back.
type place struct{ free func() }

func newPlaces(n int) *places {
	return &places{free: make(chan struct{}, n), asking: make(chan struct{}, 1)}
}

// idle is how many places are free now; with slots, at most as many as take returns at once.
func (p *places) idle() int {
	idle := cap(p.free) - len(p.free)
	if p.shared != nil {
		return min(idle, 1+slotsAtOnce)
	}
	return idle
}

// take waits until a place is free and takes at most so many, at least one.
func (p *places) take(ctx context.Context, most int) ([]place, error) {
	if p.shared != nil {
		return p.takeShared(ctx, most)
	}
	if err := enter(ctx, p.free); err != nil {
		return nil, err
	}
	held := []place{{p.leave}}
	for range p.more(most - 1) {
		held = append(held, place{p.leave})
	}
	return held, nil
}

// takeShared is take when each place needs a slot.
func (p *places) takeShared(ctx context.Context, most int) ([]place, error) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	if err := enter(ctx, p.asking); err != nil {
		return nil, err
	}
	defer func() { <-p.asking }()
	if err := enter(ctx, p.free); err != nil {
		return nil, err
	}
	slot, err := p.shared.take(ctx)
	if err != nil {
		p.leave()
		return nil, err
	}
	held := []place{p.with(slot)}
	if p.waiting.Load() > 1 { // what is free is theirs
		return held, nil
	}
	more := p.more(min(most-1, slotsAtOnce))
	slots := p.shared.more(more)
	for _, slot := range slots {
		held = append(held, p.with(slot))
	}
	for range more - len(slots) {
		p.leave()
	}
	return held, nil
}

// more takes places that are free now, at most so many, and says how many.
func (p *places) more(most int) (taken int) {
	for ; taken < most; taken++ {
		select {
		case p.free <- struct{}{}:
		default:
			return taken
		}
	}
	return taken
}

func (p *places) with(slot slot) place {
	return place{func() {
		slot.free()
		p.leave()
	}}
}

func (p *places) leave() { <-p.free }

// enter waits for room in a semaphore, whose waiters are served in the order in which they came.
func enter(ctx context.Context, semaphore chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case semaphore <- struct{}{}:
		return nil
	}
}
