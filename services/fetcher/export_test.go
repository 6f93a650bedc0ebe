package fetcher

import (
	"context"

	"fct-scraper/pkg/bus"
)

// SharedPacer returns the pacer of a fetcher that shares a site with other processes.
func SharedPacer(ctx context.Context, b *bus.Bus, site string, pace Pace) (*Pacer, error) {
	s := &Service{Options: Options{Bus: b, SiteName: site, Pace: pace, Concurrency: 1}, pacer: NewPacer(pace),
		inFlightLimit: newInFlightLimit(1)}
	return s.pacer, s.createSharedPools(ctx)
}
