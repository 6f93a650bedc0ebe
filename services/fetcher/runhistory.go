package fetcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go/jetstream"
)

// runHistory is what the streams of answers and outcomes hold of one run. A chunk is read when a
// number of it is first needed.
type runHistory struct {
	bus *bus.Bus
	run contract.RunID
	// maxWait is the longest wait before a retry.
	maxWait time.Duration
	mu      sync.Mutex
	chunks  map[int]*chunkHistory
}

// historyOf returns the history of a run, with no chunk read yet.
func (s *Service) historyOf(run contract.RunID) *runHistory {
	return &runHistory{bus: s.Bus, run: run, maxWait: s.Backoff.Max, chunks: make(map[int]*chunkHistory)}
}

// chunkHistory is the history of one chunk, and the position up to which it was read.
type chunkHistory struct {
	mu      sync.Mutex
	read    bool
	epoch   uint64
	history *History
	// nextAnswer and nextOutcome are the sequences from which to continue reading.
	nextAnswer, nextOutcome uint64
}

// nextStep returns what to do with the job of a number. It reads the streams again if they may have
// changed without this process knowing: at the first use of the chunk, after a reconnect, and with
// reread, for a job that was delivered before.
func (h *runHistory) nextStep(ctx context.Context, number int, epoch uint64, reread bool) (Step, error) {
	c := h.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.read || reread || c.epoch != epoch {
		err := h.checkPending(ctx, c, number)
		if err == nil {
			err = h.readNew(ctx, c, contract.Chunk(number))
		}
		if err != nil {
			return Step{}, fmt.Errorf("reading the history of chunk %d: %w", contract.Chunk(number), err)
		}
		c.read, c.epoch = true, epoch
	}
	return c.history.Next(number, time.Now()), nil
}

// lastAnswered returns the highest attempt of a number that has an answer, as of the last nextStep.
func (h *runHistory) lastAnswered(number int) int {
	c := h.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.Answered(number)
}

// chunk returns the history of a chunk, creating it if needed.
func (h *runHistory) chunk(index int) *chunkHistory {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chunks[index] == nil {
		h.chunks[index] = &chunkHistory{history: NewHistory(), nextAnswer: 1, nextOutcome: 1}
	}
	return h.chunks[index]
}

// checkPending checks whether the pending answer of a number is still in the stream. One that has
// left it is either in the ledger, which is read after this, or was dropped: a refused copy or an
// unreadable message. The number must not wait for it then.
func (h *runHistory) checkPending(ctx context.Context, c *chunkHistory, number int) error {
	pending := c.history.Pending(number)
	if pending == 0 {
		return nil
	}
	_, err := h.bus.Get(ctx, contract.StreamAnswers, pending)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		c.history.Forget(number)
		c.nextAnswer = 1 // an older answer may exist
		return nil
	}
	return err
}

// readNew reads new messages, answers first: an answer leaves the answers only after its entry is
// in the ledger, so it is seen in at least one of the two.
func (h *runHistory) readNew(ctx context.Context, c *chunkHistory, index int) error {
	next, err := h.readSubject(ctx, contract.StreamAnswers, h.run.AnswerSubject(index), c.nextAnswer, c.history)
	if err != nil {
		return err
	}
	c.nextAnswer = next
	c.nextOutcome, err = h.readSubject(ctx, contract.StreamOutcomes, h.run.OutcomeSubject(index), c.nextOutcome,
		c.history)
	return err
}

// readSubject adds the messages of a subject from a sequence on and returns the sequence to
// continue from.
func (h *runHistory) readSubject(
	ctx context.Context, stream, subject string, from uint64, history *History,
) (uint64, error) {
	return ledger.EachMessage(ctx, h.bus, stream, subject, from, func(msg bus.Message) error {
		states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
		if err != nil {
			return fmt.Errorf("message %d of %s: %w", msg.Sequence, subject, err)
		}
		for i := range states {
			states[i].RetryAt, states[i].StoredAt = h.retryDue(states[i].RetryAt, msg.StoredAt), msg.StoredAt
		}
		history.Add(msg.Sequence, states)
		return nil
	})
}

// retryDue returns the time of a retry on the monotonic clock, so that a step of the wall clock
// does not move it. The wait is at most the one that was stored: setting the wall clock back
// afterwards, also while no process ran, does not prolong it.
func (h *runHistory) retryDue(retryAt, stored time.Time) time.Time {
	if retryAt.IsZero() {
		return retryAt
	}
	wait := retryAt.Sub(stored)
	if h.maxWait > 0 {
		wait = min(wait, h.maxWait)
	}
	return delay.Until(time.Now(), retryAt, wait)
}
