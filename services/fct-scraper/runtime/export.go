package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/services/reporter/snapshot"

	"github.com/nats-io/nats.go/jetstream"
)

// Export writes the selected numbers of the store as it is at the newest message of its ledger; nil
// selects all. begin is called with the count of all numbers before any is written, and again before
// each further attempt of ReadStore, which writes the same output to options.Stdout once more.
func (p Process) Export(
	ctx context.Context, options *export.Options, selected func(export.Coverage) bool, begin func(numbers int),
) (result *export.Result, err error) {
	if err := options.Check(); err != nil {
		return nil, err
	}
	err = p.ReadStore(ctx, "exporting", func(taken *snapshot.Snapshot) error {
		begin(taken.Count())
		result, err = options.Run(ctx, taken.Source(selected))
		return err
	})
	return result, err
}

// ReadStore calls read with the state of the store at the newest message of its ledger. It works
// beside a running batch and does not change the store. read is called again, with the same state, if
// the process that holds the store ends meanwhile. doing says what the caller does, for errors.
func (p Process) ReadStore(ctx context.Context, doing string, read func(*snapshot.Snapshot) error) error {
	if err := checkStoreExists(p.Settings.Config); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var last uint64
	err := p.useStore(ctx, connectOptions{inspect: true}, func(b *broker) error {
		if err := b.verify(ctx, p.Settings.Config, p.Log); err != nil {
			return err
		}
		defer limitMemory(ctx, b)()
		taken, err := snapshot.TakeAt(ctx, b.Bus, last)
		if err != nil {
			return err
		}
		last = taken.Sequence
		return read(taken)
	})
	switch {
	case err == nil, ctx.Err() != nil, IsOutputError(err), IsUsageError(err):
		return err
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return Usagef("no run was ever started on this store: %w", err)
	case IsBrokerError(err):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
}

// Reading a store takes some 40 MiB and 200 bytes for each collected number: the index of the server and
// the snapshot. The limit is twice as much.
const baseMemory, numberMemory = 80 << 20, 400

// limitMemory makes the garbage collector run more often near a limit, because it lets the heap double
// otherwise. It does nothing if GOMEMLIMIT is set.
func limitMemory(ctx context.Context, b *broker) (restore func()) {
	before := debug.SetMemoryLimit(-1)
	stream, err := b.JetStream().Stream(ctx, "KV_"+contract.BucketCollected)
	if err != nil || before != math.MaxInt64 { // the snapshot reports what is wrong
		return func() {}
	}
	debug.SetMemoryLimit(baseMemory + numberMemory*int64(stream.CachedInfo().State.Msgs))
	return func() { debug.SetMemoryLimit(before) }
}
