package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestPauseBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "min"))
		spread := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "spread"))
		pace := Pace{Min: least, Max: least + spread}
		got := pace.pause(1, rapid.Float64Range(0, 0.999999).Draw(t, "draw"))
		if got < pace.Min || got > max(pace.Max, pace.Min+pace.Min/100) {
			t.Fatalf("%v outside of %v..%v", got, pace.Min, pace.Max)
		}
	})
}

// waitAndStart waits for a permit and uses it at once.
func waitAndStart(
	ctx context.Context, pacer *pacer, started bool, hold func() time.Duration,
) (time.Duration, error) {
	permit, err := pacer.wait(ctx, started, func() (time.Duration, string) {
		if hold == nil {
			return 0, ""
		}
		return hold(), "trouble"
	})
	if err == nil {
		permit.Started()
	}
	return permit.Gap, err
}

// TestPacerSharedByManyGoroutines checks a night of 8 hours with more callers than the site gets
// requests.
func TestPacerSharedByManyGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace := Pace{Min: 3 * time.Second, Max: 6 * time.Second}
		pacer := newPacer(pace)
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Hour)
		defer cancel()
		var mu sync.Mutex
		var starts []time.Time
		var askers sync.WaitGroup
		for range 16 {
			askers.Go(func() {
				for {
					if _, err := waitAndStart(ctx, pacer, false, nil); err != nil {
						return
					}
					mu.Lock()
					starts = append(starts, time.Now())
					mu.Unlock()
				}
			})
		}
		askers.Wait()
		for i := 1; i < len(starts); i++ {
			if gap := starts[i].Sub(starts[i-1]); gap < pace.Min || gap > pace.Max {
				t.Fatalf("gap %d is %v", i, gap)
			}
		}
		if allowed := int(8 * time.Hour / (4500 * time.Millisecond)); len(starts) < allowed*98/100 {
			t.Errorf("%d requests of the %d that the pace allows", len(starts), allowed)
		}
	})
}

func TestPacerFirstRequestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		pacer := newPacer(Pace{Min: time.Second, Max: time.Second})
		gap, err := waitAndStart(t.Context(), pacer, false, nil)
		if err != nil || gap != 0 || time.Since(began) < time.Second {
			t.Errorf("gap %v after %v, %v", gap, time.Since(began), err)
		}
		gap, err = waitAndStart(t.Context(), pacer, false, nil)
		if err != nil || gap < time.Second {
			t.Errorf("second gap %v, %v", gap, err)
		}
	})
}

func TestPacerCancelUsesNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := newPacer(Pace{Min: time.Minute, Max: time.Minute})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := waitAndStart(ctx, pacer, false, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, want a deadline", err)
		}
		if _, err := waitAndStart(t.Context(), pacer, false, nil); err != nil || time.Since(began) > 61*time.Second {
			t.Errorf("the next request waited %v, %v", time.Since(began), err)
		}
	})
}

func TestPacerRestsAfterRestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := newPacer(Pace{RestEvery: 3, RestFor: time.Minute})
		var rests []int
		for i := range 9 {
			gap, err := waitAndStart(t.Context(), pacer, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if gap >= time.Minute {
				rests = append(rests, i)
			}
		}
		if want := []int{3, 6}; !slices.Equal(rests, want) {
			t.Errorf("rests before requests %v, want %v", rests, want)
		}
	})
}

func TestPacerPauseStartsWhenRequestSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := newPacer(Pace{Min: time.Second, Max: time.Second})
		permit, err := pacer.wait(t.Context(), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, permit.Started)
		start := time.Now()
		if _, err := waitAndStart(t.Context(), pacer, false, nil); err != nil || time.Since(start) < 61*time.Second {
			t.Errorf("the next request came after %s, %v", time.Since(start), err)
		}
	})
}

func TestPacerObeysHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := newPacer(Pace{Min: time.Second, Max: time.Second})
		until := time.Now().Add(time.Hour)
		extended := false
		hold := func() time.Duration {
			if left := time.Until(until); left > 0 || extended {
				return left
			}
			extended = true // the site gets into trouble during the wait
			until = until.Add(time.Minute)
			return time.Until(until)
		}
		began := time.Now()
		if _, err := waitAndStart(t.Context(), pacer, false, hold); err != nil || time.Since(began) != 61*time.Minute {
			t.Errorf("request after %s, %v; want 1h1m", time.Since(began), err)
		}
	})
}

func TestPacerPrefersStartedCases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := newPacer(Pace{Min: time.Second, Max: time.Second})
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if _, err := waitAndStart(t.Context(), pacer, false, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if _, err := waitAndStart(t.Context(), pacer, true, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a case under way waited %s behind cases that had not started", took)
		}
		waiting.Wait()
	})
}

// TestPacerReportsLongWaits checks that a rest, quiet hours and trouble of the site are reported
// with their ends, and that the configured pause is not.
func TestPacerReportsLongWaits(t *testing.T) {
	t.Parallel()
	// A synctest bubble starts at midnight UTC; Hours are local.
	local := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Local()
	midnight := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute
	night := Hours{From: midnight, To: (midnight + 6*time.Hour) % (24 * time.Hour)}
	for name, c := range map[string]struct {
		pace Pace
		// held is for how long the site is in trouble.
		held   time.Duration
		reason string
		// waited and slowed are what the second request was held for.
		waited, slowed time.Duration
	}{
		"a long pause":  {pace: Pace{Min: time.Minute, Max: time.Minute}},
		"a short rest":  {pace: Pace{RestEvery: 1, RestFor: 4 * time.Second}},
		"a rest":        {Pace{RestEvery: 1, RestFor: time.Minute}, 0, "rest after 1 request", time.Minute, 0},
		"short trouble": {held: 4 * time.Second, slowed: 4 * time.Second},
		"trouble":       {held: time.Hour, reason: "trouble", waited: time.Hour, slowed: time.Hour},
		"quiet hours":   {pace: Pace{Quiet: night}, reason: "quiet hours", waited: 6 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pacer := newPacer(c.pace)
				until := time.Now().Add(c.held)
				hold := func() (time.Duration, string) { return time.Until(until), "trouble" }
				if c.held == 0 {
					hold = nil
				}
				if c.pace.RestEvery > 0 { // a rest comes after a request
					if _, err := waitAndStart(t.Context(), pacer, false, nil); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				var permit sendPermit
				done := make(chan error)
				go func() {
					var err error
					permit, err = pacer.wait(t.Context(), false, hold)
					done <- err
				}()
				synctest.Wait()
				reported := pacer.currentWait.Load()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				permit.Started()
				switch {
				case (reported != nil) != (c.reason != ""):
					t.Errorf("reported %v, want %q", reported, c.reason)
				case reported != nil && (reported.Reason != c.reason ||
					reported.Until.Sub(start).Round(time.Second) != c.waited):
					t.Errorf("reported %q for %s, want %q for %s", reported.Reason, reported.Until.Sub(start),
						c.reason, c.waited)
				}
				if permit.Waited.Round(time.Second) != c.waited || permit.Slowed.Round(time.Second) != c.slowed {
					t.Errorf("waited %s, slowed %s; want %s and %s", permit.Waited, permit.Slowed, c.waited, c.slowed)
				}
				if pacer.currentWait.Load() != nil {
					t.Error("the wait is still reported after its end")
				}
			})
		})
	}
}

func TestHoursLeft(t *testing.T) {
	t.Parallel()
	night := Hours{From: 22 * time.Hour, To: 6 * time.Hour}
	office := Hours{From: 9 * time.Hour, To: 17*time.Hour + 30*time.Minute}
	for _, test := range []struct {
		hours Hours
		at    string
		want  time.Duration
	}{
		{Hours{}, "03:00:00", 0},
		{night, "21:59:59", 0},
		{night, "22:00:00", 8 * time.Hour},
		{night, "23:59:59", 6*time.Hour + time.Second},
		{night, "00:00:00", 6 * time.Hour},
		{night, "05:59:59", time.Second},
		{night, "06:00:00", 0},
		{office, "08:59:59", 0},
		{office, "09:00:00", 8*time.Hour + 30*time.Minute},
		{office, "17:29:59", time.Second},
		{office, "17:30:00", 0},
	} {
		at, err := time.Parse("15:04:05", test.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := test.hours.left(at); got != test.want {
			t.Errorf("%v at %s: %s left, want %s", test.hours, test.at, got, test.want)
		}
	}
}
