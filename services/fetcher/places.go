package fetcher

import "context"

// places are what cases are asked for in: as many as may be in flight. They are for all runs that a fetcher works on; when
// other processes ask too, each needs a slot that they share beside it.
type places struct {
	free   chan struct{}
	shared *slots
}

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
	for p.shared == nil {
		select {
		case p.free <- struct{}{}:
			held = append(held, place{p.leave})
		default:
			return held, nil
		}
	}
	return held, nil
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
	return place{func() {
		slot.free()
		p.leave()
	}}, nil
}

func (p *places) leave() { <-p.free }
