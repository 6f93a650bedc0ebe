package generator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// reconcileInterval is how often it is looked whether the jobs of a run and their consumer are there.
	reconcileInterval = 2 * time.Second
	// minIdleLimit is for how long a run may have nothing under way before its consumer is made anew; it doubles each time,
	// because a run that waits for its report is idle too.
	minIdleLimit = 5 * time.Second
	// maxMissingChecks is how often the stream of jobs may be missing before the service gives up, to begin again with all streams made.
	maxMissingChecks = 3
)

// eventJobsUnseen is the event of a run whose jobs or consumer cannot be looked at.
const eventJobsUnseen = "batch.jobs.unseen"

// reconciler brings back what somebody else has taken from a run that is under way. Whatever it gives out again is looked up in
// the ledger by whoever gets it, so nothing is asked for twice beyond what was in flight.
type reconciler struct {
	*Service
	manifest contract.Manifest
	// planned are all jobs of the run.
	planned map[int]bool
	// complete is how the stream of jobs was when all of the run's were there.
	complete streamRemovals
	// idleSince is when the run was first seen idle, and idle for how long it may be.
	idleSince time.Time
	idleLimit time.Duration
}

// streamRemovals is the same for two looks at a stream exactly when nothing was removed from it in between.
type streamRemovals struct {
	created time.Time
	count   uint64
}

// reconcile looks after a run whose jobs are all published until ctx ends.
func (s *Service) reconcile(ctx context.Context, m contract.Manifest, planned map[int]bool) error {
	h := &reconciler{Service: s, manifest: m, planned: planned, idleLimit: minIdleLimit}
	told := make(map[string]string)
	for gone := 0; delay.Sleep(ctx, reconcileInterval) == nil; {
		err := h.check(ctx)
		if ctx.Err() == nil && errorChanged(told, contract.StreamJobs, err) {
			s.Log.Warn(eventJobsUnseen, "run_id", m.RunID, "error", err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			gone = 0
		case errors.Is(err, jetstream.ErrStreamNotFound) && gone >= maxMissingChecks:
			return fmt.Errorf("looking after the jobs: %w", err)
		default:
			gone++
		}
	}
	return nil
}

func (h *reconciler) check(ctx context.Context) error {
	consumer, err := h.ensureJobsConsumer(ctx, h.manifest.RunID)
	if err != nil {
		return err
	}
	if err := h.republishMissing(ctx); err != nil {
		return err
	}
	return h.recreateIfIdle(ctx, consumer.CachedInfo())
}

// republishMissing publishes again the jobs that are gone from the stream.
func (h *reconciler) republishMissing(ctx context.Context) error {
	stream, err := h.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	now := streamRemovals{info.Created, info.State.LastSeq - info.State.Msgs}
	if now == h.complete {
		return nil
	}
	there, err := runs.PublishedNumbers(ctx, h.Bus, h.manifest.RunID)
	if err != nil {
		return err
	}
	var jobs []*nats.Msg
	for number := range h.planned {
		if there[number] {
			continue
		}
		job, err := jobMessage(h.manifest, number, false)
		if err != nil {
			return err
		}
		job.Header = nats.Header{contract.RepublishedHeader: {"1"}}
		jobs = append(jobs, job)
	}
	if len(jobs) > 0 {
		// The end of a run removes its jobs; the news of it may be on its way.
		if running, err := h.isRunning(ctx, h.manifest.RunID); err != nil || !running {
			return err
		}
		if err := h.storeJobs(ctx, jobs); err != nil {
			return err
		}
		h.Log.Warn("batch.jobs.again", "run_id", h.manifest.RunID, "jobs", len(jobs), "reason", "somebody has removed them from their stream")
	}
	h.complete = now
	return nil
}

// recreateIfIdle makes the consumer anew when nothing is under way for too long: jobs that somebody else has acknowledged, or that a
// consumer skipped, come again then.
func (h *reconciler) recreateIfIdle(ctx context.Context, info *jetstream.ConsumerInfo) error {
	if info.NumPending > 0 || info.NumAckPending > 0 {
		h.idleSince = time.Time{}
		return nil
	}
	if h.idleSince.IsZero() {
		h.idleSince = time.Now()
	}
	if time.Since(h.idleSince) < h.idleLimit {
		return nil
	}
	h.idleSince, h.idleLimit = time.Time{}, 2*h.idleLimit
	return h.recreateJobsConsumer(ctx, h.manifest.RunID, "nothing has been under way although the run has not ended")
}

// deliveryFault says what keeps a consumer from delivering all its messages until they are acknowledged; empty when nothing does. How
// long it waits, and whether it is paused, is the operator's to change.
func deliveryFault(want, have jetstream.ConsumerConfig) string {
	switch {
	case have.MaxDeliver != want.MaxDeliver:
		return fmt.Sprintf("max_deliver: have %d, want %d", have.MaxDeliver, want.MaxDeliver)
	case have.FilterSubject != want.FilterSubject || !slices.Equal(have.FilterSubjects, want.FilterSubjects):
		return fmt.Sprintf("filter: have %q, want %q", append(have.FilterSubjects, have.FilterSubject), append(want.FilterSubjects, want.FilterSubject))
	default:
		return ""
	}
}

// ensureJobsConsumer is the consumer of a run's jobs, made anew if it is gone or cannot deliver them all.
func (s *Service) ensureJobsConsumer(ctx context.Context, run contract.RunID) (jetstream.Consumer, error) {
	want, err := streams.JobsConsumer(run)
	if err != nil {
		return nil, err
	}
	consumer, err := s.Bus.JetStream().Consumer(ctx, contract.StreamJobs, want.Durable)
	differs := ""
	if err == nil {
		differs = deliveryFault(want, consumer.CachedInfo().Config)
	}
	if err == nil && differs == "" {
		return consumer, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	if err != nil {
		differs = "it was removed"
	}
	if err := s.recreateJobsConsumer(ctx, run, differs); err != nil {
		return nil, err
	}
	return s.Bus.JetStream().Consumer(ctx, contract.StreamJobs, want.Durable)
}

// recreateJobsConsumer makes the consumer of a running run anew, so that it delivers all its jobs again. A consumer that was put right
// in place would not deliver again what it has given up.
func (s *Service) recreateJobsConsumer(ctx context.Context, run contract.RunID, reason string) error {
	want, err := streams.JobsConsumer(run)
	if err != nil {
		return err
	}
	if running, err := s.isRunning(ctx, run); err != nil || !running {
		return errors.Join(err, ctx.Err())
	}
	s.Log.Warn("batch.consumer.remade", "run_id", run, "consumer", want.Durable, "reason", reason)
	js := s.Bus.JetStream()
	if err := streams.DeleteConsumer(ctx, js, contract.StreamJobs, want.Durable); err != nil {
		return err
	}
	if err := delay.Sleep(ctx, contract.ConsumerRecreateDelay); err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, contract.StreamJobs, want); err != nil {
		return fmt.Errorf("making consumer %s: %w", want.Durable, err)
	}
	return nil
}

// isRunning says whether a run is under way by what its keys say just now.
func (s *Service) isRunning(ctx context.Context, run contract.RunID) (bool, error) {
	state, _, err := s.readState(ctx, run)
	if err != nil || state.Status != contract.Running {
		return false, err
	}
	_, err = s.kv.Get(ctx, run.HaltKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return true, nil
	}
	return false, err
}

// keepSharedConsumers makes the consumers that all processes share anew when somebody removes or changes them.
func (s *Service) keepSharedConsumers(ctx context.Context) error {
	told := make(map[string]string)
	for delay.Sleep(ctx, reconcileInterval) == nil {
		for _, shared := range streams.SharedConsumers() {
			if err := s.ensureSharedConsumer(ctx, shared); ctx.Err() == nil && errorChanged(told, shared.Name, err) {
				s.Log.Warn("batch.consumer.unseen", "consumer", shared.Name, "error", err)
			}
		}
	}
	return nil
}

// errorChanged says whether an error about something differs from the one that was told of it last.
func errorChanged(told map[string]string, name string, err error) bool {
	if err == nil {
		delete(told, name)
		return false
	}
	before := told[name]
	told[name] = err.Error()
	return told[name] != before
}

func (s *Service) ensureSharedConsumer(ctx context.Context, shared streams.SharedConsumer) error {
	want, err := streams.Consumer(shared.Stream, shared.Name)
	if err != nil {
		return err
	}
	consumer, err := s.Bus.JetStream().Consumer(ctx, shared.Stream, shared.Name)
	reason := "it was removed"
	if err == nil {
		reason = deliveryFault(want, consumer.CachedInfo().Config)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) || reason == "" {
		return err
	}
	if err := streams.Recreate(ctx, s.Bus.JetStream(), shared.Stream, want); err != nil {
		return err
	}
	s.Log.Warn("batch.consumer.remade", "consumer", shared.Name, "reason", reason)
	return nil
}
