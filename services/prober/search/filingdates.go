package search

import (
	"math"
	"slices"

	"fct-scraper/pkg/contract"
)

// yearDays is the length of a year in days; a leap day does not matter for a forecast.
const yearDays = 365

// filingProgress is the progress of a year, derived from the filing dates of its records.
type filingProgress struct {
	bound int
	// rate is the recent number of new numbers per day.
	rate float64
	// daysLeft is the number of days of the year that may have files above the bound.
	daysLeft float64
}

// A record is out of order if it was filed more than maxDisorder days before a record with a lower
// number. The dates are ignored if more than one in outOfTurnShare records is out of order, or if
// they imply maxRate numbers a day or more.
const (
	maxDisorder    = 45
	outOfTurnShare = 10
	maxRate        = 400
)

// recentRecords is the number of records below the bound that determine the latest filing date,
// because files are numbered a few days out of order.
const recentRecords = 20

// readFilingProgress derives the progress from the evidence, which must end with the bound. It
// returns false if there are no dates or they are implausible. today is the last possible filing
// date, as a day of the year.
func readFilingProgress(upTo evidence, today int) (filingProgress, bool) {
	if len(upTo) == 0 || upTo[len(upTo)-1].day == 0 {
		return filingProgress{}, false
	}
	known := upTo.dated()
	latest := 0
	for _, f := range known[max(0, len(known)-recentRecords):] {
		latest = max(latest, f.day)
	}
	bound := known[len(known)-1].number
	rate := float64(bound) / float64(latest)
	if known.outOfTurn() > len(known)/outOfTurnShare || rate >= maxRate {
		return filingProgress{}, false
	}
	if recent, ok := recentRate(known, latest); ok {
		rate = (rate + recent) / 2
	}
	return filingProgress{bound: bound, rate: rate, daysLeft: float64(today - latest)}, true
}

// dated returns the records with a filing date. A date outside those of its two neighbours is
// replaced by the nearer one: among thousands of records, some have a date that is off by weeks or
// a year, and one of them must not distort the result.
func (e evidence) dated() evidence {
	var known evidence
	for _, f := range e {
		if f.day > 0 {
			known = append(known, f)
		}
	}
	smooth := slices.Clone(known)
	for i := 1; i < len(known)-1; i++ {
		before, day, after := known[i-1].day, known[i].day, known[i+1].day
		smooth[i].day = max(min(before, after), min(day, max(before, after)))
	}
	if len(known) > 2 {
		smooth[0].day = min(known[0].day, known[1].day)
	}
	return smooth
}

// outOfTurn counts the records that were filed more than maxDisorder days before one with a lower
// number.
func (e evidence) outOfTurn() (count int) {
	latest := 0
	for _, f := range e {
		latest = max(latest, f.day)
		if latest-f.day > maxDisorder {
			count++
		}
	}
	return count
}

// recentRate returns the numbers per day since the nearest record filed three weeks to five months
// before latest.
func recentRate(known evidence, latest int) (float64, bool) {
	bound := known[len(known)-1].number
	for _, f := range slices.Backward(known[:len(known)-1]) {
		if age := latest - f.day; age >= 21 && age < 150 {
			return float64(bound-f.number) / float64(age), true
		}
	}
	return 0, false
}

// survival returns the prior above the bound given the filing dates. It is a mixture of four
// hypotheses, so that a wrong one costs questions but not correctness: the year continues at its
// rate; numbers were skipped; it ends at the bound although days are left, as in an index that is
// filled late; the dates mean nothing and calendar applies. The rate is exact to within one day's
// numbers: with the heavy tail, 95 of 100 files are within three days of their order, as in the
// worst years seen.
func (f filingProgress) survival(calendar survival) survival {
	expected := float64(f.bound) + f.rate*f.daysLeft
	spread := math.Hypot(f.rate+6, 0.20*f.rate*f.daysLeft)
	goesOn := func(n int) float64 { return studentTail((float64(n) - 0.5 - expected) / spread) }
	least, most := goesOn(f.bound), goesOn(contract.MaxNumber+1)
	const skipped, nothing = 0.08, 0.05
	late := 0.10 * math.Exp(-f.daysLeft/5)
	calendar = calendar.given(f.bound)
	return func(n int) float64 {
		return (1-skipped-nothing-late)*(goesOn(n)-most)/(least-most) +
			skipped*math.Exp(-max(0, float64(n)-expected)/1500) +
			late*math.Exp(-float64(n-f.bound)/(0.7*f.rate+5)) +
			nothing*calendar(n)
	}
}

// studentTail returns the probability that a value exceeds x, in units of its spread. It is
// Student's t distribution with three degrees of freedom, because a forecast after a tenth of the
// year is off by 30 % and sometimes by far more.
func studentTail(x float64) float64 {
	y := x / math.Sqrt(3)
	return 0.5 - (y/(1+y*y)+math.Atan(y))/math.Pi
}
