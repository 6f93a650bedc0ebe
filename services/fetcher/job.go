package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// beat is how often a held job is said to be worked on; its ack-wait is 15 s.
const beat = 5 * time.Second

// do does one job: nil when it has its outcome already, bus.ErrLeave when its answer is stored and the classifier
// settles it. It calls free when the site is no longer asked.
func (w *shift) do(msg jetstream.Msg, epoch uint64, free func()) error {
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
	defer heartbeats(msg)()
	step, err := w.ledger.next(w.finish, id.Number, epoch, metadata.NumDelivered > 1)
	switch {
	case err != nil:
		return err
	case step.Settled:
		return nil
	case step.Wait > 0:
		return waiting(step.Wait)
	}
	if taken, err := w.known(id, step.Attempt, epoch); taken || err != nil {
		return err
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = w.manifest.MaxRetries + 1
	}
	return w.attempt(msg, job, step.Attempt, free)
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

// attempt asks the site once for a case and stores what it answered.
func (w *shift) attempt(msg jetstream.Msg, job contract.Job, attempt int, free func()) error {
	id, requests := job.CaseID, 0
	ask := w.Site.Ask
	if job.Doubtful {
		ask = w.Site.AskDoubtful
	}
	leave, err := w.climate.enter(w.begin)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", id, err)
	}
	defer leave()
	exchanges, err := ask(w.finish, id, func(ctx context.Context) (time.Duration, error) {
		requests++
		if requests == 1 {
			w.Log.Info("batch.job.start", "run_id", w.manifest.RunID, "case_id", id.String(), "attempts", attempt)
		}
		return w.turn(ctx, requests == 1)
	})
	rule, wait, blocked := w.Site.Blocked(id, exchanges, time.Now())
	if !blocked {
		w.climate.note(context.WithoutCancel(w.finish), exchanges, w.Site.RetryAfter)
	}
	leave()
	if blocked {
		// This process stops at once; the others hear of it through the buckets.
		w.end(runs.Halted{Halt: contract.Halt{Status: contract.Blocked, Reason: rule}})
		if err := w.block(context.WithoutCancel(w.finish), w.manifest, id, rule, wait); err != nil {
			w.fail(err)
		}
	} else if err != nil {
		return fmt.Errorf("asking for %s: %w", id, err)
	}
	// The place is for asking: while the answer is stored the next case is asked for. As many answers as there are places
	// may wait to be stored, so that a crash loses at most twice as many.
	w.saving <- struct{}{}
	defer func() { <-w.saving }()
	free()
	answer := contract.Answer{
		CaseID: id, Attempt: attempt, MaxAttempts: job.MaxAttempts,
		KeepRaw: w.manifest.PersistRawHTML, Settle: msg.Reply(), Exchanges: exchanges,
	}
	if err := w.keep(answer); err != nil {
		return fmt.Errorf("storing the answer for %s: %w", id, err)
	}
	return bus.ErrLeave
}

// keep stores an answer, again and again while the store only stumbles: to ask the site a second time for what it has
// answered would be worse.
func (w *shift) keep(answer contract.Answer) error {
	for {
		err := w.gather.Do(w.finish, ready{w.manifest.RunID, answer})
		if err == nil || errors.Is(err, bus.ErrStore) || errors.Is(err, bus.ErrTooLarge) {
			return err
		}
		w.Log.Warn("fetcher.answer.kept", "run_id", w.manifest.RunID, "case_id", answer.CaseID.String(), "error", err)
		if sleep(w.finish, classifying) != nil {
			return err
		}
	}
}

// turn waits until the next request may start. Nothing is begun once the run is halted; a case that is under way is
// finished, unless the site told us to go away: then not one request more is made.
func (w *shift) turn(ctx context.Context, first bool) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(w.begin, func() {
		if first || w.unwelcome() {
			cancel(context.Cause(w.begin))
		}
	})
	defer stop()
	gap, err := w.pacer.Wait(ctx, !first, w.climate.hold)
	if err == nil && w.begin.Err() != nil && (first || w.unwelcome()) {
		err = context.Cause(w.begin)
	}
	return gap, err
}

// unwelcome says whether the run was halted because the site blocks us.
func (w *shift) unwelcome() bool {
	var halted runs.Halted
	return errors.As(context.Cause(w.begin), &halted) && halted.Status == contract.Blocked
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

// heartbeats says that a job is worked on until the function it returns is called.
func heartbeats(msg jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				_ = msg.InProgress() // a lost one is made good by the next
			}
		}
	})
	return func() {
		close(done)
		beating.Wait()
	}
}
