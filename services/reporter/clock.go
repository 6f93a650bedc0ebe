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

// seconds converts n seconds to the nearest nanosecond. For durations of up to 50 days it is the
// inverse of Duration.Seconds.
func seconds(n float64) time.Duration { return time.Duration(math.Round(n * float64(time.Second))) }
