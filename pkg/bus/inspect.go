package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Subjects are the subjects of a stream that match filter, each with the number of its messages.
func (b *Bus) Subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	opened, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("looking into %s: %w", stream, err)
	}
	info, err := opened.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("looking into %s: %w", stream, err)
	}
	return info.State.Subjects, nil
}

// LastSequence is the sequence of the newest message of a stream that matches filter; 0 when there is none.
func (b *Bus) LastSequence(ctx context.Context, stream, filter string) (uint64, error) {
	msg, err := b.GetLast(ctx, stream, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	return msg.Sequence, err
}
