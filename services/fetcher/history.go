package fetcher

import (
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// History is what the streams hold of the numbers of one chunk. What has happened to a job is read
// here and never from delivery counts: a crash or a restart raises or resets those. It is not safe
// for concurrent use.
type History struct {
	numbers map[int]numberState
}

// numberState is what is known about one number.
type numberState struct {
	outcome          contract.Outcome // the first one counts; empty while there is none
	sequence         uint64           // of the message that holds it
	storedAt         time.Time        // of that message
	answeredAttempt  int              // the highest attempt with an answer in the stream of answers
	answerSequence   uint64           // the sequence of the newest such answer
	transientAttempt int              // the highest attempt that the classifier found transient
	blockedAttempt   int              // the highest attempt whose answer was a block
	retryAt          time.Time
}

// NewHistory returns the empty history of a chunk.
func NewHistory() *History { return &History{numbers: make(map[int]numberState)} }

// Add adds the states that a message of answers or of the ledger holds; sequence is that of the
// message. Messages may come repeatedly and in any order.
func (h *History) Add(sequence uint64, states []ledger.AttemptState) {
	for _, s := range states {
		p := h.numbers[s.Number]
		switch {
		case s.Outcome != "":
			if p.outcome == "" || sequence < p.sequence {
				p.outcome, p.sequence, p.storedAt = s.Outcome, sequence, s.StoredAt
			}
		case s.Verdict == "":
			p.answeredAttempt, p.answerSequence = max(p.answeredAttempt, s.Attempt), max(p.answerSequence, sequence)
		case s.Verdict == contract.VerdictBlocked:
			p.blockedAttempt = max(p.blockedAttempt, s.Attempt)
		case s.Verdict == contract.VerdictTransient && s.Attempt > p.transientAttempt:
			p.transientAttempt, p.retryAt = s.Attempt, s.RetryAt
		}
		h.numbers[s.Number] = p
	}
}

// Pending returns the sequence of the newest answer of a number that is not known to be classified;
// 0 if there is none.
func (h *History) Pending(number int) uint64 {
	p := h.numbers[number]
	// The answer of a blocked attempt does not count.
	if p.outcome != "" || p.answeredAttempt <= p.transientAttempt || p.answeredAttempt == p.blockedAttempt {
		return 0
	}
	return p.answerSequence
}

// Answered returns the highest attempt of a number that has an answer, classified or not; 0 if
// none.
func (h *History) Answered(number int) int {
	p := h.numbers[number]
	return max(p.answeredAttempt, p.transientAttempt, p.blockedAttempt)
}

// Forget removes the pending answer of a number, which has left the stream.
func (h *History) Forget(number int) {
	p := h.numbers[number]
	p.answeredAttempt, p.answerSequence = 0, 0
	h.numbers[number] = p
}

// Step is what to do with a job now.
type Step struct {
	// Attempt is the attempt to make now, from 1; 0 if none is due.
	Attempt int
	// Outcome is what the number has in the ledger's message Sequence, stored at StoredAt; empty while
	// it is pending.
	Outcome  contract.Outcome
	Sequence uint64
	StoredAt time.Time
	// Wait is the time until the job must be checked again.
	Wait time.Duration
}

// recheckDelay is how long an answer may take to be classified before its job is checked again.
const recheckDelay = time.Second

// Next returns what to do with the job of a number at the time now. A blocked attempt does not
// count: the number stays pending and keeps its attempts.
func (h *History) Next(number int, now time.Time) Step {
	p := h.numbers[number]
	switch {
	case p.outcome != "":
		return Step{Outcome: p.outcome, Sequence: p.sequence, StoredAt: p.storedAt}
	case h.Pending(number) > 0:
		return Step{Wait: recheckDelay}
	case p.retryAt.After(now):
		return Step{Wait: p.retryAt.Sub(now)}
	default:
		return Step{Attempt: p.transientAttempt + 1}
	}
}
