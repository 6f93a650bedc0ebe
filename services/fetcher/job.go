package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"
	"fct-scraper/services/fetcher/limit"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// doJob does one job. It returns nil if the job has its outcome already, and bus.ErrLeaveUnsettled
// if an answer is stored and the classifier settles the job.
func (w *runWorker) doJob(startCtx, finishCtx context.Context, d delivery) error {
	msg := d.lease.Msg()
	job, err := w.decodeJob(msg.Data())
	if err != nil {
		return err
	}
	metadata, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	id := job.CaseID
	if !w.claimNumber(id.Number) { // redelivered while this process still works on it
		return bus.RetryIn(w.service.jobTerm.Heartbeat(), errNotDue)
	}
	defer w.releaseNumber(id.Number)
	unclaim, claimed := w.service.overlap.claim(id)
	if !claimed { // another run works on it
		return bus.RetryIn(recheckDelay, errNotDue)
	}
	defer unclaim()
	reread := metadata.NumDelivered > 1 || w.consumerRecreated.Load() ||
		msg.Headers().Get(contract.RepublishedHeader) != ""
	step, err := w.history.nextStep(finishCtx, id.Number, d.epoch, reread)
	switch {
	case err != nil:
		return err
	case step.Outcome != "":
		return nil
	case step.Wait > 0:
		return bus.RetryIn(step.Wait, errNotDue)
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = w.manifest.MaxRetries + 1
	}
	a := attempt{lease: d.lease, job: job, number: step.Attempt, plannedAt: metadata.Timestamp.UTC()}
	original, err := w.existingOutcome(finishCtx, id, d.epoch)
	switch {
	case err != nil:
		return err
	case original.RunID != "":
		return w.requestCopy(finishCtx, a, original)
	}
	// Each earlier attempt has used one delivery. A further delivery may come from a crash.
	reread = metadata.NumDelivered > uint64(step.Attempt)
	a.crashes, err = w.record.crashes(finishCtx, w.history, id.Number, d.epoch, reread)
	switch {
	case err != nil:
		return err
	case a.crashes >= crashLimit:
		return w.storeCrashed(finishCtx, a)
	}
	return w.makeAttempt(startCtx, finishCtx, a)
}

// decodeJob decodes a job of this run; its error wraps contract.ErrMessage.
func (w *runWorker) decodeJob(data []byte) (contract.Job, error) {
	var job contract.Job
	if err := jsonv2.Unmarshal(data, &job); err != nil {
		return job, fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	if job.Version != contract.MessageVersion || job.CaseID != w.manifest.Case(job.CaseID.Number) {
		return job, fmt.Errorf("%w: not a job of run %s: %.200q", contract.ErrMessage, w.manifest.RunID, data)
	}
	return job, nil
}

// claimNumber marks a number as active; false if it is active already.
func (w *runWorker) claimNumber(number int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.activeNumbers[number] {
		return false
	}
	w.activeNumbers[number] = true
	return true
}

func (w *runWorker) releaseNumber(number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.activeNumbers, number)
}

// pullJobs pulls jobs and starts each when an admission is free, until startCtx ends.
func (w *runWorker) pullJobs(startCtx, finishCtx context.Context) {
	for {
		err := w.pullUntilError(startCtx, finishCtx)
		// The end of a run removes its consumer, and may be seen here later than the removal. That is
		// no failure to log. The generator recreates a consumer that was removed otherwise.
		if delay.Sleep(startCtx, w.service.presenceTerm.Heartbeat()/10) != nil {
			return
		}
		w.log.Warn("fetcher.pull.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// pullUntilError opens the consumer of the jobs and pulls until that fails or startCtx ends.
func (w *runWorker) pullUntilError(startCtx, finishCtx context.Context) error {
	consumer, err := w.service.Bus.JetStream().Consumer(startCtx, contract.StreamJobs, w.manifest.RunID.ConsumerName())
	if err != nil {
		return fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	defer w.service.Bus.WatchStalls(startCtx, consumer)()
	w.noteConsumer(consumer.CachedInfo())
	for lastInfo := time.Now(); err == nil && startCtx.Err() == nil; {
		if time.Since(lastInfo) > contract.ConsumerRecreateDelay/2 {
			lastInfo = time.Now()
			info, err := consumer.Info(startCtx)
			if err != nil {
				return fmt.Errorf("inspecting the consumer of the jobs: %w", err)
			}
			w.noteConsumer(info)
		}
		err = w.pullOnce(startCtx, finishCtx, consumer)
	}
	return err
}

// noteConsumer notes whether the consumer of the jobs was recreated: then a first delivery may be
// of a job that was done before. Between two calls it cannot be removed and recreated without a
// failed pull.
func (w *runWorker) noteConsumer(info *jetstream.ConsumerInfo) {
	if !w.consumerCreated.IsZero() && !w.consumerCreated.Equal(info.Created) {
		w.consumerRecreated.Store(true)
	}
	w.consumerCreated = info.Created
}

// pullOnce pulls jobs and starts them. It pulls before it waits for an admission: otherwise a free
// admission would be unused during the pull, and the order of the runs would depend on how long
// their pulls take. So a busy run has one job that waits.
func (w *runWorker) pullOnce(startCtx, finishCtx context.Context, consumer jetstream.Consumer) error {
	if err := w.reachability.AwaitTry(startCtx); err != nil {
		return err
	}
	jobs, err := w.fetchJobs(startCtx, consumer)
	return errors.Join(w.startWhenFree(startCtx, finishCtx, jobs), err)
}

// fetchJobs returns as many jobs as admissions are free now, and at least one if one arrives within
// one heartbeat.
func (w *runWorker) fetchJobs(startCtx context.Context, consumer jetstream.Consumer) (jobs []delivery, err error) {
	epoch, requestedAt := w.service.Bus.Epoch(), time.Now()
	most := max(1, w.service.limiter.FreeAdmissions())
	if w.reachability.Failing() {
		most = 1
	}
	batch, err := consumer.FetchNoWait(most)
	if err != nil {
		return nil, err
	}
	for msg := range batch.Messages() {
		jobs = append(jobs, delivery{lease.HoldMessage(w.service.Bus, msg, requestedAt, w.service.jobTerm), epoch})
	}
	if err := batch.Error(); err != nil || len(jobs) > 0 {
		return jobs, err
	}
	epoch = w.service.Bus.Epoch()
	msg, requestedAt, err := w.service.Bus.Next(startCtx, consumer, w.service.jobTerm.Heartbeat())
	switch {
	case errors.Is(err, nats.ErrTimeout): // no job arrived
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []delivery{{lease.HoldMessage(w.service.Bus, msg, requestedAt, w.service.jobTerm), epoch}}, nil
}

// delivery is a leased job, and the epoch of the connection when it was requested.
type delivery struct {
	lease *lease.Message
	epoch uint64
}

// startWhenFree starts each job when an admission is free. That may take longer than the ack-wait
// of a job, which its heartbeats extend. When startCtx ends, it returns the jobs that it has not
// started. They are on no in-flight record: if the process dies, they do not count as crashes.
func (w *runWorker) startWhenFree(startCtx, finishCtx context.Context, jobs []delivery) error {
	for len(jobs) > 0 {
		admissions, err := w.service.limiter.Admit(startCtx, len(jobs))
		if err != nil {
			for _, job := range jobs {
				job.lease.Settle(bus.NakAfter(0))
			}
			return err
		}
		for i, admission := range admissions {
			w.startJob(startCtx, finishCtx, jobs[i], admission)
		}
		jobs = jobs[len(admissions):]
	}
	return nil
}

// startJob processes a job with an admission, concurrently. A goroutine that has done its job takes
// the next one: its stack has grown to what a request needs.
func (w *runWorker) startJob(startCtx, finishCtx context.Context, d delivery, admission limit.Admission) {
	w.service.inFlight.Add(1)
	w.inFlight.Add(1)
	do := func() {
		defer admission.Release()
		defer w.service.inFlight.Add(-1)
		defer w.inFlight.Add(-1)
		w.process(startCtx, finishCtx, d)
	}
	select {
	case w.nextJob <- do: // a goroutine waits
	default:
		w.jobs.Go(func() {
			do()
			for next := range w.nextJob {
				next()
			}
		})
	}
}
