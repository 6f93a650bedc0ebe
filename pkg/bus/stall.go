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

// redeliver has every pending message of a consumer delivered again: at once if this process is the
// only one, otherwise after the ack-wait. No API lists the pending messages, so it naks every
// sequence that may be pending; the server ignores the others.
func (b *Bus) redeliver(info *jetstream.ConsumerInfo) error {
	if info.NumAckPending == 0 {
		return nil
	}
	settlement := NakAfter(info.Config.AckWait)
	if b.exclusive {
		settlement = NakAfter(0)
	}
	for sequence := info.AckFloor.Stream + 1; sequence <= info.Delivered.Stream; sequence++ {
		// The tokens after the consumer: deliveries, stream and consumer sequence, time, messages
		// left.
		reply := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.0.0", info.Stream, info.Name, sequence, info.Delivered.Consumer)
		if err := b.Settle(reply, settlement); err != nil {
			return fmt.Errorf("redelivering from %s: %w", info.Name, err)
		}
	}
	return nil
}

// WatchStalls corrects the effect of wall clock steps on a consumer, until ctx ends or stop is
// called. The server measures ack-waits and delays by the wall clock, so that a clock that is set
// back extends them by the step. After such a step all pending messages are redelivered: at once if
// this process is the only one, otherwise after the ack-wait, within which the other holders send a
// heartbeat. A step on another machine, or while no process ran, shows as a consumer that has
// pending messages and has delivered nothing for longer than its ack-wait.
func (b *Bus) WatchStalls(ctx context.Context, consumer jetstream.Consumer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if b.exclusive { // earlier holders have ended
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

// redeliverPending redelivers the messages that are pending now. It retries until it succeeds, ctx
// ends or the consumer is gone.
func (b *Bus) redeliverPending(ctx context.Context, consumer jetstream.Consumer) {
	for {
		info, err := consumer.Info(ctx)
		if err == nil {
			err = b.redeliver(info)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, jetstream.ErrConsumerNotFound) {
			return // the consumer's reader reports that it is gone
		}
		b.log.Warn("bus.unstall.failed", "error", err)
		if delay.Sleep(ctx, defaultRetryDelay) != nil {
			return
		}
	}
}

// watchForStall redelivers pending messages if nothing was delivered for longer than the ack-wait.
func (b *Bus) watchForStall(ctx context.Context, consumer jetstream.Consumer) {
	var delivered uint64
	since := time.Now()
	for delay.Sleep(ctx, defaultHeartbeat) == nil {
		info, err := consumer.Info(ctx)
		switch {
		case err != nil: // the consumer's reader reports it
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
