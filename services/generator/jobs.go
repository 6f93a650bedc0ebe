package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
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

// publishJobs publishes the missing jobs of a run, then the planned entry. It returns the manifest,
// with its final range, and the numbers of all jobs. The published jobs are read from the stream of
// jobs, which keeps them until the run ends and rejects duplicates: a crash at any point neither
// skips nor repeats a number.
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
	collected, err := s.storedOutcomes(ctx, contract.BucketCollected, m)
	if err != nil {
		return m, nil, err
	}
	failed, err := s.storedOutcomes(ctx, contract.BucketFailed, m)
	if err != nil {
		return m, nil, err
	}
	var jobs []*nats.Msg
	for number := range Numbers(m, collected, keys(failed)) {
		if published[number] {
			continue
		}
		published[number] = true
		_, retry := failed[number]
		job, err := jobMessage(m, number, retry)
		if err != nil {
			return m, nil, err
		}
		if jobs = append(jobs, job); len(jobs) < jobsPerBatch {
			continue
		}
		if err := s.publishWhenPendingLow(ctx, m.RunID, jobs); err != nil {
			return m, nil, err
		}
		jobs = nil
	}
	if err := s.publishWhenPendingLow(ctx, m.RunID, jobs); err != nil || done {
		return m, published, err
	}
	return m, published, s.publishPlanned(ctx, m, published)
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

// publishPlanned writes to the ledger that all jobs are published. It is idempotent.
func (s *Service) publishPlanned(ctx context.Context, m contract.Manifest, published map[int]bool) error {
	planned := contract.Planned{Version: contract.MessageVersion, Range: m.Range, Jobs: len(published)}
	for _, number := range slices.Sorted(maps.Keys(published)) {
		if !m.Range.Contains(number) {
			planned.Beyond = append(planned.Beyond, number)
		}
	}
	planned.Skipped = m.Range.Size() - (planned.Jobs - len(planned.Beyond))
	body, err := json.Marshal(planned)
	if err != nil {
		return fmt.Errorf("publishing the planned entry: %w", err)
	}
	_, err = s.Bus.Publish(ctx, &nats.Msg{Subject: m.RunID.PlannedSubject(), Data: body})
	return err
}

func (s *Service) isPlanned(ctx context.Context, run contract.RunID) (bool, error) {
	subjects, err := s.Bus.Subjects(ctx, contract.StreamOutcomes, run.PlannedSubject())
	if err != nil {
		return false, fmt.Errorf("reading the planned entry: %w", err)
	}
	return len(subjects) > 0, nil
}

// storedOutcomes returns the outcomes that a bucket holds for the site, series and year of a run,
// by number.
func (s *Service) storedOutcomes(
	ctx context.Context, bucket string, m contract.Manifest,
) (map[int]contract.Collected, error) {
	numbers := make(map[int]contract.Collected)
	err := runs.EachOutcome(ctx, s.Bus, bucket, m.Site, m.Prefix, m.Year, func(number int, value contract.Collected) {
		numbers[number] = value
	})
	return numbers, err
}

func keys(numbers map[int]contract.Collected) []int {
	list := make([]int, 0, len(numbers))
	for number := range numbers {
		list = append(list, number)
	}
	return list
}
