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

// Abandon has nobody go on with any run that is not over: their ledger is not what it was. The same batch, started again, is a
// new run, which leaves out what is collected. All checkpoints go, because the places in the ledger that they name may be others' now.
func Abandon(ctx context.Context, b *bus.Bus, at time.Time) error {
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil {
		return err
	}
	stated, err := idsWithKey(ctx, b, ".state")
	if err != nil {
		return err
	}
	for _, run := range stated {
		if err := abandon(ctx, kv, run, at); err != nil {
			return fmt.Errorf("abandoning run %s: %w", run, err)
		}
	}
	return nil
}

func abandon(ctx context.Context, kv jetstream.KeyValue, run contract.RunID, at time.Time) error {
	if err := kv.Delete(ctx, run.CheckpointKey()); err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return err
	}
	state, err := Get[contract.State](ctx, kv, run.StateKey())
	if errors.Is(err, ErrUnreadable) || err == nil && !state.Resumable() {
		return nil
	}
	if err != nil {
		return err
	}
	if state.Status == contract.Running {
		state.Status, state.At = contract.Stopped, at.UTC()
	}
	state.Superseded = true
	value, err := json.Marshal(state)
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, run.StateKey(), value)
	return err
}
