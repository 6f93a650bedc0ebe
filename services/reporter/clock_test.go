package reporter

import (
	"testing"
	"time"

	"fct-scraper/pkg/fcttest"
)

// A duration that a report stores in seconds must be the same when the report is rewritten.
func TestSecondsIsExact(t *testing.T) {
	t.Parallel()
	for want := time.Nanosecond; want < 50*24*time.Hour; want = want*17/16 + 1 {
		if got := seconds(want.Seconds()); got != want {
			t.Errorf("%d ns became %d ns", want, got)
		}
	}
}

func TestStopwatchAddsUp(t *testing.T) {
	t.Parallel()
	now := fcttest.StartTime()
	s := stopwatch{now: func() time.Time { return now }}
	s.resume(60)
	now = now.Add(time.Minute)
	s.resume(90) // the checkpoint of this process: nothing new
	if got := s.elapsed(); got != 2*time.Minute {
		t.Errorf("%s, want 2m", got)
	}
	s.resume(600) // another process has worked on the run since
	if got := s.elapsed(); got != 10*time.Minute {
		t.Errorf("%s, want 10m", got)
	}
}
