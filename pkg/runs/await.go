package runs

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// errFound ends a watch that has found what it was for.
var errFound = errors.New("found")

// Await returns the first JSON value of a key of the runs that is good, the one that is there at the start included. It waits
// until ctx ends, which is its cause as the error.
func Await[T any](ctx context.Context, b *bus.Bus, key string, good func(T) bool) (T, error) {
	var found T
	err := b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{key}}, func(entry jetstream.KeyValueEntry) error {
		if entry == nil || entry.Operation() != jetstream.KeyValuePut {
			return nil
		}
		value, err := Decode[T](key, entry.Value())
		if err != nil {
			return err
		}
		if good(value) {
			found = value
			return errFound
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return found, nil
	case ctx.Err() != nil:
		return found, context.Cause(ctx)
	default:
		return found, fmt.Errorf("waiting for %s: %w", key, err)
	}
}
