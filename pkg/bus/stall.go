package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go/jetstream"
)

// redeliver has every message that is pending at a consumer come again: at once when this process is alone, else after the ack-wait.
// It addresses each sequence that may be pending, because no request lists those that are. The server ignores the others.
func (b *Bus) redeliver(info *jetstream.ConsumerInfo) error {
	if info.NumAckPending == 0 {
		return nil
	}
	after := info.Config.AckWait
	if b.exclusive {
		after = NoDelay
	}
	for sequence := info.AckFloor.Stream + 1; sequence <= info.Delivered.Stream; sequence++ {
		// The parts after the consumer: delivery count, stream and consumer sequence, time and messages left.
		settle := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", info.Stream, info.Name, sequence, info.Delivered.Consumer)
		if err := b.NakWithDelay(settle, after); err != nil {
			return fmt.Errorf("redelivering from %s: %w", info.Name, err)
		}
	}
	return nil
}

// WatchStalls keeps the wall clock from holding back the messages of a consumer, until ctx ends or stop is called. The server counts
// ack-waits and delays by the wall clock, so that a clock that is set back makes them longer by the step. After such a step all that
// is pending is delivered again: at once when this process is alone, else after the ack-wait, within which the other
// holders send a heartbeat. A step that this process could not see, on another machine or while no process ran, shows by a
// consumer that has messages pending and has delivered nothing for longer than its ack-wait.
func (b *Bus) WatchStalls(ctx context.Context, consumer jetstream.Consumer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if b.exclusive { // whoever held something before has ended
		b.redeliverPending(ctx, consumer)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		b.clockSteps(ctx, func(by time.Duration) {
			if by < 0 {
				b.redeliverPending(ctx, consumer)
			}
		})
	})
	watching.Go(func() { b.watchForStall(ctx, consumer) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// redeliverPending redelivers what is pending now.
func (b *Bus) redeliverPending(ctx context.Context, consumer jetstream.Consumer) {
	for {
		info, err := consumer.Info(ctx)
		if err == nil {
			err = b.redeliver(info)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
			return // whoever takes from a consumer that is gone finds out
		}
		b.log.Warn("bus.unstall.failed", "error", err)
		if delay.Sleep(ctx, defaultRetryDelay) != nil {
			return
		}
	}
}

// watchForStall redelivers what is pending when nothing was delivered for longer than the ack-wait.
func (b *Bus) watchForStall(ctx context.Context, consumer jetstream.Consumer) {
	var delivered uint64
	since := time.Now()
	for delay.Sleep(ctx, defaultHeartbeat) == nil {
		info, err := consumer.Info(ctx)
		switch {
		case err != nil: // whoever takes from it finds out
		case info.NumAckPending == 0 || info.Delivered.Consumer != delivered:
			delivered, since = info.Delivered.Consumer, time.Now()
		case time.Since(since) > info.Config.AckWait+defaultHeartbeat:
			since = time.Now()
			if err := b.redeliver(info); err != nil {
				b.log.Warn("bus.unstall.failed", "error", err)
			}
		}
	}
}
