package limit

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

var noon = time.Date(2025, 3, 4, 12, 0, 0, 0, time.UTC)

var doubling = Backoff{Base: 2 * time.Second, Factor: 2, Max: 5 * time.Minute}

// exchangeAt returns an exchange that started at a time.
func exchangeAt(at time.Time, status int) contract.Exchange {
	return contract.Exchange{StartedAt: at, Status: status}
}

func TestBackoffLevelFollowsFailures(t *testing.T) {
	t.Parallel()
	var s contract.SiteSlowdown
	at := noon
	for i, want := range []int{0, 0, 1, 2, 3, 4} {
		at = at.Add(time.Minute)
		s, _ = doubling.after(s, exchangeAt(at.Add(-time.Second), 503), false, 0, at, 0.999999)
		if s.Level != want {
			t.Fatalf("level %d after %d failures, want %d", s.Level, i+1, want)
		}
		if wait := s.Until.Sub(at); want > 0 &&
			(wait < (time.Second<<want)-time.Millisecond || wait > time.Second<<want) {
			t.Errorf("level %d waits %s, want %s", want, wait, time.Second<<want)
		}
	}
	for want := 3; want >= 0; want-- {
		at = at.Add(time.Minute)
		s, _ = doubling.after(s, exchangeAt(at.Add(-time.Second), 200), false, 0, at, 0)
		if s.Level != want || s.Streak != 0 {
			t.Fatalf("level %d, streak %d after a clean answer, want %d and 0", s.Level, s.Streak, want)
		}
	}
	if _, changed := doubling.after(s, exchangeAt(at, 404), false, 0, at, 0); changed {
		t.Error("a clean answer without a slowdown changed something")
	}
}

func TestBackoffRetriesKeepLevel(t *testing.T) {
	t.Parallel()
	var s contract.SiteSlowdown
	at := noon
	fail := func(retry bool) bool {
		at = at.Add(time.Minute)
		var changed bool
		s, changed = doubling.after(s, exchangeAt(at.Add(-time.Second), 503), retry, 0, at, 0.999999)
		return changed
	}
	for range 20 {
		if fail(true) || s.Level != 0 || s.Streak != 0 {
			t.Fatalf("retries alone changed something: %+v", s)
		}
	}
	for range 4 { // two are tolerated
		fail(false)
	}
	for range 20 {
		if !fail(true) || s.Level != 2 {
			t.Fatalf("level %d after a retry, want 2", s.Level)
		}
		if wait := s.Until.Sub(at); wait < 4*time.Second-time.Millisecond || wait > 4*time.Second {
			t.Fatalf("a retry at level 2 waits %s, want 4s", wait)
		}
	}
}

func TestBackoffConcurrentFailuresCountOnce(t *testing.T) {
	t.Parallel()
	var s contract.SiteSlowdown
	for i := range 16 {
		s, _ = doubling.after(s, contract.Exchange{StartedAt: noon, Error: "connection reset"}, false, 0,
			noon.Add(time.Duration(i)*time.Millisecond), 0.5)
	}
	if s.Level != 1 || s.Streak != 16 {
		t.Errorf("level %d, streak %d; want 1 and 16", s.Level, s.Streak)
	}
}

func TestBackoffObeysRetryAfter(t *testing.T) {
	t.Parallel()
	s, changed := doubling.after(contract.SiteSlowdown{}, exchangeAt(noon, 503), false, 90*time.Second, noon, 0)
	if !changed || s.Level != 0 || !s.Until.Equal(noon.Add(90*time.Second)) {
		t.Errorf("%+v, changed: %t", s, changed)
	}
	s, _ = doubling.after(s, exchangeAt(noon, 503), false, time.Second, noon.Add(time.Second), 0)
	if !s.Until.Equal(noon.Add(90 * time.Second)) {
		t.Errorf("a shorter wait replaced the longer one: %s", s.Until)
	}
}

func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		backoff := Backoff{
			Base:   time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "base")),
			Factor: rapid.Float64Range(1, 10).Draw(t, "factor"),
			Max:    time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "max")),
		}
		var s contract.SiteSlowdown
		at := noon
		for range rapid.IntRange(1, 200).Draw(t, "answers") {
			at = at.Add(time.Second)
			before := s
			status := rapid.SampledFrom([]int{200, 404, 500, 503, 0}).Draw(t, "status")
			x := exchangeAt(at, status)
			if status == 0 {
				x.Error = "timeout"
			}
			s, _ = backoff.after(s, x, false, 0, at, rapid.Float64Range(0, 0.999999).Draw(t, "draw"))
			if s.Level < 0 || s.Level > before.Level+1 || s.Level < before.Level-1 {
				t.Fatalf("level %d after %d", s.Level, before.Level)
			}
			if s.Until.Sub(at) > max(backoff.Max, before.Until.Sub(at)) {
				t.Fatalf("waits %s, at most %s is allowed", s.Until.Sub(at), backoff.Max)
			}
		}
	})
}
