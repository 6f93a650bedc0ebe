package fetcher

import (
	"errors"
	"fmt"
	"sync"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// take pulls as many jobs as places are free, whenever there are some: what is pulled is begun at once.
func (w *shift) take() error {
	consumer, err := w.Bus.JetStream().Consumer(w.begin, contract.StreamJobs, w.manifest.RunID.ConsumerName())
	if err != nil {
		if w.begin.Err() != nil {
			return nil
		}
		return fmt.Errorf("opening the consumer of the jobs: %w", err)
	}
	for {
		places := w.reserve()
		if places == 0 {
			return nil
		}
		err := w.pull(consumer, places)
		switch {
		case err == nil:
		case w.begin.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrConsumerDeleted):
			return fmt.Errorf("taking a job: %w", err)
		default:
			w.Log.Warn("fetcher.pull.failed", "run_id", w.manifest.RunID, "error", err)
			if err := sleep(w.begin, renew/10); err != nil {
				return nil
			}
		}
	}
}

// reserve waits until a place is free and takes all that are; none when nothing new is to be begun.
func (w *shift) reserve() int {
	select {
	case <-w.begin.Done():
		return 0
	case w.places <- struct{}{}:
	}
	for places := 1; ; places++ {
		select {
		case w.places <- struct{}{}:
		default:
			return places
		}
	}
}

// pull begins the jobs that are there, up to the places reserved, or waits for one. Places that are not used are given
// back.
func (w *shift) pull(consumer jetstream.Consumer, places int) error {
	defer func() {
		for range places {
			<-w.places
		}
	}()
	epoch := w.Bus.Epoch()
	batch, err := consumer.FetchNoWait(places)
	if err != nil {
		return err
	}
	begun := false
	for msg := range batch.Messages() {
		places--
		begun = true
		w.start(msg, epoch)
	}
	if err := batch.Error(); err != nil || begun {
		return err
	}
	for ; places > 1; places-- { // one is enough to wait with
		<-w.places
	}
	msg, err := consumer.Next(jetstream.FetchContext(w.begin))
	if err != nil {
		return err
	}
	places--
	w.start(msg, epoch)
	return nil
}

// start does a job in a place of its own.
func (w *shift) start(msg jetstream.Msg, epoch uint64) {
	free := sync.OnceFunc(func() { <-w.places })
	w.flight.Go(func() {
		defer free()
		w.settle(msg, epoch, free)
	})
}
