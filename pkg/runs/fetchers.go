package runs

import (
	"context"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// EachFetcher calls each with the key and the presence of every fetcher that works on a run. A presence that cannot be read
// is left out.
func EachFetcher(ctx context.Context, b *bus.Bus, run contract.RunID, each func(key string, p contract.Presence)) error {
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{run.FetcherKey("*")}}
	err := b.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		if presence, err := Decode[contract.Presence](entry.Key(), entry.Value()); err == nil {
			each(entry.Key(), presence)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for fetchers of %s: %w", run, err)
	}
	return nil
}
