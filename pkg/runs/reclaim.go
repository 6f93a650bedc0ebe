package runs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// KilledReason is the reason of a run that Reclaim stopped.
const KilledReason = "the process that worked on it was killed"

// Reclaim marks every running run as stopped and returns their ids. Call it in a process that has
// just become the only one on a store: the processes that worked on those runs were killed. The
// same batch, started again, resumes its run; the runs of other batches wait for theirs. Reclaim
// deletes the job consumers, which remember deliveries, so that jobs are redelivered at once
// instead of after their ack-wait. The start of a run recreates its consumer. The jobs of runs that are
// never resumed are removed.
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
	return reclaimed, clearEnded(ctx, b, kv)
}

// clearEnded removes the jobs of the runs that are never resumed, and their consumers: those of a run
// that another batch has superseded, or whose reporter was killed before it removed them.
func clearEnded(ctx context.Context, b *bus.Bus, kv jetstream.KeyValue) error {
	stream, err := b.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return fmt.Errorf("removing old jobs: %w", err)
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return nil
	}
	subjects, err := b.Subjects(ctx, contract.StreamJobs, "job.*.*")
	if err != nil {
		return fmt.Errorf("removing old jobs: %w", err)
	}
	seen := make(map[contract.RunID]bool)
	for subject := range subjects {
		run, err := contract.ParseRunID(strings.Split(subject, ".")[1])
		if err != nil || seen[run] { // an error: not written by this program
			continue
		}
		seen[run] = true
		state, _, err := Read[contract.State](ctx, kv, run.StateKey())
		if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, ErrUnreadable) ||
			err == nil && (state.Status == contract.Running || state.Resumable()) {
			continue
		}
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(run.JobFilter()))
		}
		if err == nil {
			err = stream.DeleteConsumer(ctx, run.ConsumerName())
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("removing the jobs of run %s: %w", run, err)
		}
	}
	return nil
}

// reclaim stops a running run and reports whether it did.
func reclaim(ctx context.Context, kv jetstream.KeyValue, key string, at time.Time) (bool, error) {
	return Update(ctx, kv, key, func(state contract.State, err error) (contract.State, bool, error) {
		if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, ErrUnreadable) || err == nil && state.Status != contract.Running {
			return state, false, nil
		}
		state.Status, state.Reason, state.At = contract.Stopped, KilledReason, at.UTC()
		return state, err == nil, err
	})
}

// Abandon marks every unfinished run as superseded, because their ledger was changed. The same
// batch, started again, becomes a new run, which skips what is collected. It deletes all
// checkpoints, because the ledger positions in them may now belong to other messages.
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
	_, err := Update(ctx, kv, run.StateKey(), func(state contract.State, err error) (contract.State, bool, error) {
		if errors.Is(err, ErrUnreadable) || err == nil && !state.Resumable() {
			return state, false, nil
		}
		if state.Status == contract.Running {
			state.Status, state.At = contract.Stopped, at.UTC()
		}
		state.Superseded = true
		return state, err == nil, err
	})
	return err
}
