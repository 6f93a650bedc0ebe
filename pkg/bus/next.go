package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// nextLimit is after how long it is asked anew for a message: whatever became of the request, it is not waited for any longer.
	nextLimit = 10 * time.Second
	// nextHeartbeat makes a request that was lost with a server be noticed in four seconds.
	nextHeartbeat = 2 * time.Second
)

// Next waits for one message of a pull consumer. Its error is nats.ErrTimeout when none has come for some seconds, or the request got lost:
// then it is the time to ask again, if the message is still wanted. When ctx has ended it is the cause of that, and a message that came
// all the same is handed back.
func Next(ctx context.Context, consumer jetstream.Consumer) (jetstream.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, nextLimit)
	defer cancel()
	msg, err := consumer.Next(jetstream.FetchContext(limited), jetstream.FetchHeartbeat(nextHeartbeat))
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = msg.NakWithDelay(time.Nanosecond) // a server keeps a delay over its restart, and a plain Nak not
		}
		return nil, context.Cause(ctx)
	case err == nil:
		return msg, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoHeartbeat):
		return nil, nats.ErrTimeout
	default:
		return nil, err
	}
}
