package prober

import "math/bits"

// A number lies in a stretch of one density of records or in a gap of one length. The densities are what real
// series show at best, what they show at worst, what is to be borne beyond that, and what thins out at the end of a year.
const (
	dense      = iota // a number in a hundred is missing
	thinned           // one in ten
	patchy            // one in five
	sparse            // every second
	firstGap          // the first of the gaps; nothing exists in them
	stateCount = firstGap + 4
)

// missingProbability is the chance that a number has no record, in each state.
func missingProbability() weights { return weights{0.01, 0.10, 0.20, 0.50, 1, 1, 1, 1} }

// gapLengths are the mean lengths of the gaps, in numbers.
func gapLengths() [stateCount - firstGap]float64 { return [...]float64{5, 60, 350, 1500} }

// initialState is where number 1 lies.
func initialState() weights { return weights{dense: 0.60, thinned: 0.25, patchy: 0.10, sparse: 0.05} }

// weights is how likely each state is, up to a common factor.
type weights [stateCount]float64

// transition is how the states follow each other: step[a][b] is the chance of b so many numbers after a.
type transition [stateCount]weights

// hmm is the model of how existing and missing numbers follow each other; it does not change.
type hmm struct {
	missing weights
	// transitions walks over numbers of which nothing is known, absent over numbers that are missing.
	transitions, missingTransitions transitionPowers
}

// transitionPowers holds a step over 1, 2, 4, ... numbers, so that any distance takes few of them.
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

// singleTransition is the step from a number to the next one. A gap begins once in 600 numbers (in stretches with holes
// once in 200), a long one once in 12,000; doubling or halving these moves the number of questions by one to three.
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
		s[firstGap+i] = weights{dense: 0.55 / length, thinned: 0.25 / length, patchy: 0.10 / length, sparse: 0.10 / length}
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

// forward is the weights distance numbers further on.
func (w *transitionPowers) forward(v weights, distance int) weights {
	for d := uint(distance); d != 0; d &= d - 1 {
		v = w[bits.TrailingZeros(d)].forward(v)
	}
	return v
}

// backward turns the chance of what lies further on, given each state there, into the chance given each state
// distance numbers before.
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

// dot is the sum of the products.
func (v weights) dot(o weights) (total float64) {
	for i, x := range v {
		total += x * o[i]
	}
	return total
}

// observe weighs v by what is known of the number: that it exists or that it is missing.
func (h *hmm) observe(v weights, exists bool) weights {
	for s, m := range h.missing {
		if exists {
			m = 1 - m
		}
		v[s] *= m
	}
	return v
}
