package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"fct-scraper/pkg/stats"
)

func near(got, want, by float64) bool {
	return math.IsNaN(got) && math.IsNaN(want) || math.Abs(got-want) <= by
}

// TestWilson_Newcombe compares with table I of R. G. Newcombe, Statistics in Medicine 17 (1998)
// 857-872, method 3, which is rounded to four places.
func TestWilson_Newcombe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		successes, n int
		lower, upper float64
	}{
		{81, 263, 0.2553, 0.3662},
		{15, 148, 0.0624, 0.1605},
		{0, 20, 0.0000, 0.1611},
		{1, 29, 0.0061, 0.1718},
	} {
		got := stats.Wilson(c.successes, c.n, 0.95)
		if !near(got.Lower, c.lower, 5e-5) || !near(got.Upper, c.upper, 5e-5) {
			t.Errorf("%d of %d: %.5f to %.5f, want %.4f to %.4f", c.successes, c.n, got.Lower, got.Upper, c.lower,
				c.upper)
		}
		mirrored := stats.Wilson(c.n-c.successes, c.n, 0.95)
		if !near(mirrored.Lower, 1-got.Upper, 1e-12) || !near(mirrored.Upper, 1-got.Lower, 1e-12) {
			t.Errorf("%d of %d: %v, want the mirror image of %v", c.n-c.successes, c.n, mirrored, got)
		}
	}
}

// TestWilson_InvertsScoreTest checks the definition: at each bound the score statistic is z.
func TestWilson_InvertsScoreTest(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 60; n++ {
		for successes := range n + 1 {
			p := float64(successes) / float64(n)
			got := stats.Wilson(successes, n, 0.95)
			for _, bound := range []float64{got.Lower, got.Upper} {
				if bound == p {
					continue // 0 or 1
				}
				z := math.Abs(p-bound) / math.Sqrt(bound*(1-bound)/float64(n))
				if !near(z, 1.959963984540054, 1e-9) {
					t.Fatalf("%d of %d: score %v at %v", successes, n, z, bound)
				}
			}
		}
	}
}

func TestWilson_NoTrials(t *testing.T) {
	t.Parallel()
	if got := stats.Wilson(0, 0, 0.95); !math.IsNaN(got.Lower) || !math.IsNaN(got.Upper) {
		t.Errorf("%v, want NaN", got)
	}
}

func sampleOf(values ...int) stats.Sample {
	s := stats.Sample{}
	for _, v := range values {
		s[v]++
	}
	return s
}

// horsepower is the column hp of the data set mtcars of R (Motor Trend, 1974).
func horsepower() stats.Sample {
	return sampleOf(110, 110, 93, 110, 175, 105, 245, 62, 95, 123, 123, 180, 180, 180, 205, 215, 230, 66, 52, 65, 97,
		150, 150, 245,
		175, 66, 91, 113, 264, 175, 335, 109)
}

// TestQuantiles_Published compares with summary(mtcars) of R and with the examples in the help of
// Excel for PERCENTILE.INC and QUARTILE.INC.
func TestQuantiles_Published(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		sample  stats.Sample
		p, want []float64
	}{
		{"mtcars$hp", horsepower(), []float64{0, 0.25, 0.5, 0.75, 1}, []float64{52, 96.5, 123, 180, 335}},
		{"PERCENTILE.INC", sampleOf(1, 3, 2, 4), []float64{0.3}, []float64{1.9}},
		{"QUARTILE.INC", sampleOf(1, 2, 4, 7, 8, 9, 10, 12), []float64{0.25}, []float64{3.5}},
		{"one", sampleOf(7), []float64{0, 0.5, 1}, []float64{7, 7, 7}},
		{"empty", nil, []float64{0.5}, []float64{math.NaN()}},
	} {
		got := c.sample.Quantiles(c.p...)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return near(a, b, 1e-12) }) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestBoxPlot_Published compares with boxplot(mtcars$hp) of R: whiskers at 52 and 264, 335 beyond.
func TestBoxPlot_Published(t *testing.T) {
	t.Parallel()
	want := stats.Box{Size: 32, Min: 52, Max: 335, Lower: 52, Upper: 264, Q1: 96.5, Median: 123, Q3: 180, AboveTop: 1}
	if got, ok := stats.BoxPlot(horsepower()); !ok || got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	low := horsepower()
	low[-200] = 3
	if got, _ := stats.BoxPlot(low); got.BelowLow != 3 || got.Lower != 52 || got.Min != -200 {
		t.Errorf("with three far below: %+v", got)
	}
	if _, ok := stats.BoxPlot(stats.Sample{}); ok {
		t.Error("an empty sample has a box")
	}
}

// The remission times in weeks of E. J. Freireich and others, Blood 21 (1963) 699-716.
func sixMP() (events, censored stats.Sample) {
	return sampleOf(6, 6, 6, 7, 10, 13, 16, 22, 23), sampleOf(6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)
}

func placebo() stats.Sample {
	return sampleOf(1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)
}

// TestKaplanMeier_Leukaemia compares with the table that sts list of Stata prints for these data:
// survivor function, Greenwood's standard error and the log-log interval, rounded to four places. It
// is published in the course notes of G. Rodríguez, Survival Analysis, Princeton University.
func TestKaplanMeier_Leukaemia(t *testing.T) {
	t.Parallel()
	events, censored := sixMP()
	check(t, "6-MP", stats.KaplanMeier(events, censored, 0.95), []stats.Step{
		step(6, 21, 3, 1, 0.8571, 0.0764, 0.6197, 0.9516),
		step(7, 17, 1, 0, 0.8067, 0.0869, 0.5631, 0.9228),
		step(9, 16, 0, 1, 0.8067, 0.0869, 0.5631, 0.9228),
		step(10, 15, 1, 1, 0.7529, 0.0963, 0.5032, 0.8894),
		step(11, 13, 0, 1, 0.7529, 0.0963, 0.5032, 0.8894),
		step(13, 12, 1, 0, 0.6902, 0.1068, 0.4316, 0.8491),
		step(16, 11, 1, 0, 0.6275, 0.1141, 0.3675, 0.8049),
		step(22, 7, 1, 0, 0.5378, 0.1282, 0.2678, 0.7468),
		step(23, 6, 1, 0, 0.4482, 0.1346, 0.1881, 0.6801),
		step(35, 1, 0, 1, 0.4482, 0.1346, 0.1881, 0.6801),
	})
	check(t, "placebo", stats.KaplanMeier(placebo(), nil, 0.95), []stats.Step{
		step(1, 21, 2, 0, 0.9048, 0.0641, 0.6700, 0.9753),
		step(2, 19, 2, 0, 0.8095, 0.0857, 0.5689, 0.9239),
		step(8, 12, 4, 0, 0.3810, 0.1060, 0.1831, 0.5778),
		step(23, 1, 1, 0, 0, math.NaN(), math.NaN(), math.NaN()),
	})
}

// TestKaplanMeier_Myelogenous compares with summary(survfit(Surv(time, status) ~ 1, aml)) of R, as
// T. Therneau, its author, quotes it (s-news, November 2000). Data: R. G. Miller, Survival Analysis
// (1981), p. 49.
func TestKaplanMeier_Myelogenous(t *testing.T) {
	t.Parallel()
	events := sampleOf(9, 13, 18, 23, 31, 34, 48, 5, 5, 8, 8, 12, 23, 27, 30, 33, 43, 45)
	censored := sampleOf(13, 28, 45, 161, 16)
	curve := stats.KaplanMeier(events, censored, 0.95)
	for _, want := range []stats.Step{
		{Time: 5, AtRisk: 23, Events: 2, Survival: 0.9130, StdErr: 0.0588},
		{Time: 8, AtRisk: 21, Events: 2, Survival: 0.8261, StdErr: 0.0790},
		{Time: 9, AtRisk: 19, Events: 1, Survival: 0.7826, StdErr: 0.0860},
	} {
		got, _ := stats.At(curve, want.Time)
		if got.AtRisk != want.AtRisk || got.Events != want.Events || !near(got.Survival, want.Survival, 5e-5) ||
			!near(got.StdErr, want.StdErr, 5e-5) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if median, _, _ := stats.SurvivalQuantile(curve, 0.5); median != (stats.Time{27, true}) {
		t.Errorf("median %+v, want 27", median)
	}
}

func step(time, atRisk, events, censored int, survival, stdErr, lower, upper float64) stats.Step {
	return stats.Step{time, atRisk, events, censored, survival, stdErr, stats.Interval{lower, upper}}
}

func check(t *testing.T, name string, curve, want []stats.Step) {
	t.Helper()
	for _, w := range want {
		got, _ := stats.At(curve, w.Time)
		if got.Time != w.Time || got.AtRisk != w.AtRisk || got.Events != w.Events || got.Censored != w.Censored {
			t.Errorf("%s: %+v, want %+v", name, got, w)
		}
		if !near(got.Survival, w.Survival, 5e-5) || !near(got.StdErr, w.StdErr, 5e-5) ||
			!near(got.Lower, w.Lower, 5e-5) || !near(got.Upper, w.Upper, 5e-5) {
			t.Errorf("%s: %+v, want %+v", name, got, w)
		}
	}
}

// TestSurvivalQuantile_Published compares with stci of Stata: 23 weeks (13 to not reached) with 6-MP, 8 (4 to
// 11) with placebo.
func TestSurvivalQuantile_Published(t *testing.T) {
	t.Parallel()
	events, censored := sixMP()
	curve := stats.KaplanMeier(events, censored, 0.95)
	median, lower, upper := stats.SurvivalQuantile(curve, 0.5)
	if median != (stats.Time{23, true}) || lower != (stats.Time{13, true}) || upper.Reached {
		t.Errorf("6-MP: %v (%v to %v)", median, lower, upper)
	}
	if q, _, _ := stats.SurvivalQuantile(curve, 0.75); q.Reached {
		t.Errorf("6-MP: the time after which 25%% are left is %v, want not reached", q)
	}
	median, lower, upper = stats.SurvivalQuantile(stats.KaplanMeier(placebo(), nil, 0.95), 0.5)
	if median != (stats.Time{8, true}) || lower != (stats.Time{4, true}) || upper != (stats.Time{11, true}) {
		t.Errorf("placebo: %v (%v to %v)", median, lower, upper)
	}
	if median, _, _ := stats.SurvivalQuantile(nil, 0.5); median.Reached {
		t.Errorf("nobody: %v", median)
	}
}

// TestKaplanMeier_Uncensored checks the known identities without censoring: the survival is the
// share of longer times and its variance is that of a binomial share.
func TestKaplanMeier_Uncensored(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		events, n := stats.Sample{}, 1+random.IntN(300)
		for range n {
			events[random.IntN(40)]++
		}
		later := n
		for _, s := range stats.KaplanMeier(events, nil, 0.95) {
			later -= s.Events
			share := float64(later) / float64(n)
			if !near(s.Survival, share, 1e-9) {
				t.Fatalf("survival %v at %d, want %v", s.Survival, s.Time, share)
			}
			if later > 0 && !near(s.StdErr, math.Sqrt(share*(1-share)/float64(n)), 1e-9) {
				t.Fatalf("standard error %v at %d with %d of %d left", s.StdErr, s.Time, later, n)
			}
			if later > 0 && !(s.Lower > 0 && s.Lower < s.Survival && s.Survival < s.Upper && s.Upper < 1) {
				t.Fatalf("interval %v around %v", s.Interval, s.Survival)
			}
		}
	}
}
