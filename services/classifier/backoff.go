// Package classifier reads answers: what a site said of a case, and whether the case is to be tried again.
package classifier

import (
	"hash/fnv"
	"strconv"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// Backoff says how long a transient job waits before it is asked for again.
type Backoff delay.Exponential

// Delay is the wait before retry n (1 is the first) of a number of a run. The draw is a function of run, number
// and n, so an answer that is classified twice is to be retried at the same time both times.
func (b Backoff) Delay(run contract.RunID, number, n int) time.Duration {
	return delay.Exponential(b).Before(n, jitter(run, number, n))
}

// jitter is a number in [0, 1) that looks random and depends on its arguments alone.
func jitter(run contract.RunID, number, n int) float64 {
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
