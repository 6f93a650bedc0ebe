package fetcher

import (
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pullJobs pulls jobs and starts each of them as soon as a place is free for it, until begin ends.
func (w *runWorker) pullJobs() {
	for {
		err := w.pullUntilError()
		// Whoever ends a run removes its consumer, and the news of the end may come later than the
		// removal: that is no failure to log. A consumer that somebody else has removed is made anew
		// by the generator.
		if delay.Sleep(w.startCtx, presenceInterval/10) != nil {
			return
		}
		w.Log.Warn("fetcher.pull.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// pullUntilError opens the consumer of the jobs and pulls until that fails or nothing new is to be begun.
func (w *runWorker) pullUntilError() error {
	consumer, err := w.Bus.JetStream().Consumer(w.startCtx, contract.StreamJobs, w.manifest.RunID.ConsumerName())
	if err != nil {
		return fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	defer w.Bus.WatchStalls(w.startCtx, consumer)()
	w.noteConsumer(consumer.CachedInfo())
	for lastInfo := time.Now(); err == nil && w.startCtx.Err() == nil; {
		if time.Since(lastInfo) > contract.ConsumerRecreateDelay/2 {
			lastInfo = time.Now()
			info, err := consumer.Info(w.startCtx)
			if err != nil {
				return fmt.Errorf("looking at the consumer of the jobs: %w", err)
			}
			w.noteConsumer(info)
		}
		err = w.pullOnce(consumer)
	}
	return err
}

// noteConsumer notices that the consumer of the jobs was made again: what it delivers for the first time may have been done by
// anybody before. Between two looks it cannot be removed and made again without that a pull fails.
func (w *runWorker) noteConsumer(info *jetstream.ConsumerInfo) {
	if !w.consumerCreated.IsZero() && !w.consumerCreated.Equal(info.Created) {
		w.consumerRecreated.Store(true)
	}
	w.consumerCreated = info.Created
}

// pullOnce takes jobs and starts them. It pulls before it waits for a place: a place that waited for the pull would be unused
// meanwhile, and the order of the runs would depend on how long their pulls take. A busy run so has one job that waits.
func (w *runWorker) pullOnce(consumer jetstream.Consumer) error {
	if err := w.reachability.awaitTry(w.startCtx); err != nil {
		return err
	}
	jobs, err := w.fetchJobs(consumer)
	return errors.Join(w.startWhenFree(jobs), err)
}

// fetchJobs returns as many jobs as places are free now, and at least one if there is one within beat.
func (w *runWorker) fetchJobs(consumer jetstream.Consumer) (jobs []delivery, err error) {
	epoch, requestedAt := w.Bus.Epoch(), time.Now()
	limit := max(1, w.inFlightLimit.available())
	if w.reachability.failing() {
		limit = 1
	}
	batch, err := consumer.FetchNoWait(limit)
	if err != nil {
		return nil, err
	}
	for msg := range batch.Messages() {
		jobs = append(jobs, delivery{acquireLease(msg, requestedAt, jobHeartbeat, jobExpiry), epoch})
	}
	if err := batch.Error(); err != nil || len(jobs) > 0 {
		return jobs, err
	}
	epoch = w.Bus.Epoch()
	msg, requestedAt, err := bus.Next(w.startCtx, consumer, jobHeartbeat)
	switch {
	case errors.Is(err, nats.ErrTimeout): // none has come so far
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []delivery{{acquireLease(msg, requestedAt, jobHeartbeat, jobExpiry), epoch}}, nil
}

// delivery is a job in this process's hands, and the connection's epoch when it was taken.
type delivery struct {
	*messageLease
	epoch uint64
}

// startWhenFree starts each job when there is a place for it, which may take longer than a job's ack-wait: its heartbeat goes on. It
// gives back the jobs that it has not started when begin ends. They are on no record of holdings: a process that dies now has
// not crashed on them.
func (w *runWorker) startWhenFree(jobs []delivery) error {
	for len(jobs) > 0 {
		admissions, err := w.inFlightLimit.acquire(w.startCtx, len(jobs))
		if err != nil {
			for _, job := range jobs {
				if job.release() {
					_ = job.msg.NakWithDelay(bus.NoDelay)
				}
			}
			return err
		}
		for i, admission := range admissions {
			w.startJob(jobs[i], admission)
		}
		jobs = jobs[len(admissions):]
	}
	return nil
}

// startJob does a job in a place of its own.
func (w *runWorker) startJob(d delivery, admission admission) {
	w.inFlight.Add(1)
	w.jobs.Go(func() {
		defer admission.release()
		defer w.inFlight.Add(-1)
		w.process(d)
	})
}
