package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NoDelay is the delay of a message that is given back at once. A server keeps a delay over its restart, and a plain Nak not: the message
// would come again after its ack-wait alone.
const NoDelay = time.Nanosecond

// Next waits for one message of a pull consumer, at most so long, and says when it was asked for: its ack-wait cannot have begun
// earlier. Its error is nats.ErrTimeout when none has come: then it is the time to ask again, if the message is still wanted. So whatever
// became of a request that was lost with its server, it is not waited for any longer. When ctx has ended the error is the cause of that, and a
// message that came all the same is handed back.
func Next(ctx context.Context, consumer jetstream.Consumer, most time.Duration) (msg jetstream.Msg, asked time.Time, err error) {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	asked = time.Now()
	msg, err = consumer.Next(jetstream.FetchContext(limited))
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = msg.NakWithDelay(NoDelay)
		}
		return nil, asked, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrNoHeartbeat):
		return nil, asked, nats.ErrTimeout
	default:
		return msg, asked, err
	}
}
