package fetcher

import (
	"time"

	"fct-scraper/pkg/contract"
)

// History is what the streams hold of the numbers of one block. What a job has gone through is read here and
// never from delivery counts: a crash or a restart raises those, or forgets them. It is not for several
// goroutines at once.
type History struct {
	numbers map[int]numberState
}

// numberState is what is known of one number.
type numberState struct {
	settled          bool
	outcome          contract.Outcome // the first one
	sequence         uint64           // of the message that holds it
	storedAt         time.Time        // of that message
	answeredAttempt  int              // the highest attempt whose answer lies in the stream of answers
	answerSequence   uint64           // the sequence of the newest such answer
	transientAttempt int              // the highest attempt that the classifier found transient
	blockedAttempt   int              // the highest attempt whose answer was a block
	retryAt          time.Time
}

// NewHistory is the history of a block of which nothing was read yet.
func NewHistory() *History { return &History{numbers: make(map[int]numberState)} }

// Add takes in what a message of answers or of the ledger holds, and its sequence there; messages may come twice and in any order.
func (h *History) Add(sequence uint64, states []contract.AttemptState) {
	for _, s := range states {
		p := h.numbers[s.Number]
		switch {
		case s.Final:
			if !p.settled || sequence < p.sequence {
				p.settled, p.outcome, p.sequence, p.storedAt = true, outcomeOf(s.Verdict), sequence, s.StoredAt
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

// outcomeOf is the outcome of a job that was settled by a verdict.
func outcomeOf(verdict contract.Verdict) contract.Outcome {
	if outcome, settled := verdict.Outcome(); settled {
		return outcome
	}
	return contract.Failed
}

// Pending is the sequence of the newest answer of a number that is not known to be classified; 0 when there is none.
func (h *History) Pending(number int) uint64 {
	p := h.numbers[number]
	if p.settled || p.answeredAttempt <= p.transientAttempt || p.answeredAttempt == p.blockedAttempt { // the answer of a blocked attempt counts for nothing
		return 0
	}
	return p.answerSequence
}

// Answered is the highest attempt of a number that has an answer, classified or not; 0 when none has.
func (h *History) Answered(number int) int {
	p := h.numbers[number]
	return max(p.answeredAttempt, p.transientAttempt, p.blockedAttempt)
}

// Forget takes back that a number was answered: its answer has left the stream.
func (h *History) Forget(number int) {
	p := h.numbers[number]
	p.answeredAttempt, p.answerSequence = 0, 0
	h.numbers[number] = p
}

// Step says what is to be done with a job now.
type Step struct {
	// Attempt is the attempt to make now, from 1; 0 when none is to be made now.
	Attempt int
	// Settled says that the job has its outcome, which stands in the ledger's message Sequence, stored at StoredAt.
	Settled  bool
	Outcome  contract.Outcome
	Sequence uint64
	StoredAt time.Time
	// Wait is how long to leave the job alone before looking again.
	Wait time.Duration
}

// classifyWait is how long an answer is given to be classified before the job is looked at again.
const classifyWait = time.Second

// Next says what is to be done with the job of a number at the time now. A blocked attempt counts for
// nothing: the number is still pending and keeps its attempts.
func (h *History) Next(number int, now time.Time) Step {
	p := h.numbers[number]
	switch {
	case p.settled:
		return Step{Settled: true, Outcome: p.outcome, Sequence: p.sequence, StoredAt: p.storedAt}
	case h.Pending(number) > 0:
		return Step{Wait: classifyWait}
	case p.retryAt.After(now):
		return Step{Wait: p.retryAt.Sub(now)}
	default:
		return Step{Attempt: p.transientAttempt + 1}
	}
}
