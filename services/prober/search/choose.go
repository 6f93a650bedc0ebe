package search

import "math"

// The cost of a question in requests. The call that confirms the expected answer is made first, so
// another answer takes a second request.
const (
	requestsIfExpected   = 1
	RequestsIfUnexpected = 2
)

// expectedRequests returns the expected cost of a question about a number that exists with this
// probability.
func expectedRequests(exists float64) float64 {
	likely := max(exists, 1-exists)
	return requestsIfExpected*likely + RequestsIfUnexpected*(1-likely)
}

// Tolerance is the acceptable distance between the bound and the highest existing number.
const Tolerance = 200

// nearMiss is a distance to the highest existing number that hardly matters.
const nearMiss = 20

// choice is a number to request. gain is the value of the question per request.
type choice struct {
	number int
	// exists is the probability that the number exists.
	exists float64
	gain   float64
}

// best returns the number with the highest worth per request among those that ask permits. A
// negative gain means that there is none.
func (post *posterior) best(worth func(p point, exists, reached float64) float64, ask func(int) bool) choice {
	best := choice{gain: -1}
	for _, p := range post.points {
		if p.absent || !ask(p.number) {
			continue
		}
		exists, reached := post.probabilities(p)
		if gain := worth(p, exists, reached) / expectedRequests(exists); gain > best.gain {
			best = choice{number: p.number, exists: exists, gain: gain}
		}
	}
	return best
}

// informationValue returns the information, in bits, that the answer gives about where the numbers
// end.
func informationValue(_ point, exists, reached float64) float64 {
	if reached < 1e-12 {
		return 0
	}
	return entropy(exists) - reached*entropy(min(1, exists/reached))
}

func entropy(p float64) float64 {
	if p <= 1e-15 || p >= 1-1e-15 {
		return 0
	}
	return -(p*math.Log2(p) + (1-p)*math.Log2(1-p))
}

// The worth of a record that shows the bound to be too low: by anything, by more than a near miss,
// by more than Tolerance.
const (
	worthAnyMiss         = 0.10
	worthBeyondNear      = 0.25
	worthBeyondTolerance = 0.70
)

// correctionValue returns the worth of a record above the bound, once the numbers seem to end
// there, as a function of a point. misses selects the misses that count.
func (post *posterior) correctionValue(misses int) func(point, float64, float64) float64 {
	return func(p point, exists, _ float64) float64 {
		worth := 0.0
		if misses == anyMiss {
			worth += worthAnyMiss
		}
		if misses <= missBeyondNear && p.number > post.bound+nearMiss {
			worth += worthBeyondNear
		}
		if p.number > post.bound+Tolerance {
			worth += worthBeyondTolerance
		}
		return exists * worth
	}
}

const (
	anyMiss = iota
	missBeyondNear
	missBeyondTolerance
)
