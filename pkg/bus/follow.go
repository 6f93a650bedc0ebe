package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// followPrefetch bounds what lies in memory before it is taken: squeezed packs have up to half a megabyte. With fewer there
// are more pulls, and now and then one of them stalls.
const followPrefetch = 64

// Follow hands every message of a stream that matches filter and lies after a sequence to take, in their order, and
// waits for more until ctx ends or take returns an error, which it returns. It leaves no trace on the server.
func (b *Bus) Follow(ctx context.Context, stream, filter string, after uint64, take func(jetstream.Msg) error) error {
	consumer, err := b.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{filter},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		InactiveThreshold: 30 * time.Second,
		MaxResetAttempts:  3,
	})
	if err != nil {
		return fmt.Errorf("following %s: %w", filter, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(followPrefetch), jetstream.PullHeartbeat(pullHeartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return fmt.Errorf("following %s: %w", filter, err)
	}
	defer messages.Stop()
	for {
		next, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("following %s: %w", filter, err)
		}
		if err := take(next); err != nil {
			return err
		}
	}
}
