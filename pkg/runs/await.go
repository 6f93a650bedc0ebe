package runs

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Await returns the first JSON value of a key that is good, the one that is there at the start included. It waits until
// ctx ends, which is its cause as the error.
func Await[T any](ctx context.Context, kv jetstream.KeyValue, key string, good func(T) bool) (T, error) {
	var none T
	watcher, err := kv.Watch(ctx, key, jetstream.IgnoreDeletes())
	if err != nil {
		return none, fmt.Errorf("waiting for %s: %w", key, errors.Join(context.Cause(ctx), err))
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return none, context.Cause(ctx)
		case entry, open := <-watcher.Updates():
			if !open {
				return none, fmt.Errorf("waiting for %s: %w", key, errors.Join(context.Cause(ctx), nats.ErrConnectionClosed))
			}
			if entry == nil { // the end of what was there
				continue
			}
			value, err := Decode[T](key, entry.Value())
			if err != nil {
				return none, err
			}
			if good(value) {
				return value, nil
			}
		}
	}
}
