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

// take pulls jobs and starts each of them as soon as a place is free for it, until begin ends.
func (w *shift) take() {
	for {
		err := w.pullOn()
		// Whoever ends a run removes its consumer, and the news of the end may come later than the
		// removal: that is no failure to log. A consumer that somebody else has removed is made anew
		// by the generator.
		if delay.Sleep(w.begin, renew/10) != nil {
			return
		}
		w.Log.Warn("fetcher.pull.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// pullOn opens the consumer of the jobs and pulls until that fails or nothing new is to be begun.
func (w *shift) pullOn() error {
	consumer, err := w.Bus.JetStream().Consumer(w.begin, contract.StreamJobs, w.manifest.RunID.ConsumerName())
	if err != nil {
		return fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	defer w.Bus.WatchStalls(w.begin, consumer)()
	w.noteConsumer(consumer.CachedInfo())
	for looked := time.Now(); err == nil && w.begin.Err() == nil; {
		if time.Since(looked) > contract.ConsumerRecreateDelay/2 {
			looked = time.Now()
			info, err := consumer.Info(w.begin)
			if err != nil {
				return fmt.Errorf("looking at the consumer of the jobs: %w", err)
			}
			w.noteConsumer(info)
		}
		err = w.pull(consumer)
	}
	return err
}

// noteConsumer notices that the consumer of the jobs was made again: what it delivers for the first time may have been done by
// anybody before. Between two looks it cannot be removed and made again without that a pull fails.
func (w *shift) noteConsumer(info *jetstream.ConsumerInfo) {
	if !w.made.IsZero() && !w.made.Equal(info.Created) {
		w.remade.Store(true)
	}
	w.made = info.Created
}

// pull takes jobs and starts them. It pulls before it waits for a place: a place that waited for the pull would be unused
// meanwhile, and the order of the runs would depend on how long their pulls take. A busy run so has one job that waits.
func (w *shift) pull(consumer jetstream.Consumer) error {
	if err := w.connecting.wait(w.begin); err != nil {
		return err
	}
	jobs, err := w.fetch(consumer)
	return errors.Join(w.seat(jobs), err)
}

// fetch returns as many jobs as places are free now, and at least one if there is one within beat.
func (w *shift) fetch(consumer jetstream.Consumer) (jobs []delivery, err error) {
	epoch, asked := w.Bus.Epoch(), time.Now()
	most := max(1, w.places.idle())
	if w.connecting.failing() {
		most = 1
	}
	batch, err := consumer.FetchNoWait(most)
	if err != nil {
		return nil, err
	}
	for msg := range batch.Messages() {
		jobs = append(jobs, delivery{grasp(msg, asked, beat, slipJob), epoch})
	}
	if err := batch.Error(); err != nil || len(jobs) > 0 {
		return jobs, err
	}
	epoch = w.Bus.Epoch()
	msg, asked, err := bus.Next(w.begin, consumer, beat)
	switch {
	case errors.Is(err, nats.ErrTimeout): // none has come so far
		return nil, nil
	case err != nil:
		return nil, err
	}
	return []delivery{{grasp(msg, asked, beat, slipJob), epoch}}, nil
}

// delivery is a job in this process's hands, and the connection's epoch when it was taken.
type delivery struct {
	*grip
	epoch uint64
}

// seat starts each job when there is a place for it, which may take longer than a job's ack-wait: its heartbeat goes on. It
// gives back the jobs that it has not started when begin ends. They are on no record of holdings: a process that dies now has
// not crashed on them.
func (w *shift) seat(jobs []delivery) error {
	for len(jobs) > 0 {
		held, err := w.places.take(w.begin, len(jobs))
		if err != nil {
			for _, left := range jobs {
				if left.letGo() {
					_ = left.msg.NakWithDelay(bus.NoDelay)
				}
			}
			return err
		}
		for i, place := range held {
			w.start(jobs[i], place)
		}
		jobs = jobs[len(held):]
	}
	return nil
}

// start does a job in a place of its own.
func (w *shift) start(d delivery, held place) {
	w.inFlight.Add(1)
	w.flight.Go(func() {
		defer held.free()
		defer w.inFlight.Add(-1)
		w.settle(d)
	})
}
