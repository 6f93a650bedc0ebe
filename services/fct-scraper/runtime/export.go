package runtime

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/export"
	"fct-scraper/services/reporter/snapshot"

	"github.com/nats-io/nats.go/jetstream"
)

// Export writes the selected numbers of the store as it is at the newest message of its ledger; nil
// selects all. It works beside a running batch and does not change the store. planned is called with
// the count of all numbers before any is written; it may be called again if the process that holds
// the store ends meanwhile.
func (p Process) Export(
	ctx context.Context, options *export.Options, selected func(export.Coverage) bool, planned func(numbers int),
) (result *export.Result, err error) {
	if err := options.Check(); err != nil {
		return nil, err
	}
	if err := checkStoreExists(p.Settings.Config); err != nil {
		return nil, fmt.Errorf("exporting: %w", err)
	}
	err = p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		if err := b.verify(ctx, p.Settings.Config, p.Log); err != nil {
			return err
		}
		taken, err := snapshot.Take(ctx, b.Bus)
		if err != nil {
			return err
		}
		planned(taken.Count())
		result, err = options.Run(ctx, taken.Source(selected))
		return err
	})
	switch {
	case err == nil, ctx.Err() != nil, IsOutputError(err), IsUsageError(err):
		return result, err
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%w: no run was ever started on this store: %w", ErrUsage, err)
	default:
		return nil, fmt.Errorf("%w: %w", ErrBroker, err)
	}
}
