package prober

import (
	"math"

	"fct-scraper/pkg/contract"
)

// yearDays is how many days a year has for a forecast; a leap day does not matter.
const yearDays = 365

// filings is how a year goes so far, read from the filing days of its records.
type filings struct {
	bound int
	// rate is how many numbers a day are handed out lately.
	rate float64
	// left is how many days of the year may hold files above the bound.
	left float64
}

// The days are not believed when they run back by more than maxDisorder days or mean maxRate numbers a day.
const (
	maxDisorder = 45
	maxRate     = 400
)

// readFilings reads the days of the evidence, which ends with a record: the bound. False means that the days are not
// to be used: there are none, or they make no sense. today is the last day on which a file can have been filed.
func readFilings(upTo evidence, today int) (filings, bool) {
	if len(upTo) == 0 || upTo[len(upTo)-1].day == 0 {
		return filings{}, false
	}
	latest, disorder := 0, 0
	for _, f := range upTo {
		if f.day > 0 {
			latest = max(latest, f.day)
			disorder = max(disorder, latest-f.day)
		}
	}
	bound := upTo[len(upTo)-1].number
	rate := float64(bound) / float64(latest)
	if latest > today || disorder > maxDisorder || rate >= maxRate {
		return filings{}, false
	}
	if recent, ok := recentRate(upTo, latest); ok {
		rate = (rate + recent) / 2
	}
	return filings{bound: bound, rate: rate, left: float64(today - latest)}, true
}

// recentRate is how many numbers a day came since the nearest record that lies three weeks to five months back.
func recentRate(upTo evidence, latest int) (float64, bool) {
	bound := upTo[len(upTo)-1].number
	for i := len(upTo) - 2; i >= 0; i-- {
		f := upTo[i]
		if age := latest - f.day; f.day > 0 && age >= 21 && age < 150 {
			return float64(bound-f.number) / float64(age), true
		}
	}
	return 0, false
}

// reach is what the days make expected above the bound. Four stories share the weight, so that a wrong one costs
// questions and not the answer: the year goes on at its rate; numbers were skipped; it ends at the bound although
// days are left, as an index that is filled late does; the days mean nothing and calendar says what is left.
func (f filings) reach(calendar reach) reach {
	expected := float64(f.bound) + f.rate*f.left
	spread := math.Hypot(3*f.rate+6, 0.20*f.rate*f.left)
	goesOn := func(n int) float64 { return heavyTail((float64(n) - 0.5 - expected) / spread) }
	least, most := goesOn(f.bound), goesOn(contract.MaxNumber+1)
	const skipped, nothing = 0.08, 0.05
	late := 0.10 * math.Exp(-f.left/5)
	calendar = calendar.from(f.bound)
	return func(n int) float64 {
		return (1-skipped-nothing-late)*(goesOn(n)-most)/(least-most) +
			skipped*math.Exp(-max(0, float64(n)-expected)/1500) +
			late*math.Exp(-float64(n-f.bound)/(0.7*f.rate+5)) +
			nothing*calendar(n)
	}
}

// heavyTail is the chance that a value lies above x, in units of its spread: Student's t with three degrees of freedom,
// because a year at a tenth of its days is off by 30 % and sometimes by far more.
func heavyTail(x float64) float64 {
	y := x / math.Sqrt(3)
	return 0.5 - (y/(1+y*y)+math.Atan(y))/math.Pi
}
