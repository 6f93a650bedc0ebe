package search

import (
	"math"

	"fct-scraper/pkg/contract"
)

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
