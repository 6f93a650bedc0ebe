package fetcher

import (
	"context"

	"fct-scraper/pkg/bus"
)

// SharedPacer is the pacer of a fetcher that is not alone at a site.
func SharedPacer(ctx context.Context, b *bus.Bus, site string, pace Pace) (*Pacer, error) {
	s := &Service{Options: Options{Bus: b, SiteName: site, Pace: pace, Concurrency: 1}, pacer: NewPacer(pace), inFlightLimit: newInFlightLimit(1)}
	return s.pacer, s.createSharedPools(ctx)
}
