package search

import (
	"math"
	"math/bits"
	"slices"

	"fct-scraper/pkg/contract"
)

// The states of the hidden Markov model: a number is in a stretch of some density of records, or in
// a gap of some length. The first two densities are the best and worst seen in real series, patchy
// is worse than any seen, and sparse models the end of a year.
const (
	dense      = iota // one number in 100 is missing
	thinned           // one in ten
	patchy            // one in five
	sparse            // every second
	firstGap          // the first of the gaps, in which no number exists
	stateCount = firstGap + 4
)

// missingProbability returns the probability that a number is missing, in each state.
func missingProbability() weights { return weights{0.01, 0.10, 0.20, 0.50, 1, 1, 1, 1} }

// gapLengths returns the mean lengths of the gaps, in numbers.
func gapLengths() [stateCount - firstGap]float64 { return [...]float64{5, 60, 350, 1500} }

// initialState returns the distribution of the state of number 1.
func initialState() weights { return weights{dense: 0.60, thinned: 0.25, patchy: 0.10, sparse: 0.05} }

// weights is a distribution over the states, up to a common factor.
type weights [stateCount]float64

// transition is the transition matrix: transition[a][b] is the probability of state b some numbers
// after state a.
type transition [stateCount]weights

// hmm is the hidden Markov model of existing and missing numbers. It is immutable.
type hmm struct {
	missing weights
	// transitions steps over numbers without evidence, missingTransitions over missing numbers.
	transitions, missingTransitions transitionPowers
}

// transitionPowers holds the transitions over 1, 2, 4, ... numbers, so that any distance takes few
// multiplications.
type transitionPowers [17]transition

func newHMM() *hmm {
	h := &hmm{missing: missingProbability()}
	one := singleTransition()
	h.transitions = newTransitionPowers(one)
	for a := range one {
		for b := range one[a] {
			one[a][b] *= h.missing[b]
		}
	}
	h.missingTransitions = newTransitionPowers(one)
	return h
}

// singleTransition returns the transition from a number to the next one. A gap begins once in 600
// numbers (once in 200 in thinned stretches), a long one once in 12,000. Doubling or halving these
// values changes the number of questions by one to three.
func singleTransition() transition {
	s := transition{
		dense:   {0, 1. / 2000, 1. / 5000, 1. / 10000, 1. / 600, 1. / 4000, 1. / 12000, 1. / 50000},
		thinned: {1. / 2000, 0, 1. / 5000, 1. / 4000, 1. / 200, 1. / 4000, 1. / 12000, 1. / 50000},
		patchy:  {1. / 4000, 1. / 4000, 0, 1. / 2000, 1. / 100, 1. / 4000, 1. / 12000, 1. / 50000},
		sparse:  {1. / 300, 1. / 150, 0, 0, 1. / 50, 1. / 1000, 1. / 3000, 1. / 12500},
	}
	for a := range firstGap {
		s[a][a] = 1 - s[a].sum()
	}
	for i, length := range gapLengths() {
		s[firstGap+i] = weights{dense: 0.55 / length, thinned: 0.25 / length, patchy: 0.10 / length,
			sparse: 0.10 / length}
		s[firstGap+i][firstGap+i] = 1 - 1/length
	}
	return s
}

func newTransitionPowers(one transition) (w transitionPowers) {
	w[0] = one
	for k := 1; k < len(w); k++ {
		for a := range one {
			w[k][a] = w[k-1].forward(w[k-1][a])
		}
	}
	return w
}

// forward returns the distribution of the state distance numbers later.
func (w *transitionPowers) forward(v weights, distance int) weights {
	for d := uint(distance); d != 0; d &= d - 1 {
		v = w[bits.TrailingZeros(d)].forward(v)
	}
	return v
}

// backward turns the likelihood of later evidence given each state into the likelihood given each
// state distance numbers before.
func (w *transitionPowers) backward(v weights, distance int) weights {
	for d := uint(distance); d != 0; d &= d - 1 {
		v = w[bits.TrailingZeros(d)].backward(v)
	}
	return v
}

func (s *transition) forward(v weights) (o weights) {
	for a, x := range v {
		for b := range o {
			o[b] += x * s[a][b]
		}
	}
	return o
}

func (s *transition) backward(v weights) (o weights) {
	for a := range o {
		for b, y := range v {
			o[a] += s[a][b] * y
		}
	}
	return o
}

func (v weights) sum() (total float64) {
	for _, x := range v {
		total += x
	}
	return total
}

func (v weights) dot(o weights) (total float64) {
	for i, x := range v {
		total += x * o[i]
	}
	return total
}

// observe weights v by the evidence that a number exists or is missing.
func (h *hmm) observe(v weights, exists bool) weights {
	for s, m := range h.missing {
		if exists {
			m = 1 - m
		}
		v[s] *= m
	}
	return v
}

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

// survival is the survival function of the highest number: the probability that the numbers reach
// n, up to a common factor. It does not increase with n.
type survival func(n int) float64

// nonEmptyYear is the probability that a year has any file.
const nonEmptyYear = 0.99

// calendarPrior returns the prior of a year without evidence. It is a mixture of the previous
// year's highest number, scaled to the days that have passed, and of any order of magnitude,
// because a series may be new, small or discontinued. A year has on average 1.08 times the numbers
// of the previous one; the standard deviation of the logarithm is 0.27, and larger early in a year.
func calendarPrior(lastMax, day int) survival {
	passed := float64(day) / yearDays
	typical, spread, share := 12000*passed, 0.8, 0.70
	if lastMax > 0 {
		typical, spread, share = 1.08*float64(lastMax)*passed, 0.38, 0.80
		if passed < 0.15 {
			spread += 0.15
		}
	}
	middle := math.Log(max(3, typical))
	return func(n int) float64 {
		if n <= 0 {
			return 1
		}
		at := math.Log(max(0.75, float64(n)-0.5))
		near := 0.5 * math.Erfc((at-middle)/spread/math.Sqrt2)
		anywhere := 1 - math.Log(float64(n))/math.Log(contract.MaxNumber+1)
		return nonEmptyYear * (share*near + (1-share)*anywhere)
	}
}

// given returns the survival function given that the numbers reach bound.
func (r survival) given(bound int) survival {
	least := r(bound)
	return func(n int) float64 { return r(n) / least }
}

// truncated returns the survival function with 0 above end, because numbers above it are not
// requested.
func (r survival) truncated(end int) survival {
	return func(n int) float64 {
		if n > end {
			return 0
		}
		return r(n)
	}
}
