package generator

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// commandRetention is how long a command that was carried out or refused stays in its stream; one that waits stays until then.
	commandRetention = 24 * time.Hour
	expireInterval   = time.Hour
)

// expireCommands removes old commands from their stream now and every hour until ctx ends. What became of them stays in the
// bucket of runs.
func (s *Service) expireCommands(ctx context.Context) error {
	for {
		if removed, err := s.expire(ctx, s.Now().Add(-commandRetention)); err != nil && ctx.Err() == nil {
			s.Log.Warn("batch.commands.kept", "error", err)
		} else if removed > 0 {
			s.Log.Info("batch.commands.expired", "commands", removed)
		}
		if delay.Sleep(ctx, expireInterval) != nil {
			return nil
		}
	}
}

// expire removes the commands that were stored before an instant, up to the first that is not carried out.
func (s *Service) expire(ctx context.Context, before time.Time) (removed uint64, err error) {
	stream, err := s.Bus.JetStream().Stream(ctx, contract.StreamBatch)
	if err != nil {
		return 0, fmt.Errorf("removing old commands: %w", err)
	}
	done, err := s.handledUpTo(ctx)
	if err != nil {
		return 0, err
	}
	first := stream.CachedInfo().State.FirstSeq
	if done < first {
		return 0, nil
	}
	count := sort.Search(int(done-first)+1, func(i int) bool {
		msg, wrong := s.Bus.GetNext(ctx, contract.StreamBatch, "batch.*", first+uint64(i))
		if wrong != nil {
			if !errors.Is(wrong, jetstream.ErrMsgNotFound) {
				err = wrong
			}
			return true
		}
		return msg.Sequence > done || !msg.StoredAt.Before(before)
	})
	if err != nil || count == 0 {
		return 0, err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first+uint64(count))); err != nil {
		return 0, fmt.Errorf("removing old commands: %w", err)
	}
	return uint64(count), nil
}

// handledUpTo is the sequence up to which all commands are carried out. The consumer of starts is asked first: of the other commands up
// to its answer the second consumer knows by then.
func (s *Service) handledUpTo(ctx context.Context) (uint64, error) {
	starts, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, streams.ConsumerStarts)
	if err != nil {
		return 0, fmt.Errorf("looking for old commands: %w", err)
	}
	control, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, streams.ConsumerControl)
	if err != nil {
		return 0, fmt.Errorf("looking for old commands: %w", err)
	}
	done, others := starts.CachedInfo().AckFloor.Stream, control.CachedInfo()
	if others.NumPending > 0 || others.NumAckPending > 0 {
		done = min(done, others.AckFloor.Stream)
	}
	return done, nil
}
