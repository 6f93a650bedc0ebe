package search_test

import (
	"math"
	"math/rand/v2"

	"fct-scraper/pkg/contract"
)

// family is a kind of year. Typical families must meet the goals; the others show the limits of a
// search with few questions.
type family struct {
	name    string
	typical bool
	// exact reports that the search must find the highest number itself in 95 of 100 years.
	exact    bool
	generate func(r *rand.Rand) *syntheticYear
}

// raggedEnd is the family whose searches take more requests than the others, because its last
// numbers are too sparse to distinguish from none.
const raggedEnd = "ragged end"

func families() []family {
	return []family{
		{"dense", true, true, dense},
		{"holes 5 %", true, true, thinned(0.05)},
		{"holes 10 %", true, true, thinned(0.10)},
		{"holes 20 %", true, true, thinned(0.20)},
		{"clustered holes", true, false, clustered},
		{"gaps of 50", true, true, gapped(50)},
		{"gaps of 100", true, true, gapped(100)},
		{raggedEnd, true, false, ragged},
		{"tiny", true, true, tiny},
		{"small", true, true, small},
		{"huge", true, true, huge},
		{"10 % of requests fail", true, true, failingRequests},
		{"early in the year", true, true, early},
		{"no filing days", true, true, undated},
		{"random filing days", false, false, misdated},
		{"last year 100 times wrong", true, true, surprising},
		{"lone numbers, to 200 above", false, false, stragglers(1, 200)},
		{"lone numbers, 210 to 700 above", false, false, stragglers(210, 700)},
		{"gaps of 200", false, false, gapped(200)},
		{"gaps of 500", false, false, gapped(500)},
		{"thin end behind a gap", false, false, twoTails},
		{"block of 800 to 2500 missing", false, false, block},
	}
}

func dense(r *rand.Rand) *syntheticYear { return newPartialYear(r, typicalSize(r)) }

func thinned(share float64) func(*rand.Rand) *syntheticYear {
	return func(r *rand.Rand) *syntheticYear {
		s := dense(r)
		s.drop(r, 1, len(s.exists), share)
		return s
	}
}

// clustered has stretches of 2 to 40 numbers of which three quarters are missing.
func clustered(r *rand.Rand) *syntheticYear {
	s := dense(r)
	for n := 1; n < len(s.exists); n += 20 + r.IntN(300) {
		s.drop(r, n, n+2+r.IntN(39), 0.75)
	}
	return s
}

// gapped has 2 to 6 gaps; in seven of ten years one of them is 5 to 600 below the highest number.
// If a gap covers the highest number, the year ends below the gap; single numbers above a gap are
// the family stragglers.
func gapped(length int) func(*rand.Rand) *syntheticYear {
	return func(r *rand.Rand) *syntheticYear {
		s := thinned(0.02)(r)
		gaps := 2 + r.IntN(5)
		if r.Float64() < 0.7 {
			to := len(s.exists) - 1 - (5 + r.IntN(596))
			s.remove(to-length+1, to)
			gaps--
		}
		for range gaps {
			from := 1 + r.IntN(len(s.exists))
			s.remove(from, from+length-1)
		}
		return s
	}
}

// ragged thins out to one number in twenty over its last 60 to 400 numbers.
func ragged(r *rand.Rand) *syntheticYear {
	s := thinned(0.02)(r)
	tail := 60 + r.IntN(341)
	for i := range tail {
		n := len(s.exists) - tail + i
		s.drop(r, n, n, 0.95*float64(i)/float64(tail))
	}
	return s
}

func tiny(r *rand.Rand) *syntheticYear {
	sizes := []int{0, 1, 2, 3, 5, 10}
	return newYear(r, sizes[r.IntN(len(sizes))], 0, 365)
}

func small(r *rand.Rand) *syntheticYear { return newYear(r, 11+r.IntN(290), 0, 365) }

func huge(r *rand.Rand) *syntheticYear {
	s := newYear(r, contract.MaxNumber-r.IntN(10000), 0, 365)
	s.drop(r, 1, len(s.exists), 0.03)
	return s
}

func failingRequests(r *rand.Rand) *syntheticYear {
	s := thinned(0.03)(r)
	s.failureShare = 0.10
	return s
}

func early(r *rand.Rand) *syntheticYear {
	today := 4 + r.IntN(40)
	s := newYear(r, typicalSize(r), today, today)
	s.drop(r, 1, len(s.exists), 0.03)
	return s
}

func undated(r *rand.Rand) *syntheticYear {
	s := thinned(0.03)(r)
	clear(s.filed)
	return s
}

func misdated(r *rand.Rand) *syntheticYear {
	s := thinned(0.03)(r)
	for n := range s.filed {
		s.filed[n] = 1 + r.IntN(365)
	}
	return s
}

func surprising(r *rand.Rand) *syntheticYear {
	s := thinned(0.03)(r)
	s.previousYearMax = max(1, int(float64(s.previousYearMax)*math.Pow(100, float64(2*r.IntN(2)-1))))
	s.previousYearMax = min(s.previousYearMax, contract.MaxNumber)
	return s
}

// stragglers has 1 to 4 single numbers above the rest.
func stragglers(least, most int) func(*rand.Rand) *syntheticYear {
	return func(r *rand.Rand) *syntheticYear {
		s := thinned(0.02)(r)
		end := len(s.exists) - 1
		top := min(contract.MaxNumber, end+most)
		s.exists = append(s.exists, make([]bool, top-end)...)
		s.filed = append(s.filed, make([]int, top-end)...)
		for range 1 + r.IntN(4) {
			n := min(top, end+least+r.IntN(most-least+1))
			s.exists[n], s.filed[n] = true, s.filed[end]
		}
		return s
	}
}

func twoTails(r *rand.Rand) *syntheticYear {
	s := thinned(0.02)(r)
	end := len(s.exists) - 1
	tail, gap := 50+r.IntN(101), 120+r.IntN(231)
	s.drop(r, end-tail, end, 0.5)
	s.drop(r, end-tail-gap, end-tail-1, 1)
	return s
}

func block(r *rand.Rand) *syntheticYear {
	s := thinned(0.02)(r)
	to := len(s.exists) - 1 - (300 + r.IntN(1701))
	s.drop(r, to-(800+r.IntN(1701))+1, to, 1)
	return s
}
