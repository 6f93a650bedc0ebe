package reporter

import (
	"math"
	"time"
)

// stopwatch adds up how long a run was worked on, by the monotonic clock of each process that reported it.
type stopwatch struct {
	now       func() time.Time
	earlier   time.Duration
	startedAt time.Time
}

// resume goes on from what was stored, unless this process knows more.
func (s *stopwatch) resume(stored float64) {
	if before := seconds(stored); s.startedAt.IsZero() || before > s.elapsed() {
		s.earlier, s.startedAt = before, s.now()
	}
}

// elapsed is how long the run was worked on up to now.
func (s *stopwatch) elapsed() time.Duration {
	if s.startedAt.IsZero() {
		return s.earlier
	}
	return s.earlier + s.now().Sub(s.startedAt)
}

// keyExpiry is after how long without a renewal the bucket of fetchers forgets a key.
const keyExpiry = 15 * time.Second

// renewals notices by the monotonic clock that keys of the bucket of fetchers are not renewed any more. The server expires them by
// the wall clock, which keeps them longer after it was set back.
type renewals map[string]renewal

// renewal is the last value seen of a key, and when it was new.
type renewal struct {
	revision uint64
	seen     time.Time
}

// expired says whether a key, of which a revision is there now, was not renewed for too long.
func (s renewals) expired(key string, revision uint64) bool {
	last := s[key]
	if last.revision != revision {
		last = renewal{revision, time.Now()}
		s[key] = last
	}
	return time.Since(last.seen) > keyExpiry
}

// seconds is n seconds to the nearest nanosecond: of a Duration of up to 50 days, whose Seconds is n, it is that Duration.
func seconds(n float64) time.Duration { return time.Duration(math.Round(n * float64(time.Second))) }

// latest is the last of some instants.
func latest(times ...time.Time) (last time.Time) {
	for _, at := range times {
		if at.After(last) {
			last = at
		}
	}
	return last
}
