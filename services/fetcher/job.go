package fetcher

import (
	"encoding/json"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// doJob does one job. It returns nil if the job has its outcome already, and bus.ErrLeaveUnsettled
// if an answer is stored and the classifier settles the job.
func (w *runWorker) doJob(d delivery) error {
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
		return bus.RetryIn(w.jobTerm.Heartbeat(), errNotDue)
	}
	defer w.releaseNumber(id.Number)
	unclaim, claimed := w.overlap.claim(id)
	if !claimed { // another run works on it
		return bus.RetryIn(recheckDelay, errNotDue)
	}
	defer unclaim()
	reread := metadata.NumDelivered > 1 || w.consumerRecreated.Load() ||
		msg.Headers().Get(contract.RepublishedHeader) != ""
	step, err := w.history.nextStep(w.finishCtx, id.Number, d.epoch, reread)
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
	original, err := w.existingOutcome(id, d.epoch)
	switch {
	case err != nil:
		return err
	case original.RunID != "":
		return w.requestCopy(d, job, step.Attempt, original)
	}
	// Each earlier attempt has used one delivery. A further delivery may come from a crash.
	reread = metadata.NumDelivered > uint64(step.Attempt)
	crashes, err := w.record.crashes(w.finishCtx, w.history, id.Number, d.epoch, reread)
	switch {
	case err != nil:
		return err
	case crashes >= crashLimit:
		return w.storeCrashed(d, job, step.Attempt, crashes)
	}
	return w.makeAttempt(d, job, step.Attempt, crashes)
}

// decodeJob decodes a job of this run; its error wraps contract.ErrMessage.
func (w *runWorker) decodeJob(data []byte) (contract.Job, error) {
	var job contract.Job
	if err := json.Unmarshal(data, &job); err != nil {
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
