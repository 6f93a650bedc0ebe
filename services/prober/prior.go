package prober

import (
	"math"

	"fct-scraper/pkg/contract"
)

// survival is the chance that the numbers handed out reach up to n, up to a common factor; it never grows with n.
type survival func(n int) float64

// nonEmptyYear is the chance that a year has any file at all.
const nonEmptyYear = 0.99

// calendarPrior is what is expected of a year of which no number is known: around last year's highest number,
// scaled to the days that have passed; beside it any order of magnitude, because a series may be new, small or dead.
// A year is on average 1.08 times the one before; its logarithm varies by 0.27 and early in a year by more.
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

// given is the reach given that the numbers do reach up to bound.
func (r survival) given(bound int) survival {
	least := r(bound)
	return func(n int) float64 { return r(n) / least }
}

// truncated is the reach when nobody cares what lies above end.
func (r survival) truncated(end int) survival {
	return func(n int) float64 {
		if n > end {
			return 0
		}
		return r(n)
	}
}
