// Package classifier reads answers: what a site said of a case, and whether the case is to be tried again.
package classifier

import (
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"fct-scraper/pkg/contract"
)

// Backoff says how long a transient job waits before it is asked for again: Base·Factor^(n−1) before retry n,
// at most Max, drawn from the upper half of that ("full jitter on its upper half") so that many jobs that
// failed together do not come back together.
type Backoff struct {
	Base   time.Duration
	Factor float64
	Max    time.Duration
}

// Delay is the wait before retry n (1 is the first) of a number of a run. The draw is a function of run, number
// and n, so an answer that is classified twice is to be retried at the same time both times.
func (b Backoff) Delay(run contract.RunID, number, n int) time.Duration {
	whole := float64(b.Base) * math.Pow(b.Factor, float64(n-1))
	if limit := float64(b.Max); !(whole < limit) { // also when the power overflowed
		whole = limit
	}
	return time.Duration(whole/2 + whole/2*draw(run, number, n))
}

// draw is a number in [0, 1) that looks random and depends on its arguments alone.
func draw(run contract.RunID, number, n int) float64 {
	sum := fnv.New64a()
	// A hash never fails to take its input.
	_, _ = sum.Write([]byte(string(run) + "." + strconv.Itoa(number) + "." + strconv.Itoa(n)))
	// FNV leaves neighbours close to each other in the high bits; one round of the finalizer of
	// MurmurHash3 (fmix64) spreads them.
	x := sum.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}
