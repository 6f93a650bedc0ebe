package lease_test

import (
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/lease"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTerm(t *testing.T) {
	t.Parallel()
	term := lease.Term(15 * time.Second)
	if got := term.Heartbeat(); got != 5*time.Second {
		t.Errorf("heartbeat every %s, want 5s", got)
	}
	if got := term.Validity(); got != 12*time.Second {
		t.Errorf("valid for %s, want 12s", got)
	}
}

func TestClockExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := lease.NewClock(lease.Term(15*time.Second), time.Now())
		time.Sleep(12 * time.Second)
		if !clock.Valid() {
			t.Error("expired too early")
		}
		clock.Renewed(time.Now())
		time.Sleep(12 * time.Second)
		if !clock.Valid() {
			t.Error("expired although it was renewed")
		}
		time.Sleep(time.Second)
		clock.Renewed(time.Now()) // of a process that was frozen: another one may own the right
		if clock.Valid() {
			t.Error("an expired right was renewed")
		}
	})
}

func TestClockCountsFromRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requestedAt := time.Now()
		time.Sleep(13 * time.Second) // the process was frozen before the response came
		if lease.NewClock(lease.Term(15*time.Second), requestedAt).Valid() {
			t.Error("a right that was delivered late is valid")
		}
	})
}

func TestRenewalsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		renewals := lease.NewRenewals(lease.Term(15 * time.Second))
		if renewals.Expired("a", 7) {
			t.Error("expired at once")
		}
		time.Sleep(16 * time.Second)
		if !renewals.Expired("a", 7) {
			t.Error("not expired after its time")
		}
		if renewals.Expired("a", 8) {
			t.Error("expired although it was renewed")
		}
	})
}
