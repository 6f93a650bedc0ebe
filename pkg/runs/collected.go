package runs

import (
	"context"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// EachOutcome hands every key of a bucket of outcomes (collected, failed) that is of this site, series and year to each. What is
// no case's key, or another site's, is left alone: a case of the pretend court says nothing about a real one. A value that cannot
// be read is ErrUnreadable: left out, it would have the case asked for again without a word.
func EachOutcome(ctx context.Context, b *bus.Bus, bucket, site, series, year string, each func(number int, value contract.Collected)) error {
	return b.Scan(ctx, bus.Keys{Bucket: bucket, Filters: []string{series + "." + year + ".*"}}, func(entry jetstream.KeyValueEntry) error {
		id, err := contract.ParseKey(entry.Key())
		if err != nil {
			return nil
		}
		value, err := Decode[contract.Collected](entry.Key(), entry.Value())
		if err != nil {
			return fmt.Errorf("reading bucket %s: %w", bucket, err)
		}
		if value.AppliesTo(site) {
			each(id.Number, value)
		}
		return nil
	})
}
