package prober

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// evidenceWindow is how far below the bound evidence still says something about the numbers above it.
const evidenceWindow = 5000

// posterior is what the evidence says about the numbers above the bound. Only some of them, the points, are looked at:
// all near the bound, fewer further up.
type posterior struct {
	model      *hmm
	bound      int
	dated      bool
	initial    weights // where the bound lies
	points     []point
	likelihood float64 // the chance of the evidence above the bound
}

// point is one number above the bound, and the step to it from the point before.
type point struct {
	number int
	absent bool
	// continuation is the chance that the numbers reach up to here when they reach up to the point before.
	continuation float64
	// forward is the chance of the evidence up to here, reached and in each state; after that of the evidence above.
	forward, backward weights
}

// posterior weighs the evidence. The numbers of interest are those of limit above the bound.
func (s *Search) posterior() *posterior {
	upTo, above := s.evidence.split()
	b := &posterior{model: s.model, bound: s.evidence.bound().number}
	if b.bound >= s.settings.Range.End {
		return b
	}
	b.initial = b.model.filter(upTo.from(b.bound - evidenceWindow))
	expected := s.prior.given(b.bound)
	if f, ok := readFilingProgress(upTo, s.today); ok {
		expected, b.dated = f.survival(s.prior), true
	}
	b.choosePoints(above, s.settings.Range, expected.truncated(s.settings.Range.End))
	b.forwardBackward()
	return b
}

// filter is the state of the last number of the evidence.
func (h *hmm) filter(known evidence) weights {
	v := initialState()
	for i, f := range known {
		if i > 0 {
			v = h.transitions.forward(v, f.number-known[i-1].number)
		}
		v = h.observe(v, f.exists)
		total := v.sum()
		for s := range v {
			v[s] /= total
		}
	}
	return v
}

// choosePoints chooses the points: what is known to be missing and its neighbours, the edges of what a bound may miss, and
// from the first number that may be asked steps of a fortieth of the distance.
func (b *posterior) choosePoints(above evidence, limit contract.Range, expected survival) {
	numbers := []int{b.bound + nearMiss, b.bound + nearMiss + 1, b.bound + Tolerance, b.bound + Tolerance + 1, limit.End}
	for _, f := range above {
		numbers = append(numbers, f.number-1, f.number, f.number+1)
	}
	first := max(b.bound+1, limit.Start)
	for n := first; n <= limit.End; n += max(1, (n-first)/40) {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	last := expected(b.bound)
	for _, n := range slices.Compact(numbers) {
		if n <= b.bound || n > limit.End {
			continue
		}
		p := point{number: n, absent: above.knows(n)}
		if now := expected(n); last > 1e-300 {
			p.continuation, last = now/last, now
		}
		b.points = append(b.points, p)
	}
}

// forwardBackward walks over the points forward and backward.
func (b *posterior) forwardBackward() {
	at, from := b.initial, b.bound
	for i := range b.points {
		p := &b.points[i]
		at = p.observe(b.model, b.model.transitions.forward(at, p.number-from))
		p.forward, from = at, p.number
	}
	after := weights{}
	for s := range after {
		after[s] = 1
	}
	for i := len(b.points) - 1; i >= 0; i-- {
		p := &b.points[i]
		p.backward = after
		if p.absent {
			after = b.model.observe(after, false)
		}
		after = b.model.transitions.backward(after, p.number-b.previousNumber(i))
		for s := range after {
			after[s] = 1 - p.continuation + p.continuation*after[s]
		}
	}
	b.likelihood = b.initial.dot(after)
}

// observe weighs the states at the point by the chance that it is reached, and by what is known of it.
func (p *point) observe(h *hmm, v weights) weights {
	for s := range v {
		v[s] *= p.continuation
	}
	if p.absent {
		v = h.observe(v, false)
	}
	return v
}

// previousNumber is the number of the point before point i.
func (b *posterior) previousNumber(i int) int {
	if i == 0 {
		return b.bound
	}
	return b.points[i-1].number
}

// probabilities is the chance that the number of the point exists, and that the numbers reach up to it.
func (b *posterior) probabilities(p point) (exists, reached float64) {
	for s := range p.forward {
		x := p.forward[s] * p.backward[s] / b.likelihood
		reached += x
		exists += x * (1 - b.model.missing[s])
	}
	return exists, reached
}

// tailProbability is the chance that a number more than distance above the bound exists.
func (b *posterior) tailProbability(distance int) float64 {
	if len(b.points) == 0 {
		return 0
	}
	at, from, ended := b.initial, b.bound, 0.0
	for _, p := range b.points {
		step, walk := p.number-from, &b.model.transitions
		first := step // the numbers end behind these; above the edge in the middle of the step
		if p.number > b.bound+distance {
			first, walk = step/2, &b.model.missingTransitions
			p.absent = false
		}
		at = walk.forward(at, first)
		ended += at.sum() * (1 - p.continuation)
		at = walk.forward(p.observe(b.model, at), step-first)
		from = p.number
	}
	return max(0, 1-(ended+at.sum())/b.likelihood)
}
