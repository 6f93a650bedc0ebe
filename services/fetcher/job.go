package fetcher

import (
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
)

// beat is how often a held job is said to be worked on; its ack-wait is 15 s.
const beat = 5 * time.Second

// do does one job: nil when it has its outcome already, bus.ErrLeave when its answer is stored and the classifier
// settles it.
func (w *shift) do(d delivery) error {
	msg := d.msg
	job, err := w.read(msg.Data())
	if err != nil {
		return err
	}
	metadata, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	id := job.CaseID
	if !w.hold(id.Number) { // redelivered to the very process that still works on it
		return waiting(beat)
	}
	defer w.release(id.Number)
	letGo, mine := w.crowd.claim(id)
	if !mine { // another run has it in hand
		return waiting(classifying)
	}
	defer letGo()
	again := metadata.NumDelivered > 1 || w.remade.Load() || msg.Headers().Get(contract.RepublishedHeader) != ""
	step, err := w.ledger.next(w.finish, id.Number, d.epoch, again)
	switch {
	case err != nil:
		return err
	case step.Settled:
		return nil
	case step.Wait > 0:
		return waiting(step.Wait)
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = w.manifest.MaxRetries + 1
	}
	original, err := w.known(id, d.epoch)
	switch {
	case err != nil:
		return err
	case original.RunID != "":
		return w.takeOver(d, job, step.Attempt, original)
	}
	// Each attempt before this one has cost a delivery; one more may be a crash.
	again = metadata.NumDelivered > uint64(step.Attempt)
	crashes, err := w.holdings.crashes(w.finish, w.ledger, id.Number, d.epoch, again)
	switch {
	case err != nil:
		return err
	case crashes >= crashLimit:
		return w.crashed(d, job, step.Attempt, crashes)
	}
	return w.attempt(d, job, step.Attempt, crashes)
}

// read decodes a job of this run; its error wraps contract.ErrMessage.
func (w *shift) read(data []byte) (contract.Job, error) {
	var job contract.Job
	if err := json.Unmarshal(data, &job); err != nil {
		return job, fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	if job.Version != contract.MessageVersion || job.CaseID != w.manifest.Case(job.CaseID.Number) {
		return job, fmt.Errorf("%w: not a job of run %s: %.200q", contract.ErrMessage, w.manifest.RunID, data)
	}
	return job, nil
}

func (w *shift) hold(number int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held[number] {
		return false
	}
	w.held[number] = true
	return true
}

func (w *shift) release(number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, number)
}
