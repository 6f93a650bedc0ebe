package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is a message as a stream stores it.
type Message struct {
	Subject string
	// Sequence is the message's sequence in its stream, StoredAt when it was stored.
	Sequence uint64
	StoredAt time.Time
	Header   nats.Header
	Data     []byte
	// forged reports that the message was read from a stream before it was stored in this one.
	forged bool
	// previous is the sequence of the message before it in the same batch, 0 for the first.
	previous uint64
}

// isForged reports whether the published header carries the field that the server adds to messages
// it reads from a stream. This program never publishes that field: somebody made the server send
// the reply of a direct get to the subject.
func isForged(published nats.Header) bool { return len(published.Values(jetstream.StreamHeader)) > 0 }

// parseDirectGet decodes a reply to a direct get. The server appends its header fields to the
// published ones, so the last value of a field is the server's, and a second value of the stream
// name shows a forgery. found is false for a reply without a message; its status header gives the
// reason.
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
	m.previous, _ = strconv.ParseUint(lastValue(msg.Header, jetstream.LastSequenceHeader), 10, 64) // only batches have it
	return m, true, nil
}

func lastValue(header nats.Header, name string) string {
	values := header.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// requestTimeout is how long a JetStream API request waits for its reply.
const requestTimeout = 5 * time.Second

// getRequest is the body of STREAM.MSG.GET and DIRECT.GET.
type getRequest struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// Get reads the message with a sequence. Like GetNext and GetLast it asks the stream's leader,
// which knows every stored message, even if the stream allows direct gets. The error wraps
// jetstream.ErrMsgNotFound if there is no such message or if it is forged.
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

// GetNext reads the first message whose subject matches filter, beginning at sequence from. Forged
// messages are skipped.
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

// GetLast reads the newest message whose subject matches filter. Forged messages are skipped.
func (b *Bus) GetLast(ctx context.Context, stream, filter string) (Message, error) {
	msg, err := b.get(ctx, stream, getRequest{LastFor: filter})
	if err != nil || !b.rejectForged(stream, msg) {
		if err != nil {
			err = fmt.Errorf("reading the newest of %s: %w", filter, err)
		}
		return msg, err
	}
	// Rare: the newest message is forged. Find the newest other one by reading from the beginning.
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

// get requests one message from the stream's leader.
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
		return Message{}, fmt.Errorf("decoding the reply: %w", err)
	}
	switch {
	case body.Error != nil && body.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return Message{}, jetstream.ErrMsgNotFound
	case body.Error != nil:
		return Message{}, body.Error
	case body.Message == nil:
		return Message{}, errors.New("the reply has no message")
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

// request sends one request of the JetStream API and returns the reply.
func (b *Bus) request(ctx context.Context, name string, request any) (*nats.Msg, error) {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return nil, fmt.Errorf("requesting %s: %w", name, err)
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
		return nil, fmt.Errorf("requesting %s: %w", name, b.permissionError(name, nats.ErrTimeout))
	default:
		return nil, fmt.Errorf("requesting %s: %w", name, err)
	}
}

func (b *Bus) apiSubject(name string) string {
	prefix := b.js.Options().APIPrefix
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	return prefix + name
}

// Subjects returns the subjects of a stream that match filter, each with its number of messages.
func (b *Bus) Subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	opened, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stream %s: %w", stream, err)
	}
	info, err := opened.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("reading the state of stream %s: %w", stream, err)
	}
	return info.State.Subjects, nil
}

// LastSequence is the sequence of the newest message whose subject matches filter; 0 if there is
// none.
func (b *Bus) LastSequence(ctx context.Context, stream, filter string) (uint64, error) {
	msg, err := b.GetLast(ctx, stream, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	return msg.Sequence, err
}

const (
	eventForged  = "bus.message.forged"
	reasonForged = "it was read out of a stream and published again"
)

// maxLoggedMessages bounds how many positions are remembered.
const maxLoggedMessages = 1024

// loggedMessages remembers which refused messages were logged, so that each is logged once however
// many readers meet it.
type loggedMessages struct {
	mu    sync.Mutex
	known map[position]bool
}

type position struct {
	stream   string
	sequence uint64
}

// add reports whether the message was not logged yet.
func (o *loggedMessages) add(stream string, sequence uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.known[position{stream, sequence}]
	if !known && len(o.known) >= maxLoggedMessages {
		o.known = nil
	}
	if o.known == nil {
		o.known = make(map[position]bool)
	}
	o.known[position{stream, sequence}] = true
	return !known
}
