package classifier_test

import (
	"testing"
	"time"

	"fct-scraper/services/classifier"

	"pgregory.net/rapid"
)

func TestBackoffDelayDeterministic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := classifier.Backoff{Base: 2 * time.Second, Factor: 2, Max: time.Minute}
		n := rapid.IntRange(1, 20).Draw(t, "n")
		number := rapid.IntRange(1, 99999).Draw(t, "number")
		got, least := policy.Delay("run", number, n), min(time.Second<<(n-1), policy.Max/2)
		if got < least || got > 2*least {
			t.Fatalf("%s outside of the upper half of %s", got, 2*least)
		}
		if again := policy.Delay("run", number, n); again != got {
			t.Fatalf("%s, then %s", got, again)
		}
	})
}

func TestBackoffJitterIsSpread(t *testing.T) {
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
