package classifier

import (
	"hash/fnv"
	"strconv"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// Backoff computes the delay before a retry of a transient failure.
type Backoff delay.Exponential

// Delay returns the wait before retry n (1 is the first) of a number of a run. The jitter is a
// function of run, number and n, so an answer that is classified twice is retried at the same time.
func (b Backoff) Delay(run contract.RunID, number, n int) time.Duration {
	return delay.Exponential(b).Before(n, jitter(run, number, n))
}

// jitter returns a pseudorandom number in [0, 1) that depends only on its arguments.
func jitter(run contract.RunID, number, n int) float64 {
	sum := fnv.New64a()
	// Writing to a hash never fails.
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
