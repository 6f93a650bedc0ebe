package prober

import "math"

// What a question costs in requests: one when the answer is the one that was expected, because the call that gives it is
// made first; else another one.
const (
	requestsIfExpected   = 1
	RequestsIfUnexpected = 2
)

// expectedRequests is what asking for a number costs that exists with this chance.
func expectedRequests(exists float64) float64 {
	likely := max(exists, 1-exists)
	return requestsIfExpected*likely + RequestsIfUnexpected*(1-likely)
}

// Tolerance is by how much the bound may miss the highest number.
const Tolerance = 200

// nearMiss is a miss that hardly matters.
const nearMiss = 20

// choice is a number to ask for. gain is what asking is worth for each request.
type choice struct {
	number int
	// exists is the chance that it does.
	exists float64
	gain   float64
}

// best names the number of the belief that is most worth its requests; a negative gain says that there is none: all
// are known, or not to be asked.
func (b *posterior) best(worth func(p point, exists, reached float64) float64, ask func(int) bool) choice {
	best := choice{gain: -1}
	for _, p := range b.points {
		if p.absent || !ask(p.number) {
			continue
		}
		exists, reached := b.probabilities(p)
		if gain := worth(p, exists, reached) / expectedRequests(exists); gain > best.gain {
			best = choice{number: p.number, exists: exists, gain: gain}
		}
	}
	return best
}

// informationValue is how many bits the answer tells of where the numbers end.
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

// The worth of a record that shows the bound to be too low: by anything, by more than a near miss, by more than
// may be.
const (
	worthAnyMiss         = 0.10
	worthBeyondNear      = 0.25
	worthBeyondTolerance = 0.70
)

// correctionValue is the worth of finding the bound too low, once the numbers seem to end there. The more questions were
// answered, the less a small miss is worth.
func (b *posterior) correctionValue(care int) func(point, float64, float64) float64 {
	return func(p point, exists, _ float64) float64 {
		worth := 0.0
		if care == anyMiss {
			worth += worthAnyMiss
		}
		if care <= missBeyondNear && p.number > b.bound+nearMiss {
			worth += worthBeyondNear
		}
		if p.number > b.bound+Tolerance {
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
