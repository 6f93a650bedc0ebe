package runs

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// ForgetCommands removes the answers to commands that the stream of commands has lost, and returns how many there were. A
// stream that lost its end gives the same sequences out again, and a new command would get the answer to an old one.
func ForgetCommands(ctx context.Context, b *bus.Bus) (forgotten int, err error) {
	stream, err := b.JetStream().Stream(ctx, contract.StreamBatch)
	if err != nil {
		return 0, fmt.Errorf("looking for lost commands: %w", err)
	}
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil {
		return 0, err
	}
	keys, err := kv.ListKeysFiltered(ctx, "command.*")
	if err != nil {
		return 0, fmt.Errorf("listing the answers to commands: %w", err)
	}
	defer func() { _ = keys.Stop() }()
	for key := range keys.Keys() {
		sequence, err := strconv.ParseUint(strings.TrimPrefix(key, "command."), 10, 64)
		if err != nil || sequence <= stream.CachedInfo().State.LastSeq {
			continue
		}
		if err := kv.Delete(ctx, key); err != nil {
			return forgotten, fmt.Errorf("forgetting the answer to command %d: %w", sequence, err)
		}
		forgotten++
	}
	return forgotten, nil
}
