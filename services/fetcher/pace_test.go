package fetcher_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/services/fetcher"

	"pgregory.net/rapid"
)

func TestPauseKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "min"))
		pace := fetcher.Pace{Min: least, Max: least + time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "spread"))}
		got := pace.Pause(1, rapid.Float64Range(0, 0.999999).Draw(t, "draw"))
		if got < pace.Min || got > max(pace.Max, pace.Min+pace.Min/100) {
			t.Fatalf("%v outside of %v..%v", got, pace.Min, pace.Max)
		}
	})
}

// begin waits for a turn and uses it at once.
func begin(ctx context.Context, pacer *fetcher.Pacer, underWay bool, hold func() time.Duration) (time.Duration, error) {
	gap, started, err := pacer.Wait(ctx, underWay, hold)
	if err == nil {
		started()
	}
	return gap, err
}

// A night of 8 hours, with more askers than the site gets requests.
func TestManyAskersShareOnePace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pace := fetcher.Pace{Min: 3 * time.Second, Max: 6 * time.Second}
		pacer := fetcher.NewPacer(pace)
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Hour)
		defer cancel()
		var mu sync.Mutex
		var starts []time.Time
		var askers sync.WaitGroup
		for range 16 {
			askers.Go(func() {
				for {
					if _, err := begin(ctx, pacer, false, nil); err != nil {
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

func TestFirstRequestWaitsOnePause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		pacer := fetcher.NewPacer(fetcher.Pace{Min: time.Second, Max: time.Second})
		gap, err := begin(t.Context(), pacer, false, nil)
		if err != nil || gap != 0 || time.Since(began) < time.Second {
			t.Errorf("gap %v after %v, %v", gap, time.Since(began), err)
		}
		gap, err = begin(t.Context(), pacer, false, nil)
		if err != nil || gap < time.Second {
			t.Errorf("second gap %v, %v", gap, err)
		}
	})
}

func TestGivingUpUsesNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := fetcher.NewPacer(fetcher.Pace{Min: time.Minute, Max: time.Minute})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := begin(ctx, pacer, false, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, want a deadline", err)
		}
		if _, err := begin(t.Context(), pacer, false, nil); err != nil || time.Since(began) > 61*time.Second {
			t.Errorf("the next one waited %v, %v", time.Since(began), err)
		}
	})
}

func TestRestIsTakenAfterSoManyRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := fetcher.NewPacer(fetcher.Pace{RestEvery: 3, RestFor: time.Minute})
		var rests []int
		for i := range 9 {
			gap, err := begin(t.Context(), pacer, false, nil)
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

func TestThePauseBeginsWhenTheRequestHasLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := fetcher.NewPacer(fetcher.Pace{Min: time.Second, Max: time.Second})
		_, started, err := pacer.Wait(t.Context(), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Minute, started)
		begun := time.Now()
		if _, err := begin(t.Context(), pacer, false, nil); err != nil || time.Since(begun) < 61*time.Second {
			t.Errorf("the next request came after %s, %v", time.Since(begun), err)
		}
	})
}

func TestNobodyAsksWhileTheSiteIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := fetcher.NewPacer(fetcher.Pace{Min: time.Second, Max: time.Second})
		until := time.Now().Add(time.Hour)
		extended := false
		hold := func() time.Duration {
			if left := time.Until(until); left > 0 || extended {
				return left
			}
			extended = true // trouble came while the wait went on
			until = until.Add(time.Minute)
			return time.Until(until)
		}
		began := time.Now()
		if _, err := begin(t.Context(), pacer, false, hold); err != nil || time.Since(began) != 61*time.Minute {
			t.Errorf("asked after %s, %v; want 1h1m", time.Since(began), err)
		}
	})
}

func TestCasesUnderWayGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pacer := fetcher.NewPacer(fetcher.Pace{Min: time.Second, Max: time.Second})
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if _, err := begin(t.Context(), pacer, false, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if _, err := begin(t.Context(), pacer, true, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a case under way waited %s behind those that had not begun", took)
		}
		waiting.Wait()
	})
}
