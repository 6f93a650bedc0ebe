package search

import (
	"slices"

	"fct-scraper/pkg/contract"
)

// evidenceWindow is the distance below the bound within which evidence is used to predict the
// numbers above it.
const evidenceWindow = 5000

// posterior is the probability distribution over the numbers above the bound, given the evidence.
// It is evaluated only at some numbers, the points: all numbers close to the bound, fewer further
// up.
type posterior struct {
	model      *hmm
	bound      int
	dated      bool
	initial    weights // distribution of the state at the bound
	points     []point
	likelihood float64 // probability of the evidence above the bound
}

// point is one number above the bound, with the transition from the previous point.
type point struct {
	number int
	absent bool
	// continuation is the probability that the numbers reach this point, given that they reach the
	// previous one.
	continuation float64
	// forward is the joint probability of the evidence up to here and of each state, backward the
	// probability of the evidence above given each state.
	forward, backward weights
}

// posterior computes the posterior from the evidence, for numbers within the range of the search.
func (s *Search) posterior() *posterior {
	upTo, above := s.evidence.split()
	post := &posterior{model: s.model, bound: s.evidence.bound().number}
	if post.bound >= s.settings.Range.End {
		return post
	}
	post.initial = post.model.filter(upTo.from(post.bound - evidenceWindow))
	expected := s.prior.given(post.bound)
	if f, ok := readFilingProgress(upTo, s.today); ok {
		expected, post.dated = f.survival(s.prior), true
	}
	post.choosePoints(above, s.settings.Range, expected.truncated(s.settings.Range.End))
	post.forwardBackward()
	return post
}

// filter returns the distribution of the state at the last number of the evidence (the forward
// algorithm).
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

// choosePoints chooses the points: numbers known to be missing and their neighbours, the edges of
// the near-miss and tolerance ranges, and steps that grow by a fortieth of the distance from the
// first permitted number.
func (post *posterior) choosePoints(above evidence, limit contract.Range, expected survival) {
	numbers := []int{post.bound + nearMiss, post.bound + nearMiss + 1, post.bound + Tolerance,
		post.bound + Tolerance + 1, limit.End}
	for _, f := range above {
		numbers = append(numbers, f.number-1, f.number, f.number+1)
	}
	first := max(post.bound+1, limit.Start)
	for n := first; n <= limit.End; n += max(1, (n-first)/40) {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	last := expected(post.bound)
	for _, n := range slices.Compact(numbers) {
		if n <= post.bound || n > limit.End {
			continue
		}
		p := point{number: n, absent: above.knows(n)}
		if now := expected(n); last > 1e-300 {
			p.continuation, last = now/last, now
		}
		post.points = append(post.points, p)
	}
}

// forwardBackward runs the forward-backward algorithm over the points.
func (post *posterior) forwardBackward() {
	at, from := post.initial, post.bound
	for i := range post.points {
		p := &post.points[i]
		at = p.observe(post.model, post.model.transitions.forward(at, p.number-from))
		p.forward, from = at, p.number
	}
	after := weights{}
	for s := range after {
		after[s] = 1
	}
	for i := len(post.points) - 1; i >= 0; i-- {
		p := &post.points[i]
		p.backward = after
		if p.absent {
			after = post.model.observe(after, false)
		}
		after = post.model.transitions.backward(after, p.number-post.previousNumber(i))
		for s := range after {
			after[s] = 1 - p.continuation + p.continuation*after[s]
		}
	}
	post.likelihood = post.initial.dot(after)
}

// observe weights the states at the point by the probability that it is reached, and by the
// evidence about it.
func (p *point) observe(h *hmm, v weights) weights {
	for s := range v {
		v[s] *= p.continuation
	}
	if p.absent {
		v = h.observe(v, false)
	}
	return v
}

// previousNumber returns the number of the point before point i.
func (post *posterior) previousNumber(i int) int {
	if i == 0 {
		return post.bound
	}
	return post.points[i-1].number
}

// probabilities returns the probability that the number of the point exists, and that the numbers
// reach it.
func (post *posterior) probabilities(p point) (exists, reached float64) {
	for s := range p.forward {
		x := p.forward[s] * p.backward[s] / post.likelihood
		reached += x
		exists += x * (1 - post.model.missing[s])
	}
	return exists, reached
}

// tailProbability returns the probability that a number more than distance above the bound exists.
func (post *posterior) tailProbability(distance int) float64 {
	if len(post.points) == 0 {
		return 0
	}
	at, from, ended := post.initial, post.bound, 0.0
	for _, p := range post.points {
		step, powers := p.number-from, &post.model.transitions
		first := step // the numbers end after this step; above the edge in the middle of it
		if p.number > post.bound+distance {
			first, powers = step/2, &post.model.missingTransitions
			p.absent = false
		}
		at = powers.forward(at, first)
		ended += at.sum() * (1 - p.continuation)
		at = powers.forward(p.observe(post.model, at), step-first)
		from = p.number
	}
	return max(0, 1-(ended+at.sum())/post.likelihood)
}
