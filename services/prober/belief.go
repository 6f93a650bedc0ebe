package prober

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// memory is how far below the bound evidence still says something about the numbers above it.
const memory = 5000

// belief is what the evidence says about the numbers above the bound. Only some of them, the points, are looked at:
// all near the bound, fewer further up.
type belief struct {
	holes  *holes
	bound  int
	dated  bool
	start  weights // where the bound lies
	points []point
	total  float64 // the chance of the evidence above the bound
}

// point is one number above the bound, and the step to it from the point before.
type point struct {
	number int
	absent bool
	// keep is the chance that the numbers reach up to here when they reach up to the point before.
	keep float64
	// before is the chance of the evidence up to here, reached and in each state; after that of the evidence above.
	before, after weights
}

// think weighs the evidence. The numbers of interest are those of limit above the bound.
func (s *Search) think() *belief {
	upTo, above := s.evidence.split()
	b := &belief{holes: s.holes, bound: s.evidence.bound().number}
	if b.bound >= s.settings.Range.End {
		return b
	}
	b.start = b.holes.at(upTo.since(b.bound - memory))
	expected := s.calendar.from(b.bound)
	if f, ok := readFilings(upTo, s.today); ok {
		expected, b.dated = f.reach(s.calendar), true
	}
	b.place(above, s.settings.Range, expected.upTo(s.settings.Range.End))
	b.weigh()
	return b
}

// at is the state of the last number of the evidence.
func (h *holes) at(known evidence) weights {
	v := firstState()
	for i, f := range known {
		if i > 0 {
			v = h.any.forward(v, f.number-known[i-1].number)
		}
		v = h.seen(v, f.exists)
		total := v.sum()
		for s := range v {
			v[s] /= total
		}
	}
	return v
}

// place chooses the points: what is known to be missing and its neighbours, the edges of what a bound may miss, and
// from the first number that may be asked steps of a fortieth of the distance.
func (b *belief) place(above evidence, limit contract.Range, expected reach) {
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
			p.keep, last = now/last, now
		}
		b.points = append(b.points, p)
	}
}

// weigh walks over the points forward and backward.
func (b *belief) weigh() {
	at, from := b.start, b.bound
	for i := range b.points {
		p := &b.points[i]
		at = p.enter(b.holes, b.holes.any.forward(at, p.number-from))
		p.before, from = at, p.number
	}
	after := weights{}
	for s := range after {
		after[s] = 1
	}
	for i := len(b.points) - 1; i >= 0; i-- {
		p := &b.points[i]
		p.after = after
		if p.absent {
			after = b.holes.seen(after, false)
		}
		after = b.holes.any.backward(after, p.number-b.below(i))
		for s := range after {
			after[s] = 1 - p.keep + p.keep*after[s]
		}
	}
	b.total = b.start.dot(after)
}

// enter weighs the states at the point by the chance that it is reached, and by what is known of it.
func (p *point) enter(h *holes, v weights) weights {
	for s := range v {
		v[s] *= p.keep
	}
	if p.absent {
		v = h.seen(v, false)
	}
	return v
}

// below is the number of the point before point i.
func (b *belief) below(i int) int {
	if i == 0 {
		return b.bound
	}
	return b.points[i-1].number
}

// exists is the chance that the number of the point exists, and that the numbers reach up to it.
func (b *belief) exists(p point) (exists, reached float64) {
	for s := range p.before {
		x := p.before[s] * p.after[s] / b.total
		reached += x
		exists += x * (1 - b.holes.missing[s])
	}
	return exists, reached
}

// beyond is the chance that a number more than distance above the bound exists.
func (b *belief) beyond(distance int) float64 {
	if len(b.points) == 0 {
		return 0
	}
	at, from, ended := b.start, b.bound, 0.0
	for _, p := range b.points {
		step, walk := p.number-from, &b.holes.any
		first := step // the numbers end behind these; above the edge in the middle of the step
		if p.number > b.bound+distance {
			first, walk = step/2, &b.holes.absent
			p.absent = false
		}
		at = walk.forward(at, first)
		ended += at.sum() * (1 - p.keep)
		at = walk.forward(p.enter(b.holes, at), step-first)
		from = p.number
	}
	return max(0, 1-(ended+at.sum())/b.total)
}
