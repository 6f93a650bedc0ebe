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
	// reconcileInterval is the interval of the checks of the jobs and consumers of a run.
	reconcileInterval = 2 * time.Second
	// minIdleLimit is the time that a run may have no pending or delivered job before its consumer
	// is recreated. It doubles each time, because a run that waits for its report is idle too.
	minIdleLimit = 5 * time.Second
	// maxMissingChecks limits the checks that find the stream of jobs missing. After that the
	// service fails, to restart with all streams recreated.
	maxMissingChecks = 3
)

// eventJobsUnseen is the log event of a run whose jobs or consumer cannot be read.
const eventJobsUnseen = "batch.jobs.unseen"

// reconciler restores the jobs and the consumer of a running run after an external change. A
// fetcher checks each redelivered job against the ledger, so nothing is fetched twice except what
// was in flight.
type reconciler struct {
	*Service
	manifest contract.Manifest
	// planned holds the numbers of all jobs of the run.
	planned map[int]bool
	// complete is the stream of jobs when it last held all jobs of the run.
	complete streamRemovals
	// idleSince is when the run was first seen idle, idleLimit how long it may be idle.
	idleSince time.Time
	idleLimit time.Duration
}

// streamRemovals identifies the messages removed from a stream. Two values are equal exactly if
// nothing was removed in between.
type streamRemovals struct {
	created time.Time
	count   uint64
}

// reconcile maintains a run whose jobs are all published until ctx ends.
func (s *Service) reconcile(ctx context.Context, m contract.Manifest, planned map[int]bool) error {
	r := &reconciler{Service: s, manifest: m, planned: planned, idleLimit: minIdleLimit}
	logged := make(map[string]string)
	for missing := 0; delay.Sleep(ctx, reconcileInterval) == nil; {
		err := r.check(ctx)
		if ctx.Err() == nil && errorChanged(logged, contract.StreamJobs, err) {
			s.Log.Warn(eventJobsUnseen, "run_id", m.RunID, "error", err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			missing = 0
		case errors.Is(err, jetstream.ErrStreamNotFound) && missing >= maxMissingChecks:
			return fmt.Errorf("checking the jobs: %w", err)
		default:
			missing++
		}
	}
	return nil
}

func (r *reconciler) check(ctx context.Context) error {
	consumer, err := r.ensureJobsConsumer(ctx, r.manifest.RunID)
	if err != nil {
		return err
	}
	if err := r.republishMissing(ctx); err != nil {
		return err
	}
	return r.recreateIfIdle(ctx, consumer.CachedInfo())
}

// republishMissing republishes the jobs that were removed from the stream.
func (r *reconciler) republishMissing(ctx context.Context) error {
	stream, err := r.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	now := streamRemovals{info.Created, info.State.LastSeq - info.State.Msgs}
	if now == r.complete {
		return nil
	}
	published, err := runs.PublishedNumbers(ctx, r.Bus, r.manifest.RunID)
	if err != nil {
		return err
	}
	var jobs []*nats.Msg
	for number := range r.planned {
		if published[number] {
			continue
		}
		job, err := jobMessage(r.manifest, number, false)
		if err != nil {
			return err
		}
		job.Header = nats.Header{contract.RepublishedHeader: {"1"}}
		jobs = append(jobs, job)
	}
	if len(jobs) > 0 {
		// The end of a run removes its jobs, and its state may not have arrived yet.
		if running, err := r.isRunning(ctx, r.manifest.RunID); err != nil || !running {
			return err
		}
		if err := r.storeJobs(ctx, jobs); err != nil {
			return err
		}
		r.Log.Warn("batch.jobs.again", "run_id", r.manifest.RunID, "jobs", len(jobs),
			"reason", "they were removed from their stream")
	}
	r.complete = now
	return nil
}

// recreateIfIdle recreates the consumer if no job has been pending or delivered for too long. This
// redelivers jobs that were acknowledged externally or that the consumer skipped.
func (r *reconciler) recreateIfIdle(ctx context.Context, info *jetstream.ConsumerInfo) error {
	if info.NumPending > 0 || info.NumAckPending > 0 {
		r.idleSince = time.Time{}
		return nil
	}
	if r.idleSince.IsZero() {
		r.idleSince = time.Now()
	}
	if time.Since(r.idleSince) < r.idleLimit {
		return nil
	}
	r.idleSince, r.idleLimit = time.Time{}, 2*r.idleLimit
	return r.recreateJobsConsumer(ctx, r.manifest.RunID,
		"no job was pending or delivered although the run has not ended")
}

// deliveryFault describes the setting that keeps a consumer from delivering all messages until they
// are acknowledged, or returns "". Operators may change its ack wait and may pause it.
func deliveryFault(want, have jetstream.ConsumerConfig) string {
	switch {
	case have.MaxDeliver != want.MaxDeliver:
		return fmt.Sprintf("max_deliver: have %d, want %d", have.MaxDeliver, want.MaxDeliver)
	case have.FilterSubject != want.FilterSubject || !slices.Equal(have.FilterSubjects, want.FilterSubjects):
		return fmt.Sprintf("filter: have %q, want %q", append(have.FilterSubjects, have.FilterSubject),
			append(want.FilterSubjects, want.FilterSubject))
	default:
		return ""
	}
}

// ensureJobsConsumer returns the consumer of the jobs of a run. It recreates a consumer that is
// missing or has a delivery fault.
func (s *Service) ensureJobsConsumer(ctx context.Context, run contract.RunID) (jetstream.Consumer, error) {
	want, err := streams.JobsConsumer(run)
	if err != nil {
		return nil, err
	}
	consumer, err := s.Bus.JetStream().Consumer(ctx, contract.StreamJobs, want.Durable)
	reason := ""
	if err == nil {
		reason = deliveryFault(want, consumer.CachedInfo().Config)
	}
	if err == nil && reason == "" {
		return consumer, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	if err != nil {
		reason = "it was removed"
	}
	if err := s.recreateJobsConsumer(ctx, run, reason); err != nil {
		return nil, err
	}
	return s.Bus.JetStream().Consumer(ctx, contract.StreamJobs, want.Durable)
}

// recreateJobsConsumer recreates the consumer of a running run, so that it delivers all jobs again.
// An updated consumer would not redeliver jobs beyond its old delivery limit.
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
		return fmt.Errorf("creating consumer %s: %w", want.Durable, err)
	}
	return nil
}

// isRunning reports whether a run is running, by its current state and halt.
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

// keepSharedConsumers recreates the consumers shared by all processes if they are removed or
// changed.
func (s *Service) keepSharedConsumers(ctx context.Context) error {
	logged := make(map[string]string)
	for delay.Sleep(ctx, reconcileInterval) == nil {
		for _, shared := range streams.SharedConsumers() {
			if err := s.ensureSharedConsumer(ctx, shared); ctx.Err() == nil && errorChanged(logged, shared.Name, err) {
				s.Log.Warn("batch.consumer.unseen", "consumer", shared.Name, "error", err)
			}
		}
	}
	return nil
}

// errorChanged reports whether err differs from the last error logged for name, and stores it in
// logged.
func errorChanged(logged map[string]string, name string, err error) bool {
	if err == nil {
		delete(logged, name)
		return false
	}
	last := logged[name]
	logged[name] = err.Error()
	return logged[name] != last
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
