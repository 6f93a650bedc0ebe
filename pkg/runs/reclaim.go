package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// KilledReason is why a run is stopped that Reclaim found running.
const KilledReason = "the process that worked on it was killed"

// Reclaim marks every run as stopped that says it is running, and returns their ids. It is for a process that has just
// become the only one on a store: whoever worked on those runs was killed. A batch started again then goes on with its
// run, and the runs of other batches wait until theirs is. Jobs that had been delivered come again at once instead of after
// their ack-wait: the consumers that know of it are removed, and the start of a run makes its own anew.
func Reclaim(ctx context.Context, b *bus.Bus, at time.Time) ([]contract.RunID, error) {
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, err
	}
	stated, err := idsWithKey(ctx, b, ".state")
	if err != nil {
		return nil, err
	}
	var reclaimed []contract.RunID
	for _, run := range stated {
		was, err := reclaim(ctx, kv, run.StateKey(), at)
		if err == nil && was {
			reclaimed = append(reclaimed, run)
			err = b.JetStream().DeleteConsumer(ctx, contract.StreamJobs, run.ConsumerName())
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return reclaimed, fmt.Errorf("reclaiming run %s: %w", run, err)
		}
	}
	return reclaimed, nil
}

// reclaim says whether the state was running, and is now stopped.
func reclaim(ctx context.Context, kv jetstream.KeyValue, key string, at time.Time) (bool, error) {
	state, err := Get[contract.State](ctx, kv, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, ErrUnreadable) || err == nil && state.Status != contract.Running {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	state.Status, state.Reason, state.At = contract.Stopped, KilledReason, at.UTC()
	value, err := json.Marshal(state)
	if err != nil {
		return false, err
	}
	_, err = kv.Put(ctx, key, value)
	return err == nil, err
}
