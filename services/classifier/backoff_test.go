package classifier_test

import (
	"math"
	"testing"
	"time"

	"fct-scraper/services/classifier"

	"pgregory.net/rapid"
)

func TestDelayLiesInTheUpperHalfAndUnderTheCap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := classifier.Backoff{
			Base:   time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "base")),
			Factor: rapid.Float64Range(1, 10).Draw(t, "factor"),
			Max:    time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "max")),
		}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		number := rapid.IntRange(1, 99999).Draw(t, "number")
		whole := math.Min(float64(policy.Base)*math.Pow(policy.Factor, float64(n-1)), float64(policy.Max))
		got := policy.Delay("run", number, n)
		if float64(got) < math.Floor(whole/2) || float64(got) > whole {
			t.Fatalf("%v outside of the upper half of %v", got, time.Duration(whole))
		}
		if again := policy.Delay("run", number, n); again != got {
			t.Fatalf("%v, then %v", got, again)
		}
	})
}

func TestDelaysOfNeighboursAreSpread(t *testing.T) {
	t.Parallel()
	policy := classifier.Backoff{Base: 2 * time.Second, Factor: 2, Max: time.Minute}
	const numbers, parts = 10_000, 10
	var count [parts]int
	for number := 1; number <= numbers; number++ {
		delay := policy.Delay("imm-25", number, 1)
		count[min(parts-1, int((delay-time.Second)*parts/time.Second))]++
	}
	for part, n := range count {
		if n < numbers/parts*8/10 || n > numbers/parts*12/10 {
			t.Errorf("tenth %d of the jitter holds %d of %d delays", part, n, numbers)
		}
	}
}

func TestHugePowersAreCapped(t *testing.T) {
	t.Parallel()
	policy := classifier.Backoff{Base: time.Hour, Factor: 1e300, Max: 5 * time.Minute}
	if got := policy.Delay("run", 1, 20); got < 150*time.Second || got > 5*time.Minute {
		t.Errorf("%v, want 2m30s to 5m", got)
	}
}
