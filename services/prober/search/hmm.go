package search

import "math/bits"

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

// dot returns the dot product.
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
