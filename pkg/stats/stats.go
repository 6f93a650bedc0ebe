// Package stats holds the statistics of the analysis as pure functions: confidence intervals of a
// share, quantiles and box plots of whole numbers, and survival curves. Each names the source of its
// formula. Samples are passed as counts of values, so that their size costs no memory.
package stats

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// normal returns the z of a two-sided interval of the standard normal distribution: 1.96 for a
// confidence of 0.95.
func normal(confidence float64) float64 { return math.Sqrt2 * math.Erfinv(confidence) }

// Interval is a confidence interval. Both bounds are NaN if it is not defined.
type Interval struct{ Lower, Upper float64 }

// Wilson returns the score interval of a share, without continuity correction: E. B. Wilson, Probable
// inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212; method 3 of
// R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872. successes is 0 to n, confidence is between
// 0 and 1. It is not defined for n = 0.
func Wilson(successes, n int, confidence float64) Interval {
	if n == 0 {
		return undefined()
	}
	z, size := normal(confidence), float64(n)
	p := float64(successes) / size
	center := p + z*z/(2*size)
	half := z * math.Sqrt(p*(1-p)/size+z*z/(4*size*size))
	i := Interval{(center - half) / (1 + z*z/size), (center + half) / (1 + z*z/size)}
	// Exactly 0 and 1 are the bounds at the ends; rounding gives values beside them.
	if successes == 0 {
		i.Lower = 0
	}
	if successes == n {
		i.Upper = 1
	}
	return i
}

func undefined() Interval { return Interval{math.NaN(), math.NaN()} }

// Sample is how often each value occurs. The zero value is an empty sample that can be read only.
type Sample map[int]int

// Size is the number of observations.
func (s Sample) Size() (n int) {
	for _, count := range s {
		n += count
	}
	return n
}

// Merge adds the observations of another sample.
func (s Sample) Merge(o Sample) {
	for value, count := range o {
		s[value] += count
	}
}

// Quantiles returns the quantiles at shares p of 0 to 1: definition 7 of R. J. Hyndman and Y. Fan,
// Sample quantiles in statistical packages, The American Statistician 50 (1996) 361-365, which is the
// default of R and NumPy, and PERCENTILE.INC of Excel. They are NaN for an empty sample.
func (s Sample) Quantiles(p ...float64) []float64 {
	quantiles := make([]float64, len(p))
	values, upTo := s.cumulative()
	for i := range p {
		quantiles[i] = quantile(values, upTo, p[i])
	}
	return quantiles
}

// cumulative returns the values in order, and for each the number of observations up to it.
func (s Sample) cumulative() (values, upTo []int) {
	values = slices.Sorted(maps.Keys(s))
	upTo = make([]int, len(values))
	n := 0
	for i, value := range values {
		n += s[value]
		upTo[i] = n
	}
	return values, upTo
}

func quantile(values, upTo []int, p float64) float64 {
	if len(upTo) == 0 {
		return math.NaN()
	}
	n := upTo[len(upTo)-1]
	h := float64(n-1) * p
	below := min(int(h), n-1)
	at := func(index int) float64 {
		i, _ := slices.BinarySearch(upTo, index+1)
		return float64(values[i])
	}
	low, high := at(below), at(min(below+1, n-1))
	return low + (h-float64(below))*(high-low)
}

// Box is a box plot.
type Box struct {
	Size               int
	Min, Max           int
	Lower, Upper       int // ends of the whiskers
	Q1, Median, Q3     float64
	BelowLow, AboveTop int // observations beyond the whiskers
}

// BoxPlot returns the box plot of a sample that is not empty. The box is of quartiles as in Quantiles;
// each whisker ends at the last observation within 1.5 times the length of the box: J. W. Tukey,
// Exploratory Data Analysis (1977), section 2D. It reports false for an empty sample.
func BoxPlot(s Sample) (Box, bool) {
	values, upTo := s.cumulative()
	if len(values) == 0 {
		return Box{}, false
	}
	b := Box{Size: upTo[len(upTo)-1], Min: values[0], Max: values[len(values)-1]}
	b.Q1, b.Median, b.Q3 = quantile(values, upTo, 0.25), quantile(values, upTo, 0.5), quantile(values, upTo, 0.75)
	reach := 1.5 * (b.Q3 - b.Q1)
	first := slices.IndexFunc(values, func(v int) bool { return float64(v) >= b.Q1-reach })
	last := len(values) - 1
	for float64(values[last]) > b.Q3+reach {
		last--
	}
	b.Lower, b.Upper = values[first], values[last]
	if first > 0 {
		b.BelowLow = upTo[first-1]
	}
	b.AboveTop = b.Size - upTo[last]
	return b, true
}

// Step is one step of a survival curve.
type Step struct {
	Time int
	// AtRisk are those who are observed until Time or longer without an event before it.
	AtRisk, Events, Censored int
	// Survival is the share without an event up to and including Time. StdErr is its standard error.
	Survival, StdErr float64
	// Interval is a pointwise confidence interval of Survival; it is not defined where Survival is 0 or 1.
	Interval
}

// KaplanMeier returns the survival curve of a sample of times to an event, and of times at which the
// observation ended without one, with a step for each time. Who is censored at the time of an event is
// at risk of it. Sources: E. L. Kaplan and P. Meier, Nonparametric estimation from incomplete
// observations, JASA 53 (1958) 457-481; standard error: M. Greenwood, The natural duration of cancer
// (1926); interval by the transformation log(-log(S)): J. D. Kalbfleisch and R. L. Prentice, The
// Statistical Analysis of Failure Time Data (1980), section 1.3. The StdErr of a Survival of 0 is NaN.
func KaplanMeier(events, censored Sample, confidence float64) []Step {
	both := make(Sample, len(events)+len(censored))
	both.Merge(events)
	both.Merge(censored)
	steps := make([]Step, 0, len(both))
	z, atRisk, survival, sum := normal(confidence), both.Size(), 1.0, 0.0
	for _, time := range slices.Sorted(maps.Keys(both)) {
		s := Step{Time: time, AtRisk: atRisk, Events: events[time], Censored: censored[time], Interval: undefined()}
		n, d := float64(s.AtRisk), float64(s.Events)
		survival *= (n - d) / n
		sum += d / (n * (n - d)) // infinite where survival becomes 0
		s.Survival, s.StdErr = survival, survival*math.Sqrt(sum)
		if survival > 0 && survival < 1 {
			spread := math.Exp(z * math.Sqrt(sum) / -math.Log(survival))
			s.Interval = Interval{math.Pow(survival, spread), math.Pow(survival, 1/spread)}
		}
		steps = append(steps, s)
		atRisk -= s.Events + s.Censored
	}
	return steps
}

// At returns the last step of a curve up to a time, and false before the first.
func At(curve []Step, time int) (Step, bool) {
	i, found := slices.BinarySearchFunc(curve, time, func(s Step, time int) int { return cmp.Compare(s.Time, time) })
	if !found {
		i--
	}
	if i < 0 {
		return Step{}, false
	}
	return curve[i], true
}

// Time is a point in time that a curve may not reach.
type Time struct {
	Value   int
	Reached bool
}

// SurvivalQuantile returns the first time at which at most the share of 1-p has had no event: p = 0.5 is the
// median. lower and upper are its confidence interval, by R. Brookmeyer and J. Crowley, A confidence
// interval for the median survival time, Biometrics 38 (1982) 29-41: where the bounds of the curve
// reach that share.
func SurvivalQuantile(curve []Step, p float64) (time, lower, upper Time) {
	// Products of shares such as 20/21 are off by rounding.
	const rounding = 1e-9
	first := func(of func(Step) float64) Time {
		for _, s := range curve {
			if of(s) <= 1-p+rounding {
				return Time{s.Time, true}
			}
		}
		return Time{}
	}
	return first(func(s Step) float64 { return s.Survival }),
		first(func(s Step) float64 { return s.Lower }), first(func(s Step) float64 { return s.Upper })
}
