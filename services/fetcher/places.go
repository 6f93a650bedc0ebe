package fetcher

import "context"

// places are what cases are asked for in: as many as may be in flight. They are for all runs that a fetcher works on; when
// other processes ask too, each needs a slot that they share beside it.
type places struct {
	free   chan struct{}
	shared *slots
}

// slotsAtOnce is how many slots are taken at once beside the first. One by one a process got 640 cases a second to ask for; who
// took all that were free kept them from the others, and four processes together got 350.
const slotsAtOnce = 7

// place is one of them, until it is given back.
type place struct{ free func() }

func newPlaces(n int) *places { return &places{free: make(chan struct{}, n)} }

// take waits until a place is free and takes all that are.
func (p *places) take(ctx context.Context) ([]place, error) {
	first, err := p.one(ctx)
	if err != nil {
		return nil, err
	}
	held := []place{first}
	for more := 0; ; more++ {
		select {
		case p.free <- struct{}{}:
			if p.shared == nil {
				held = append(held, place{p.leave})
			}
		default:
			if p.shared != nil {
				held = append(held, p.pair(p.shared.more(min(more, slotsAtOnce)), more)...)
			}
			return held, nil
		}
	}
}

// one waits until a place is free and takes it.
func (p *places) one(ctx context.Context) (place, error) {
	select {
	case <-ctx.Done():
		return place{}, context.Cause(ctx)
	case p.free <- struct{}{}:
	}
	if p.shared == nil {
		return place{p.leave}, nil
	}
	slot, err := p.shared.take(ctx)
	if err != nil {
		p.leave()
		return place{}, err
	}
	return p.with(slot), nil
}

// pair makes places of slots and of as many of the places that were taken; the others are given back.
func (p *places) pair(slots []slot, taken int) (held []place) {
	for _, slot := range slots {
		held = append(held, p.with(slot))
	}
	for range taken - len(slots) {
		p.leave()
	}
	return held
}

func (p *places) with(slot slot) place {
	return place{func() {
		slot.free()
		p.leave()
	}}
}

func (p *places) leave() { <-p.free }
