package fetcher_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fetcher"
)

// TestTurnReleasedWhenHolderStops checks that a process that is stopped just when it gets the turn
// returns it. It used to renew the turn, and no process sent a request as long as that one lived.
func TestTurnReleasedWhenHolderStops(t *testing.T) {
	t.Parallel()
	pacer, err := fetcher.SharedPacer(t.Context(), fcttest.Broker(t), "sim",
		fetcher.Pace{Min: time.Millisecond, Max: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	checks := 0
	_, err = pacer.Wait(ctx, true, func() (time.Duration, string) {
		if checks++; checks == 2 { // the first check is before the turn is taken, the second after
			stop()
		}
		return 0, ""
	})
	if !errors.Is(err, context.Canceled) || checks < 2 {
		t.Fatalf("%v after %d checks, want to be stopped at the second", err, checks)
	}
	again, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	permit, err := pacer.Wait(again, true, nil)
	if err != nil {
		t.Fatalf("the turn was not delivered again: %v", err)
	}
	permit.Started()
}

// TestRunFailsWhenStoreIsSilent checks an unanswered publish, as in a cluster without a leader. It
// looks like an ended context. The fetcher must not take it for its own end: its process would stay
// up and send no requests.
func TestRunFailsWhenStoreIsSilent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	silent, err := bus.New(f.bus.Conn(), fcttest.Logger(t),
		bus.Options{PublishTimeout: time.Nanosecond, WaitForConnection: true})
	if err != nil {
		t.Fatal(err)
	}
	service, err := fetcher.New(t.Context(),
		fetcher.Options{Bus: silent, Log: fcttest.Logger(t), ID: "one", Site: f.site, SiteName: "sim", Concurrency: 8})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := service.Run(ctx); !errors.Is(err, bus.ErrStore) {
		t.Errorf("%v, want bus.ErrStore", err)
	}
}
