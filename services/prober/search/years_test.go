package search_test

import (
	"math"
	"math/rand/v2"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/prober/search"
)

// syntheticYear is one year of a series at a site.
type syntheticYear struct {
	// exists and filed hold for each number whether it exists and the day of the year on which it
	// was filed.
	exists []bool
	filed  []int
	// today is the day of the year, 0 if the year is over; previousYearMax is the highest number of
	// the previous year.
	today, previousYearMax int
	// failureShare is the share of requests that fail.
	failureShare float64
}

// max returns the highest number that exists, 0 if there is none.
func (s *syntheticYear) max() int {
	for n := len(s.exists) - 1; n > 0; n-- {
		if s.exists[n] {
			return n
		}
	}
	return 0
}

// newPartialYear returns a dense year with total numbers at its end; half of the years are not over
// yet.
func newPartialYear(r *rand.Rand, total int) *syntheticYear {
	today, last := 0, 365
	if r.IntN(2) == 0 {
		today = 30 + r.IntN(335)
		last = today
	}
	return newYear(r, total, today, last)
}

func newYear(r *rand.Rand, total, today, last int) *syntheticYear {
	curve := filingCurve(r)
	highest := int(math.Round(float64(total) * curve[last]))
	s := &syntheticYear{exists: make([]bool, highest+1), filed: make([]int, highest+1), today: today}
	s.previousYearMax = min(contract.MaxNumber, int(float64(total)/math.Exp(0.07+0.27*r.NormFloat64())))
	day, spread := 1, 0.5+r.Float64()
	for n := 1; n <= highest; n++ {
		for day < last && float64(total)*curve[day] < float64(n) {
			day++
		}
		s.exists[n] = true
		s.filed[n] = min(last, max(1, day+disorder(r, spread)))
	}
	return s
}

// filingCurve returns the share of a year's numbers assigned up to each day. Rates vary by week and
// are autocorrelated.
func filingCurve(r *rand.Rand) [366]float64 {
	var curve [366]float64
	level := 0.0
	for day := 1; day <= 365; day++ {
		if day%7 == 1 {
			level = 0.8*level + 0.2*r.NormFloat64()
		}
		curve[day] = curve[day-1] + math.Exp(level)
	}
	for day := range curve {
		curve[day] /= curve[365]
	}
	return curve
}

// disorder returns by how many days a file was numbered out of order: in the tidiest years 95 of
// 100 files within a day, in others within three.
func disorder(r *rand.Rand, spread float64) int {
	if r.Float64() < 0.002 {
		return r.IntN(60) - 30
	}
	return int(math.Round(spread * r.NormFloat64()))
}

// typicalSize returns a number of cases a year, from 4,000 to 35,000.
func typicalSize(r *rand.Rand) int { return int(4000 * math.Pow(35./4, r.Float64())) }

// drop makes the numbers from..to missing, each with this probability, but never the highest one.
func (s *syntheticYear) drop(r *rand.Rand, from, to int, chance float64) {
	for n := max(1, from); n <= min(to, len(s.exists)-2); n++ {
		if r.Float64() < chance {
			s.exists[n] = false
		}
	}
}

// remove makes the numbers from..to missing. If they include the highest number, the year ends
// below them.
func (s *syntheticYear) remove(from, to int) {
	for n := max(1, from); n <= min(to, len(s.exists)-1); n++ {
		s.exists[n] = false
	}
}

// has reports whether a number exists.
func (s *syntheticYear) has(n int) bool { return n > 0 && n < len(s.exists) && s.exists[n] }

// answer returns the answer of a site to a question. It takes one request if the answer is
// expected, two if not, and more when requests fail. After the last attempt fails there is no
// answer.
func (s *syntheticYear) answer(r *rand.Rand, q search.Question, attempts int) search.Observation {
	a := search.Observation{Number: q.Number, Finding: search.Absent}
	if s.has(q.Number) {
		a.Finding = search.Exists
		if day := s.filed[q.Number]; day > 0 {
			a.FiledOn = time.Date(2025, 1, day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		}
	}
	needed := 1
	if q.LikelyAbsent == s.has(q.Number) {
		needed = 2
	}
	for range min(attempts, 4) {
		for made := 1; ; made++ {
			a.Requests++
			if r.Float64() < s.failureShare {
				break
			}
			if made == needed {
				return a
			}
		}
	}
	a.Finding, a.FiledOn = search.Unknown, ""
	return a
}
