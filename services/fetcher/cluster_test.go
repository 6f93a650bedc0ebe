package fetcher_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fetcher"
)

// TestFetcherSurvivesLostMajority checks a fetcher on a cluster that loses its majority: Run ends
// with an error when answers cannot be stored. Run again, as the process does, it finishes the run
// when the other servers are back.
func TestFetcherSurvivesLostMajority(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	const jobs = 40
	servers, b := fcttest.Cluster(t, bus.Options{PublishTimeout: time.Second, WaitForConnection: true})
	f := newFixtureOn(t, b, jobs)
	var end context.CancelFunc
	f.site.answer = func(ctx context.Context, n int) (contract.Exchange, error) {
		switch total, _ := f.site.requests(); total {
		case 10:
			servers.Stop(1)
			servers.Stop(2)
		case jobs:
			end()
		}
		return okExchange(ctx, n)
	}
	run := func() error {
		opts := fetcher.Options{Bus: b, Log: fcttest.Logger(t), ID: "one", Site: f.site, SiteName: "sim",
			Concurrency: 1, Shared: true}
		service, err := fetcher.New(t.Context(), opts)
		if err != nil {
			return err
		}
		var ctx context.Context
		ctx, end = context.WithTimeout(t.Context(), 2*time.Minute)
		defer end()
		return service.Run(ctx)
	}
	if err := run(); !errors.Is(err, bus.ErrStore) {
		t.Fatalf("%v, want bus.ErrStore", err)
	}
	for i := 1; i <= 2; i++ {
		if err := servers.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	for f.t.Context().Err() == nil {
		if err := run(); err == nil {
			break
		}
	}
	if total, maxPerNumber := f.site.requests(); total < jobs || maxPerNumber > 2 {
		t.Errorf("%d requests for %d jobs, %d for one of them", total, jobs, maxPerNumber)
	}
}
