package delay_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/delay"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSleep_Duration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := delay.Sleep(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("waited %s, want 1h", took)
		}
	})
}

func TestSleep_ContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, gone)
		defer cancel()
		began := time.Now()
		if err := delay.Sleep(ctx, time.Hour); !errors.Is(err, gone) {
			t.Errorf("got %v, want the cause", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("waited %s, want 1m", took)
		}
		if err := delay.Sleep(ctx, 0); !errors.Is(err, gone) {
			t.Errorf("no time at all: got %v, want the cause", err)
		}
	})
}

func TestSleep_NotPositive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for _, d := range []time.Duration{0, -time.Hour} {
			if err := delay.Sleep(t.Context(), d); err != nil || !time.Now().Equal(began) {
				t.Errorf("%s: waited %s, %v", d, time.Since(began), err)
			}
		}
	})
}

func TestEvery_Stop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, did := time.Now(), []time.Duration{}
		stop := delay.Every(time.Minute, func() {
			did = append(did, time.Since(began))
			time.Sleep(time.Second)
		})
		time.Sleep(3 * time.Minute)
		synctest.Wait() // the third has begun
		stop()
		if took := time.Since(began); took != 3*time.Minute+time.Second {
			t.Errorf("stopped after %s, want the third to be done", took)
		}
		time.Sleep(time.Hour)
		if want := []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Minute}; !slices.Equal(did, want) {
			t.Errorf("done at %v, want %v", did, want)
		}
	})
}

// anyBackoff is one that settings allow, and some that they do not.
func anyBackoff(t *rapid.T) delay.Exponential {
	return delay.Exponential{
		Base:   time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "base")),
		Factor: rapid.Float64Range(1, math.MaxFloat64).Draw(t, "factor"),
		Max:    time.Duration(rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "max")),
	}
}

func TestExponential_UpperHalfUnderCap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		backoff := delay.Exponential{
			Base:   time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "base")),
			Factor: rapid.Float64Range(1, 10).Draw(t, "factor"),
			Max:    time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "max")),
		}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		whole := float64(backoff.Base)
		for range n - 1 { // by steps, not by the formula
			whole = min(whole*backoff.Factor, float64(backoff.Max))
		}
		whole = min(whole, float64(backoff.Max))
		got := float64(backoff.Before(n, rapid.Float64Range(0, 0.999999).Draw(t, "draw")))
		if got < whole/2-1-whole*1e-9 || got > whole+1 {
			t.Fatalf("%v outside of the upper half of %v", time.Duration(got), time.Duration(whole))
		}
	})
}

func TestExponential_NoOverflow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		backoff := anyBackoff(t)
		n := rapid.IntRange(math.MinInt, math.MaxInt).Draw(t, "n")
		got := backoff.Before(n, rapid.Float64Range(0, 0.999999).Draw(t, "draw"))
		if got < 0 || got > backoff.Max {
			t.Fatalf("waits %d, at most %d is allowed", got, backoff.Max)
		}
		if (n <= 0 || backoff.Base == 0) && got != 0 {
			t.Fatalf("waits %s before try %d from a base of %s", got, n, backoff.Base)
		}
	})
}

func TestExponential_Grows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		backoff, draw := anyBackoff(t), rapid.Float64Range(0, 0.999999).Draw(t, "draw")
		n := rapid.IntRange(0, 1000).Draw(t, "n")
		if one, next := backoff.Before(n, draw), backoff.Before(n+1, draw); next < one {
			t.Fatalf("waits %s before try %d, %s before the next", one, n, next)
		}
	})
}

func TestExponential_Doubles(t *testing.T) {
	t.Parallel()
	backoff := delay.Exponential{Base: 2 * time.Second, Factor: 2, Max: 30 * time.Second}
	for i, seconds := range []float64{0, 1, 2, 4, 8, 15, 15} {
		if got := backoff.Before(i, 0).Seconds(); got != seconds {
			t.Errorf("try %d: at least %v s, want %v", i, got, seconds)
		}
		if got := backoff.Before(i, 0.5).Seconds(); got != seconds*1.5 {
			t.Errorf("try %d: in the middle %v s, want %v", i, got, seconds*1.5)
		}
	}
}
