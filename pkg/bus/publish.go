package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"fct-scraper/pkg/delay"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// maxAtomicBatch is how many messages the server takes in one atomic batch.
	maxAtomicBatch = 1000
	// minAtomicBatch is from how many messages on an atomic batch costs less than publishing one by one: it takes six
	// syncs whatever its size.
	minAtomicBatch = 8
	// maxStoredMessage is what a file store takes in one message, less what it writes around it. A message beyond it leaves
	// a batch "incomplete", which does not say why.
	maxStoredMessage = 32<<20 - 4<<10
	// reconnectPoll is how often a publish that found no connection looks for one.
	reconnectPoll = 20 * time.Millisecond
)

// MaxMessageSize is how many bytes a message may have, headers included, to be stored over this connection.
func (b *Bus) MaxMessageSize() int64 { return min(maxStoredMessage, b.nc.MaxPayload()) }

// Publish stores one message and returns when it is on disk. While there is no connection it waits for one, within
// the limit. An error wraps ErrExists when the subject is taken, ErrTooLarge when the message can never be stored, and ErrStore from
// the third publish in a row to one stream on that stayed without an answer. After any other error the message may be stored or not.
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	var ack *jetstream.PubAck
	err := b.send(ctx, msg.Subject, func(limited context.Context) (err error) {
		ack, err = b.js.PublishMsg(limited, msg, opts...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publishing to %s: %w", msg.Subject, err)
	}
	return ack, nil
}

// PublishBatch stores messages in their order and returns when all are on disk. Up to a thousand that go to one
// stream are stored all or none; fewer than eight are stored one by one, which is cheaper, and so are parts of a longer list.
// Errors are those of Publish.
func (b *Bus) PublishBatch(ctx context.Context, msgs []*nats.Msg) error {
	for len(msgs) > 0 {
		if len(msgs) < minAtomicBatch {
			if _, err := b.Publish(ctx, msgs[0]); err != nil {
				return err
			}
			msgs = msgs[1:]
			continue
		}
		part := msgs[:min(maxAtomicBatch, len(msgs))]
		msgs = msgs[len(part):]
		if err := b.publishAtomic(ctx, part); err != nil {
			return fmt.Errorf("publishing %d messages from %s on: %w", len(part), part[0].Subject, err)
		}
	}
	return nil
}

// publishAtomic works on copies: the library writes the batch into the headers, and a message that is published
// again alone must not claim to be part of a batch that is gone.
func (b *Bus) publishAtomic(ctx context.Context, msgs []*nats.Msg) error {
	copies := make([]*nats.Msg, len(msgs))
	for i, msg := range msgs {
		if msg.Size() > maxStoredMessage {
			return fmt.Errorf("%w: %s: %d bytes", ErrTooLarge, msg.Subject, msg.Size())
		}
		copies[i] = nats.NewMsg(msg.Subject)
		copies[i].Data = msg.Data
		maps.Copy(copies[i].Header, msg.Header)
	}
	return b.send(ctx, msgs[0].Subject, func(limited context.Context) error {
		_, err := jetstreamext.PublishMsgBatch(limited, b.js, copies, jetstreamext.BatchFlowControl{AckFirst: true, AckTimeout: b.publishTimeout})
		return err
	})
}

// send publishes within the limit and judges the error. Without a connection nothing left this process, so the
// publish is made again as soon as there is one: a server that restarts costs a wait, not an error.
func (b *Bus) send(ctx context.Context, subject string, publish func(context.Context) error) error {
	if b.waitForConnection {
		b.awaitConnection(ctx)
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, b.publishTimeout)
	defer cancel()
	err := publish(limited)
	for errors.Is(err, nats.ErrReconnectBufExceeded) && delay.Sleep(limited, reconnectPoll) == nil {
		err = publish(limited)
	}
	return b.publishError(ctx, subject, began, err)
}

// awaitConnection returns when there is a connection, or when ctx ends.
func (b *Bus) awaitConnection(ctx context.Context) {
	for waiting := true; waiting && !b.nc.IsConnected(); {
		waiting = delay.Sleep(ctx, reconnectPoll) == nil
	}
}
