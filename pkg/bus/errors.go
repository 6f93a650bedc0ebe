package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrStore says that the broker's store takes nothing any more: a full disk, for one, makes a publish stay without
// an answer until the server is restarted.
var ErrStore = errors.New("broker or its store not answering")

// ErrExists says that a subject which takes one message for ever has one already: the first writer has won.
var ErrExists = errors.New("subject already written")

// ErrTooLarge says that a message passes the server's max_payload, the stream's max_msg_size or the 32 MiB that a
// file store takes in one message. Publishing it again is of no use.
var ErrTooLarge = errors.New("message too large to be stored")

const (
	// maxUnanswered is how many publishes in a row may stay without an answer.
	maxUnanswered = 3
	// codeNoSpace is the server's error when its store has no room left; it takes nothing more before it is restarted.
	codeNoSpace jetstream.ErrorCode = 10023
	// codeStoreFailed is the server's error for everything that its store refuses; only the text says why.
	codeStoreFailed jetstream.ErrorCode = 10077
	textPerSubject                      = "maximum messages per subject"
	textTooLarge                        = "message too large"
)

// publishError sorts the error of a publish to a subject that was begun at a time: did the store answer at all?
func (b *Bus) publishError(ctx context.Context, subject string, began time.Time, err error) error {
	if err == nil {
		b.unanswered.reset(subject)
		return nil
	}
	if ctx.Err() != nil { // the caller's end, not the broker's fault
		return err
	}
	var refused *jetstream.APIError
	answered := errors.As(err, &refused)
	failed := answered && refused.ErrorCode == codeStoreFailed
	if answered && refused.ErrorCode == codeNoSpace {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	switch {
	case failed && strings.Contains(refused.Description, textPerSubject):
		b.unanswered.reset(subject)
		return fmt.Errorf("%w: %w", ErrExists, err)
	case failed && strings.Contains(refused.Description, textTooLarge), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum),
		errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case answered && !failed:
		b.unanswered.reset(subject)
		return err
	case b.unanswered.add(subject, began) >= maxUnanswered:
		return fmt.Errorf("%w: %w", ErrStore, err)
	default:
		return err
	}
}

// unansweredPublishes counts the publishes without an answer that followed one another, of each stream by itself: one whose files are gone answers
// nothing while the others do. Those that wait side by side through one hiccup of the broker are one miss: each further one was
// begun after the one before had ended.
type unansweredPublishes struct {
	mu sync.Mutex
	// byStream is by the first word of the subjects, which tells the streams apart that get more than a few messages.
	byStream map[string]streak
}

type streak struct {
	count   int
	endedAt time.Time
}

func (m *unansweredPublishes) add(subject string, began time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byStream[firstToken(subject)]
	if r.count == 0 || !began.Before(r.endedAt) {
		r = streak{r.count + 1, time.Now()}
	}
	if m.byStream == nil {
		m.byStream = make(map[string]streak)
	}
	m.byStream[firstToken(subject)] = r
	return r.count
}

func (m *unansweredPublishes) reset(subject string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byStream, firstToken(subject))
}

func firstToken(subject string) string {
	first, _, _ := strings.Cut(subject, ".")
	return first
}
