package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pendingStartDelay is how often a stop of an unknown run looks whether the starts before it have been carried out.
const pendingStartDelay = 50 * time.Millisecond

// consumeCommands carries out the commands that a consumer delivers until ctx ends. Starts have one consumer and the other
// commands another, so a stop does not wait behind the starts that were given before it.
func (s *Service) consumeCommands(ctx context.Context, name string) error {
	consumer, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, name)
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	return bus.Consume(ctx, s.Bus, bus.ConsumeOptions[[]byte]{
		Consumer:      consumer,
		DeliverForged: true, // who gave it is told
		Decode:        func(data []byte) ([]byte, error) { return data, nil },
		Handle: func(ctx context.Context, d bus.Delivery[[]byte]) error {
			if (d.Subject == contract.SubjectStart) != (name == streams.ConsumerStarts) {
				return nil // the other consumer's
			}
			return s.handleCommand(ctx, d)
		},
	})
}

// handleCommand carries out one command, once: what became of it is kept under its sequence. One at a time, because a stop in the
// middle of a start of the same run would be taken back by it.
func (s *Service) handleCommand(ctx context.Context, d bus.Delivery[[]byte]) error {
	s.commandMu.Lock()
	defer s.commandMu.Unlock()
	if d.Subject == contract.SubjectStop { // a process that works for this run alone may end by it before the result is kept
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
	}
	result := contract.CommandResult{Digest: digest(d.Subject, d.Header, d.Body), At: d.StoredAt}
	key := contract.CommandKey(d.Sequence)
	if done, err := s.isHandled(ctx, key, result); err != nil || done {
		return err
	}
	err := checkHeaders(d.Header)
	switch {
	case err != nil:
	case d.Subject == contract.SubjectStop:
		result.RunID, err = s.stopRun(ctx, d)
	default:
		result.RunID, err = s.startRun(ctx, d)
	}
	if errors.Is(err, ErrCommand) {
		s.Log.Warn("batch.rejected", "subject", d.Subject, "sequence", d.Sequence, "error", err)
		result.Rejected = err.Error()
		err = s.publishRejection(ctx, d.Subject, d.Sequence, err)
	}
	if err != nil {
		return err
	}
	if err := s.putJSON(ctx, key, result); err != nil {
		return err
	}
	s.replies.stored(result, d.Sequence)
	return nil
}

// isHandled says whether the result of this very command is kept: one of the same sequence may be of a stream that was
// removed, or that lost its end.
func (s *Service) isHandled(ctx context.Context, key string, command contract.CommandResult) (bool, error) {
	entry, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", key, err)
	}
	var kept contract.CommandResult
	if err := json.Unmarshal(entry.Value(), &kept); err != nil {
		return true, nil //nolint:nilerr // not written by this program; to carry a command out twice would be worse
	}
	if kept.At.IsZero() { // written by an earlier version
		return kept.Digest == "" || kept.Digest == command.Digest, nil
	}
	return kept.At.Equal(command.At), nil
}

// publishRejection tells everybody why a command did nothing. sequence is 0 for one that the stream does not keep.
func (s *Service) publishRejection(ctx context.Context, subject string, sequence uint64, reason error) error {
	rejection := contract.Rejection{Subject: subject, Sequence: sequence, Reason: reason.Error(), At: time.Now().UTC()}
	if bad, is := errors.AsType[ValidationError](reason); is {
		rejection.Problems = bad.reported()
	}
	body, err := json.Marshal(rejection)
	if err != nil {
		return fmt.Errorf("rejecting command %d: %w", sequence, err)
	}
	_, err = s.Bus.Publish(ctx, &nats.Msg{Subject: contract.SubjectRejected, Data: body})
	return err
}

func (s *Service) stopRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	run, err := ReadStop(d.Body)
	if err != nil {
		return "", err
	}
	_, err = runs.Manifest(ctx, s.kv, run)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		if waits, err := s.startsPending(ctx, d.Sequence); err != nil || waits {
			return "", bus.RetryIn(pendingStartDelay, errors.Join(err, errors.New("a start before the stop may make its run")))
		}
		return "", invalid(contract.Problem{Field: "run_id", Value: quote([]byte(run)), Reason: "there is no such run", Allowed: "the id of a run"})
	}
	if err != nil && !errors.Is(err, runs.ErrUnreadable) { // whatever it is, it can be stopped
		return "", err
	}
	halt := contract.Halt{Status: contract.Stopped, Reason: "stopped by batch.stop", At: time.Now().UTC()}
	if err := runs.Halt(ctx, s.kv, run, halt); err != nil {
		return "", err
	}
	return run, s.recordStop(ctx, run, d)
}

// startsPending says whether starts that were given before a sequence are still to be carried out.
func (s *Service) startsPending(ctx context.Context, before uint64) (bool, error) {
	starts, err := s.Bus.JetStream().Consumer(ctx, contract.StreamBatch, streams.ConsumerStarts)
	if err != nil {
		return false, fmt.Errorf("looking for waiting starts: %w", err)
	}
	return starts.CachedInfo().AckFloor.Stream < before, nil
}

// recordStop writes the stop that came last into a run's halt, whoever halted the run first.
func (s *Service) recordStop(ctx context.Context, run contract.RunID, d bus.Delivery[[]byte]) error {
	entry, err := s.kv.Get(ctx, run.HaltKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil // another generator has begun the run anew
	}
	if err != nil {
		return fmt.Errorf("reading the halt of run %s: %w", run, err)
	}
	var halt contract.Halt
	if json.Unmarshal(entry.Value(), &halt) != nil {
		return nil // the run is halted all the same
	}
	halt.Command, halt.CommandAt = d.Sequence, d.StoredAt
	value, err := json.Marshal(halt)
	if err == nil {
		_, err = s.kv.Update(ctx, run.HaltKey(), value, entry.Revision())
	}
	if err != nil {
		return fmt.Errorf("halting run %s: %w", run, err)
	}
	return nil
}

// checkNotStopped refuses a start of a run that a later command has stopped already.
func (s *Service) checkNotStopped(ctx context.Context, run contract.RunID, d bus.Delivery[[]byte]) error {
	halt, err := runs.Get[contract.Halt](ctx, s.kv, run.HaltKey())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, runs.ErrUnreadable):
		return nil
	case err != nil:
		return fmt.Errorf("reading the halt of run %s: %w", run, err)
	case halt.Command < d.Sequence || d.StoredAt.After(halt.CommandAt):
		return nil
	}
	return invalid(conflict("run_id", run, fmt.Sprintf("command %d, which came after this start, has stopped it", halt.Command), "a new start"))
}
