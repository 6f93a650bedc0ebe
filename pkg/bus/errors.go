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

// ErrStore reports that the server's store accepts nothing any more. A full disk, for example,
// leaves publishes without a reply until the server is restarted.
var ErrStore = errors.New("broker or its store not answering")

// ErrStop is what a callback returns to end a read before its end. The reader returns it, and its
// caller takes it for no error.
var ErrStop = errors.New("reading stopped")

// ErrExists reports that a subject that holds a single message forever is already written: the
// first writer wins.
var ErrExists = errors.New("subject already written")

// ErrTooLarge reports that a message exceeds the server's max_payload, the stream's max_msg_size or
// the 32 MiB that a file store accepts. A retry cannot succeed.
var ErrTooLarge = errors.New("message too large to be stored")

const (
	// maxUnanswered is how many publishes in a row may stay without a reply before the store counts
	// as failed.
	maxUnanswered = 3
	// codeNoSpace is the server's error for a full store, which accepts nothing until a restart.
	codeNoSpace jetstream.ErrorCode = 10023
	// codeStoreFailed is the server's error for everything that its store refuses; only the
	// description tells the cause.
	codeStoreFailed jetstream.ErrorCode = 10077
	textPerSubject                      = "maximum messages per subject"
	textTooLarge                        = "message too large"
)

// publishError classifies the error of a publish that began at a time, and counts publishes without
// a reply.
func (b *Bus) publishError(ctx context.Context, subject string, began time.Time, err error) error {
	if err == nil {
		b.unanswered.reset(subject)
		return nil
	}
	if ctx.Err() != nil { // ended by the caller, not a failure of the store
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

// unansweredPublishes counts consecutive publishes without a reply, for each stream: a stream whose
// files are gone does not reply while the others do. Overlapping publishes that fail together count
// once: each further one must have begun after the one before had ended.
type unansweredPublishes struct {
	mu sync.Mutex
	// byStream is keyed by the first token of the subject, which identifies the busy streams.
	byStream map[string]failedPublishes
}

type failedPublishes struct {
	count   int
	endedAt time.Time
}

func (m *unansweredPublishes) add(subject string, began time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.byStream[firstToken(subject)]
	if r.count == 0 || !began.Before(r.endedAt) {
		r = failedPublishes{r.count + 1, time.Now()}
	}
	if m.byStream == nil {
		m.byStream = make(map[string]failedPublishes)
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
