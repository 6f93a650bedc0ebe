package prober

import (
	"math"
	"slices"

	"fct-scraper/pkg/contract"
)

// yearDays is how many days a year has for a forecast; a leap day does not matter.
const yearDays = 365

// filingProgress is how a year goes so far, read from the filing days of its records.
type filingProgress struct {
	bound int
	// rate is how many numbers a day are handed out lately.
	rate float64
	// daysLeft is how many days of the year may hold files above the bound.
	daysLeft float64
}

// A record is out of turn when it was filed more than maxDisorder days before one with a lower number. The days are not
// believed when more than one record in mostOutOfTurn is, or when they mean maxRate numbers a day.
const (
	maxDisorder    = 45
	outOfTurnShare = 10
	maxRate        = 400
)

// recentRecords is how many of the records below the bound tell how far the year is: files are numbered a few days out of turn.
const recentRecords = 20

// readFilingProgress reads the days of the evidence, which ends with a record: the bound. False means that the days are not
// to be used: there are none, or they make no sense. today is the last day on which a file can have been filed.
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

// dated are the records whose day is known. A day that fits neither neighbour is replaced by the nearer one's: of
// thousands of records some carry a day that is weeks or a year off, and one of them must not spoil the others.
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

// outOfTurn counts the records that were filed long before one with a lower number.
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

// recentRate is how many numbers a day came since the nearest record that lies three weeks to five months back.
func recentRate(known evidence, latest int) (float64, bool) {
	bound := known[len(known)-1].number
	for _, f := range slices.Backward(known[:len(known)-1]) {
		if age := latest - f.day; age >= 21 && age < 150 {
			return float64(bound-f.number) / float64(age), true
		}
	}
	return 0, false
}

// survival is what the days make expected above the bound. Four stories share the weight, so that a wrong one costs
// questions and not the answer: the year goes on at its rate; numbers were skipped; it ends at the bound although
// days are left, as an index that is filled late does; the days mean nothing and calendar says what is left. Its rate is
// meant to within one day's numbers: with the heavy tail, 95 of 100 files lie within three days of their turn, as in the worst
// years seen.
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

// studentTail is the chance that a value lies above x, in units of its spread: Student's t with three degrees of freedom,
// because a year at a tenth of its days is off by 30 % and sometimes by far more.
func studentTail(x float64) float64 {
	y := x / math.Sqrt(3)
	return 0.5 - (y/(1+y*y)+math.Atan(y))/math.Pi
}
