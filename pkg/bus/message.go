package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is one message as a stream holds it.
type Message struct {
	Subject string
	// Sequence is the message's place in its stream, StoredAt when it was stored.
	Sequence uint64
	StoredAt time.Time
	Header   nats.Header
	Data     []byte
	// forged says that the message was read out of a stream before it was stored in this one.
	forged bool
	// previous is the sequence of the message before it in the same answer, 0 for the first.
	previous uint64
}

// isForged says whether a message carries, in the header that was published, the mark that the server puts on what it reads
// out of a stream. Nothing that this program publishes carries it: somebody has had the server answer to the subject.
func isForged(published nats.Header) bool { return len(published.Values(jetstream.StreamHeader)) > 0 }

// parseDirectGet reads an answer to a direct get. The server appends its own header fields to those that were published, so the last
// value of a field is the server's, and a second value of the stream's name shows a forgery. found is false for an answer without a
// message, which says why in its status.
func parseDirectGet(msg *nats.Msg) (m Message, found bool, err error) {
	streams := msg.Header.Values(jetstream.StreamHeader)
	if len(streams) == 0 {
		return m, false, nil
	}
	m = Message{Header: msg.Header, Data: msg.Data, forged: len(streams) > 1, Subject: lastValue(msg.Header, jetstream.SubjectHeader)}
	if m.Sequence, err = strconv.ParseUint(lastValue(msg.Header, jetstream.SequenceHeader), 10, 64); err != nil {
		return m, false, fmt.Errorf("reading the sequence of a message: %w", err)
	}
	if m.StoredAt, err = time.Parse(time.RFC3339Nano, lastValue(msg.Header, jetstream.TimeStampHeaer)); err != nil {
		return m, false, fmt.Errorf("reading the time of message %d: %w", m.Sequence, err)
	}
	m.previous, _ = strconv.ParseUint(lastValue(msg.Header, jetstream.LastSequenceHeader), 10, 64) // batches alone have it
	return m, true, nil
}

func lastValue(header nats.Header, name string) string {
	values := header.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// requestTimeout is how long one request may stay without an answer.
const requestTimeout = 5 * time.Second

// getRequest is what STREAM.MSG.GET and DIRECT.GET are asked.
type getRequest struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// Get reads the message with a sequence. Like GetNext and GetLast it asks the stream's leader, which knows of all that is stored, whatever
// the stream allows others to answer. The error wraps jetstream.ErrMsgNotFound when there is none, or a forged one.
func (b *Bus) Get(ctx context.Context, stream string, sequence uint64) (Message, error) {
	msg, err := b.get(ctx, stream, getRequest{Sequence: sequence})
	if err == nil && b.rejectForged(stream, msg) {
		err = jetstream.ErrMsgNotFound
	}
	if err != nil {
		return Message{}, fmt.Errorf("reading message %d of %s: %w", sequence, stream, err)
	}
	return msg, nil
}

// GetNext reads the first message of a subject, or of those that match a filter, from a sequence on.
func (b *Bus) GetNext(ctx context.Context, stream, filter string, from uint64) (Message, error) {
	for {
		msg, err := b.get(ctx, stream, getRequest{Sequence: max(1, from), NextFor: filter})
		if err != nil {
			return Message{}, fmt.Errorf("reading %s from message %d on: %w", filter, from, err)
		}
		if !b.rejectForged(stream, msg) {
			return msg, nil
		}
		from = msg.Sequence + 1
	}
}

// GetLast reads the newest message of a subject, or of those that match a filter.
func (b *Bus) GetLast(ctx context.Context, stream, filter string) (Message, error) {
	msg, err := b.get(ctx, stream, getRequest{LastFor: filter})
	if err != nil || !b.rejectForged(stream, msg) {
		if err != nil {
			err = fmt.Errorf("reading the newest of %s: %w", filter, err)
		}
		return msg, err
	}
	// Rare: the newest that is not forged is found from the beginning.
	newest, end := Message{}, msg.Sequence
	for from := uint64(1); from < end; from = newest.Sequence + 1 {
		next, err := b.GetNext(ctx, stream, filter, from)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && next.Sequence > end {
			break
		}
		if err != nil {
			return Message{}, err
		}
		newest = next
	}
	if newest.Sequence == 0 {
		return Message{}, fmt.Errorf("reading the newest of %s: %w", filter, jetstream.ErrMsgNotFound)
	}
	return newest, nil
}

// get asks the leader for one message.
func (b *Bus) get(ctx context.Context, stream string, request getRequest) (Message, error) {
	answer, err := b.request(ctx, "STREAM.MSG.GET."+stream, request)
	if err != nil {
		return Message{}, err
	}
	var body struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &body); err != nil {
		return Message{}, fmt.Errorf("reading the answer: %w", err)
	}
	switch {
	case body.Error != nil && body.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return Message{}, jetstream.ErrMsgNotFound
	case body.Error != nil:
		return Message{}, body.Error
	case body.Message == nil:
		return Message{}, errors.New("the answer holds no message")
	}
	m := Message{Subject: body.Message.Subject, Sequence: body.Message.Sequence, StoredAt: body.Message.Time, Data: body.Message.Data}
	if len(body.Message.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(body.Message.Header); err != nil {
			return Message{}, fmt.Errorf("reading the header of message %d: %w", m.Sequence, err)
		}
	}
	m.forged = isForged(m.Header)
	return m, nil
}

// request makes one request of the JetStream API.
func (b *Bus) request(ctx context.Context, name string, request any) (*nats.Msg, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, fmt.Errorf("asking %s: %w", name, err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := b.nc.RequestWithContext(limited, b.apiSubject(name), body)
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("asking %s: %w", name, b.permissionError(name, nats.ErrTimeout))
	default:
		return nil, fmt.Errorf("asking %s: %w", name, err)
	}
}

// apiSubject is the subject of a request of the JetStream API.
func (b *Bus) apiSubject(name string) string {
	prefix := b.js.Options().APIPrefix
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	return prefix + name
}
