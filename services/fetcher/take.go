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

// take pulls as many jobs as places are free, whenever there are some: what is pulled is begun at once.
func (w *shift) take() error {
	for {
		err := w.pullOn()
		if w.begin.Err() != nil {
			return nil
		}
		// Whoever ends a run removes its consumer, and the news of the end may come later than the removal; one that somebody else
		// has removed is made anew by the generator.
		w.Log.Warn("fetcher.pull.failed", "run_id", w.manifest.RunID, "error", err)
		if err := delay.For(w.begin, renew/10); err != nil {
			return nil
		}
	}
}

// pullOn opens the consumer of the jobs and pulls until that fails or nothing new is to be begun.
func (w *shift) pullOn() error {
	consumer, err := w.Bus.JetStream().Consumer(w.begin, contract.StreamJobs, w.manifest.RunID.ConsumerName())
	if err != nil {
		return fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	defer w.Bus.Unstalled(w.begin, consumer)()
	for err == nil && w.begin.Err() == nil {
		err = w.pull(consumer)
	}
	return err
}

// pull begins the jobs that are there, as many as places are free, or waits for one. Who waits for a job holds no place:
// another run may have jobs.
func (w *shift) pull(consumer jetstream.Consumer) error {
	held, err := w.places.take(w.begin)
	if err != nil {
		return err
	}
	epoch := w.Bus.Epoch()
	begun, err := w.pullInto(consumer, held, epoch)
	if err != nil || begun > 0 {
		return err
	}
	msg, asked, err := bus.Next(w.begin, consumer, beat)
	if errors.Is(err, nats.ErrTimeout) { // none has come so far
		return nil
	}
	if err != nil {
		return err
	}
	return w.seat(delivery{grasp(msg, asked, beat, slipJob), epoch})
}

// pullInto begins a job in each place as far as there are jobs, and gives the other places back.
func (w *shift) pullInto(consumer jetstream.Consumer, held []place, epoch uint64) (begun int, err error) {
	defer func() {
		for _, left := range held[begun:] {
			left.free()
		}
	}()
	asked := time.Now()
	batch, err := consumer.FetchNoWait(len(held))
	if err != nil {
		return 0, err
	}
	for msg := range batch.Messages() {
		w.start(delivery{grasp(msg, asked, beat, slipJob), epoch}, held[begun])
		begun++
	}
	return begun, batch.Error()
}

// delivery is a job in this process's hands, and the connection's epoch when it was taken.
type delivery struct {
	*grip
	epoch uint64
}

// seat begins a job as soon as a place is free for it. It may have to wait for longer than the job's ack-wait.
func (w *shift) seat(d delivery) error {
	held, err := w.places.one(w.begin)
	if err != nil {
		if d.letGo() {
			_ = d.msg.NakWithDelay(bus.AtOnce)
		}
		return err
	}
	w.start(d, held)
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
