package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// jobsPerBatch is the number of jobs in one atomic batch. A batch is published only while fewer
	// than maxPending jobs are pending: this bounds the stream, and fetchers never run out of jobs.
	jobsPerBatch = 256
	maxPending   = 2 * jobsPerBatch
	// The pending jobs are polled every minPollInterval at first: at 5,000 jobs a second they are
	// fetched in a tenth of a second. While their number does not fall, the interval doubles up to
	// maxPollInterval, because the remaining jobs last longer then.
	minPollInterval, maxPollInterval = 20 * time.Millisecond, 2 * time.Second

	// reconcileInterval is the interval of the checks of the jobs and consumers of a run.
	reconcileInterval = 2 * time.Second
	// minIdleLimit is the time that a run may have no pending or delivered job before its consumer
	// is recreated. It doubles each time, because a run that waits for its report is idle too.
	minIdleLimit = 5 * time.Second
	// maxMissingChecks limits the checks that find the stream of jobs missing. After that the
	// service fails, to restart with all streams recreated.
	maxMissingChecks = 3

	// eventJobsUnseen is the log event of a run whose jobs or consumer cannot be read.
	eventJobsUnseen = "batch.jobs.unseen"
)

// handleRun publishes the jobs of a run and keeps them complete until the run ends or is halted.
func (s *Service) handleRun(ctx context.Context, m contract.Manifest) error {
	defer s.active.add(m.RunID)()
	m, published, err := s.publishJobs(ctx, m)
	if err != nil {
		return err
	}
	return s.reconcile(ctx, m, published)
}

// publishJobs stores which jobs a run has, publishes the missing ones, then the planned entry. It returns the manifest,
// with the range as the search has limited it, and the numbers of all jobs. The published jobs are
// read from the stream of jobs, which keeps them until the run ends and rejects duplicates: a crash
// at any point neither skips nor repeats a number.
func (s *Service) publishJobs(ctx context.Context, m contract.Manifest) (contract.Manifest, map[int]bool, error) {
	done, err := s.isPlanned(ctx, m.RunID)
	if err != nil {
		return m, nil, err
	}
	if m.Searching() { // the range is known once the prober has found the bound
		m, err = s.awaitBound(ctx, m)
		if err != nil {
			return m, nil, err
		}
	}
	published, err := runs.PublishedNumbers(ctx, s.Bus, m.RunID)
	if err != nil {
		return m, nil, err
	}
	collected, err := s.storedOutcomes(ctx, contract.BucketCollected, m.Site, m.Prefix, m.Year)
	if err != nil {
		return m, nil, err
	}
	failed, err := s.storedOutcomes(ctx, contract.BucketFailed, m.Site, m.Prefix, m.Year)
	if err != nil {
		return m, nil, err
	}
	var missing []int
	for number := range jobOrder(m, collected, failed) {
		if !published[number] {
			published[number] = true
			missing = append(missing, number)
		}
	}
	planned := plannedJobs(m, published)
	if !done {
		if err := runs.Put(ctx, s.kv, m.RunID.PlannedKey(), planned); err != nil {
			return m, nil, err
		}
	}
	for first := true; first || len(missing) > 0; first = false {
		var jobs []*nats.Msg
		for _, number := range missing[:min(jobsPerBatch, len(missing))] {
			_, retry := failed.Get(number)
			job, err := jobMessage(m, number, retry)
			if err != nil {
				return m, nil, err
			}
			jobs = append(jobs, job)
		}
		if err := s.publishWhenPendingLow(ctx, m.RunID, jobs); err != nil {
			return m, nil, err
		}
		missing = missing[len(jobs):]
	}
	if done {
		return m, published, nil
	}
	return m, published, s.Bus.PublishJSON(ctx, m.RunID.PlannedSubject(), planned)
}

// awaitBound waits for the end of the search of a run. The search has jobs too, so their consumer
// is maintained meanwhile.
func (s *Service) awaitBound(ctx context.Context, m contract.Manifest) (contract.Manifest, error) {
	logged := make(map[string]string)
	defer delay.Every(reconcileInterval, func() {
		if _, err := s.ensureJobsConsumer(ctx, m.RunID); ctx.Err() == nil &&
			errorChanged(logged, contract.StreamJobs, err) {
			s.Log.Warn(eventJobsUnseen, "run_id", m.RunID, "error", err)
		}
	})()
	return runs.Await(ctx, s.Bus, m.RunID.ManifestKey(), func(m contract.Manifest) bool { return !m.Searching() })
}

// publishWhenPendingLow waits until few jobs are pending, then stores all of the given jobs or
// none.
func (s *Service) publishWhenPendingLow(ctx context.Context, run contract.RunID, jobs []*nats.Msg) error {
	wait, before := minPollInterval, uint64(math.MaxUint64)
	for {
		consumer, err := s.ensureJobsConsumer(ctx, run)
		if err != nil {
			return fmt.Errorf("reading the pending jobs: %w", err)
		}
		info := consumer.CachedInfo()
		if info.NumPending < maxPending {
			return s.storeJobs(ctx, jobs)
		}
		if wait = min(2*wait, maxPollInterval); info.NumPending+maxPending/8 < before {
			wait, before = minPollInterval, info.NumPending
		}
		if err := delay.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// storeJobs stores jobs. If a subject exists, another generator has published its job.
func (s *Service) storeJobs(ctx context.Context, jobs []*nats.Msg) error {
	err := s.Bus.PublishBatch(ctx, jobs)
	if !errors.Is(err, bus.ErrExists) {
		return err
	}
	for _, job := range jobs {
		if _, err := s.Bus.Publish(ctx, job); err != nil && !errors.Is(err, bus.ErrExists) {
			return err
		}
	}
	return nil
}

func jobMessage(m contract.Manifest, number int, retry bool) (*nats.Msg, error) {
	body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: m.RunID, CaseID: m.Case(number),
		Retry: retry})
	if err != nil {
		return nil, fmt.Errorf("writing the job of number %d: %w", number, err)
	}
	return &nats.Msg{Subject: m.RunID.JobSubject(number), Data: body}, nil
}

// plannedJobs returns which jobs a run has: those of these numbers.
func plannedJobs(m contract.Manifest, numbers map[int]bool) contract.Planned {
	planned := contract.Planned{Version: contract.MessageVersion, Range: m.Range, Jobs: len(numbers)}
	for _, number := range slices.Sorted(maps.Keys(numbers)) {
		if !m.Selects(number) {
			planned.Beyond = append(planned.Beyond, number)
		}
	}
	planned.Skipped = m.Count(m.Range) - (planned.Jobs - len(planned.Beyond))
	return planned
}

func (s *Service) isPlanned(ctx context.Context, run contract.RunID) (bool, error) {
	subjects, err := s.Bus.Subjects(ctx, contract.StreamOutcomes, run.PlannedSubject())
	if err != nil {
		return false, fmt.Errorf("reading the planned entry: %w", err)
	}
	return len(subjects) > 0, nil
}

func (s *Service) storedOutcomes(ctx context.Context, bucket, site, series, year string) (*runs.Outcomes, error) {
	return runs.ReadOutcomes(ctx, s.Bus, bucket, site, series, year)
}

// reconciler restores the jobs and the consumer of a running run after an external change. A
// fetcher checks each redelivered job against the ledger, so nothing is fetched twice except what
// was in flight.
type reconciler struct {
	s        *Service
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
	r := &reconciler{s: s, manifest: m, planned: planned, idleLimit: minIdleLimit}
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
	consumer, err := r.s.ensureJobsConsumer(ctx, r.manifest.RunID)
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
	stream, err := r.s.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	now := streamRemovals{info.Created, info.State.LastSeq - info.State.Msgs}
	if now == r.complete {
		return nil
	}
	published, err := runs.PublishedNumbers(ctx, r.s.Bus, r.manifest.RunID)
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
		if running, err := r.s.isRunning(ctx, r.manifest.RunID); err != nil || !running {
			return err
		}
		if err := r.s.storeJobs(ctx, jobs); err != nil {
			return err
		}
		r.s.Log.Warn("batch.jobs.again", "run_id", r.manifest.RunID, "jobs", len(jobs),
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
	want, err := streams.JobsConsumer(r.manifest.RunID)
	if err != nil {
		return err
	}
	return r.s.recreateJobsConsumer(ctx, r.manifest.RunID, want,
		"no job was pending or delivered although the run has not ended")
}

// ensureConsumer returns a consumer. One that is missing or has a delivery fault is first passed to
// recreate, with the reason.
func (s *Service) ensureConsumer(
	ctx context.Context, stream string, want jetstream.ConsumerConfig, recreate func(reason string) error,
) (jetstream.Consumer, error) {
	js := s.Bus.JetStream()
	consumer, err := js.Consumer(ctx, stream, want.Durable)
	reason := "it was removed"
	if err == nil {
		reason = streams.DeliveryFault(want, consumer.CachedInfo().Config)
	}
	switch {
	case err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, fmt.Errorf("opening consumer %s: %w", want.Durable, err)
	case reason == "":
		return consumer, nil
	}
	if err := recreate(reason); err != nil {
		return nil, err
	}
	return js.Consumer(ctx, stream, want.Durable)
}

func (s *Service) ensureJobsConsumer(ctx context.Context, run contract.RunID) (jetstream.Consumer, error) {
	want, err := streams.JobsConsumer(run)
	if err != nil {
		return nil, err
	}
	return s.ensureConsumer(ctx, contract.StreamJobs, want, func(reason string) error {
		return s.recreateJobsConsumer(ctx, run, want, reason)
	})
}

// recreateJobsConsumer recreates the consumer of a running run, so that it delivers all jobs again.
// An updated consumer would not redeliver jobs beyond its old delivery limit.
func (s *Service) recreateJobsConsumer(
	ctx context.Context, run contract.RunID, want jetstream.ConsumerConfig, reason string,
) error {
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
	state, err := readKey[contract.State](ctx, s.kv, run.StateKey())
	if err != nil || state.err != nil || state.value.Status != contract.Running {
		return false, err
	}
	halt, err := readKey[contract.Halt](ctx, s.kv, run.HaltKey())
	return err == nil && halt.missing(), err
}

// keepSharedConsumers recreates the consumers shared by all processes if they are removed or
// changed.
func (s *Service) keepSharedConsumers(ctx context.Context) error {
	logged := make(map[string]string)
	for delay.Sleep(ctx, reconcileInterval) == nil {
		for _, shared := range streams.SharedConsumers() {
			want, err := streams.Consumer(shared.Stream, shared.Name)
			if err != nil {
				return err
			}
			_, err = s.ensureConsumer(ctx, shared.Stream, want, func(reason string) error {
				err := streams.Recreate(ctx, s.Bus.JetStream(), shared.Stream, want)
				if err == nil {
					s.Log.Warn("batch.consumer.remade", "consumer", shared.Name, "reason", reason)
				}
				return err
			})
			if ctx.Err() == nil && errorChanged(logged, shared.Name, err) {
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

// jobOrder yields the numbers of a run to request, each once: numbers that failed in
// an earlier run first, then the others, both ascending. Collected numbers that the run skips are
// omitted.
func jobOrder(m contract.Manifest, collected, failed *runs.Outcomes) iter.Seq[int] {
	each := func(failedBefore bool, yield func(int) bool) bool {
		for n := range m.Numbers() {
			if _, found := failed.Get(n); found != failedBefore {
				continue
			}
			if value, _ := collected.Get(n); !m.Skips(n, value) && !yield(n) {
				return false
			}
		}
		return true
	}
	return func(yield func(int) bool) { _ = each(true, yield) && each(false, yield) }
}

// recordLag is the time after a no-record within which a higher record must have been seen for it
// to stand. If it was seen later, the number may have been assigned after the no-record.
const recordLag = time.Hour

// recheckAbove returns the number above which a run may have to request no-records again. This is
// the highest record, or less if all higher records were seen more than recordLag after a no-record
// below it, because its number may have been assigned since.
func recheckAbove(collected *runs.Outcomes) int {
	last := 0
	var seen time.Time // when the first of the higher records was seen
	for number := collected.Highest(); number > 0; number-- {
		switch value, _ := collected.Get(number); {
		case value.Outcome == contract.Success && last == 0:
			last, seen = number, value.At
		case value.Outcome == contract.Success && value.At.Before(seen):
			seen = value.At
		case value.Outcome == contract.NoRecord && last > 0 && seen.After(value.At.Add(recordLag)):
			last = number - 1
		}
	}
	return last
}
