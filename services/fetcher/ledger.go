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

	"github.com/nats-io/nats.go/jetstream"
)

// ledger is what the streams hold of one run, read block by block when a number of the block is met.
type ledger struct {
	bus *bus.Bus
	run contract.RunID
	// maxWait is the longest wait before a retry.
	maxWait time.Duration
	mu      sync.Mutex
	chunks  map[int]*chunkHistory
}

// ledgerOf is what the streams hold of a run, of which nothing was read yet.
func (s *Service) ledgerOf(run contract.RunID) *ledger {
	return &ledger{bus: s.Bus, run: run, maxWait: s.Backoff.Max, chunks: make(map[int]*chunkHistory)}
}

// chunkHistory is what was read of one block, and where reading goes on.
type chunkHistory struct {
	mu      sync.Mutex
	read    bool
	epoch   uint64
	history *History
	// nextAnswer and nextOutcome are the sequences to read from.
	nextAnswer, nextOutcome uint64
}

// nextStep says what is to be done with the job of a number. The streams are read again when that may have changed
// without this process knowing: at the first meeting, after a reconnect, and for a job that was delivered before.
func (l *ledger) nextStep(ctx context.Context, number int, epoch uint64, reread bool) (Step, error) {
	c := l.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.read || reread || c.epoch != epoch {
		err := l.checkPending(ctx, c, number)
		if err == nil {
			err = l.readNew(ctx, c, contract.Chunk(number))
		}
		if err != nil {
			return Step{}, fmt.Errorf("reading what is known of block %d: %w", contract.Chunk(number), err)
		}
		c.read, c.epoch = true, epoch
	}
	return c.history.Next(number, time.Now()), nil
}

// lastAnswered is the highest attempt of a number that is known to have an answer, as next has read it.
func (l *ledger) lastAnswered(number int) int {
	c := l.chunk(contract.Chunk(number))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.history.Answered(number)
}

func (l *ledger) chunk(index int) *chunkHistory {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chunks[index] == nil {
		l.chunks[index] = &chunkHistory{history: NewHistory(), nextAnswer: 1, nextOutcome: 1}
	}
	return l.chunks[index]
}

// checkPending finds out whether the answer of a number that waits to be classified is still there. One that has left the stream
// is in the ledger when that is read after this, or it brought nothing: a copy that was refused, a message that was not to be read.
// The number must not wait for it then.
func (l *ledger) checkPending(ctx context.Context, c *chunkHistory, number int) error {
	pending := c.history.Pending(number)
	if pending == 0 {
		return nil
	}
	_, err := l.bus.Get(ctx, contract.StreamAnswers, pending)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		c.history.Forget(number)
		c.nextAnswer = 1 // an older one may be there
		return nil
	}
	return err
}

// readNew takes in what is new. The answers come first: one that is classified meanwhile leaves the answers only
// after it has reached the outcomes, so it is seen in at least one of the two.
func (l *ledger) readNew(ctx context.Context, c *chunkHistory, index int) error {
	next, err := l.readSubject(ctx, contract.StreamAnswers, l.run.AnswerSubject(index), c.nextAnswer, c.history)
	if err != nil {
		return err
	}
	c.nextAnswer = next
	c.nextOutcome, err = l.readSubject(ctx, contract.StreamOutcomes, l.run.OutcomeSubject(index), c.nextOutcome, c.history)
	return err
}

// readSubject adds the messages of a subject from a sequence on and returns the sequence to go on from.
func (l *ledger) readSubject(ctx context.Context, stream, subject string, from uint64, history *History) (uint64, error) {
	for {
		msg, err := l.bus.GetNext(ctx, stream, subject, from)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return from, nil
		}
		if err != nil {
			return from, err
		}
		states, err := contract.ParseStates(msg.Header.Get(contract.StateHeader))
		if err != nil {
			return from, fmt.Errorf("message %d of %s: %w", msg.Sequence, subject, err)
		}
		for i := range states {
			states[i].RetryAt, states[i].StoredAt = l.retryDue(states[i].RetryAt, msg.StoredAt), msg.StoredAt
		}
		history.Add(msg.Sequence, states)
		from = msg.Sequence + 1
	}
}

// retryDue is the instant of a retry on the monotonic clock, so that a step of the wall clock does not move it. It was stored together with
// its wait, which a wall clock that was set back since, perhaps while no process ran, does not make longer.
func (l *ledger) retryDue(retryAt, stored time.Time) time.Time {
	if retryAt.IsZero() {
		return retryAt
	}
	most := retryAt.Sub(stored)
	if l.maxWait > 0 {
		most = min(most, l.maxWait)
	}
	return delay.Until(time.Now(), retryAt, most)
}
