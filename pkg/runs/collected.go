package runs

import (
	"context"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// EachKey hands every key of a bucket of outcomes (collected, failed) that is of this site, series and year to each. What is
// no case's key, or another site's, is left alone: a case of the pretend court says nothing about a real one. A value that cannot
// be read is ErrUnreadable: left out, it would have the case asked for again without a word.
func EachKey(ctx context.Context, b *bus.Bus, bucket, site, series, year string, each func(number int, value contract.Collected)) error {
	kv, err := b.KV(ctx, bucket)
	if err != nil {
		return err
	}
	watcher, err := kv.Watch(ctx, series+"."+year+".*", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("reading bucket %s: %w", bucket, err)
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, open := <-watcher.Updates():
			if !open {
				return fmt.Errorf("reading bucket %s: %w", bucket, nats.ErrConnectionClosed)
			}
			if entry == nil { // the end of what was there
				return nil
			}
			id, err := contract.ParseKey(entry.Key())
			if err != nil {
				continue
			}
			value, err := Decode[contract.Collected](entry.Key(), entry.Value())
			if err != nil {
				return fmt.Errorf("reading bucket %s: %w", bucket, err)
			}
			if value.Of(site) {
				each(id.Number, value)
			}
		}
	}
}
