package reporter

import (
	"math"
	"time"
)

// stopwatch adds up how long a run was worked on, by the monotonic clock of each process that
// reported it.
type stopwatch struct {
	now       func() time.Time
	earlier   time.Duration
	startedAt time.Time
}

// resume continues from the stored seconds, unless this process has measured more.
func (s *stopwatch) resume(stored float64) {
	if before := seconds(stored); s.startedAt.IsZero() || before > s.elapsed() {
		s.earlier, s.startedAt = before, s.now()
	}
}

// elapsed is how long the run has been worked on.
func (s *stopwatch) elapsed() time.Duration {
	if s.startedAt.IsZero() {
		return s.earlier
	}
	return s.earlier + s.now().Sub(s.startedAt)
}

// keyExpiry is how long the bucket fetchers keeps a key that is not renewed.
const keyExpiry = 15 * time.Second

// renewals tracks by the monotonic clock whether keys of the bucket fetchers are renewed. The
// server expires them by the wall clock, and keeps them longer after that was set back.
type renewals map[string]renewal

// renewal is the last revision seen of a key, and when it was first seen.
type renewal struct {
	revision uint64
	seen     time.Time
}

// expired reports whether a key that has this revision now was not renewed for keyExpiry.
func (s renewals) expired(key string, revision uint64) bool {
	last := s[key]
	if last.revision != revision {
		last = renewal{revision, time.Now()}
		s[key] = last
	}
	return time.Since(last.seen) > keyExpiry
}

// seconds converts n seconds to the nearest nanosecond. For durations of up to 50 days it is the
// inverse of Duration.Seconds.
func seconds(n float64) time.Duration { return time.Duration(math.Round(n * float64(time.Second))) }

// latest returns the latest of the times.
func latest(times ...time.Time) (last time.Time) {
	for _, at := range times {
		if at.After(last) {
			last = at
		}
	}
	return last
}
