package fetcher

import (
	"time"

	"fct-scraper/pkg/contract"
)

// History is what the streams hold of the numbers of one block. What a job has gone through is read here and
// never from delivery counts: a crash or a restart raises those, or forgets them. It is not for several
// goroutines at once.
type History struct {
	numbers map[int]past
}

// past is what is known of one number.
type past struct {
	settled  bool
	answered int // the highest attempt whose answer lies in the stream of answers
	tried    int // the highest attempt that the classifier found transient
	blocked  int // the highest attempt whose answer was a block
	retryAt  time.Time
}

// NewHistory is the history of a block of which nothing was read yet.
func NewHistory() *History { return &History{numbers: make(map[int]past)} }

// Add takes in what a message of answers or of the ledger holds; messages may come twice and in any order.
func (h *History) Add(states []contract.AttemptState) {
	for _, s := range states {
		p := h.numbers[s.Number]
		switch {
		case s.Final:
			p.settled = true
		case s.Verdict == "":
			p.answered = max(p.answered, s.Attempt)
		case s.Verdict == contract.VerdictBlocked:
			p.blocked = max(p.blocked, s.Attempt)
		case s.Verdict == contract.VerdictTransient && s.Attempt > p.tried:
			p.tried, p.retryAt = s.Attempt, s.RetryAt
		}
		h.numbers[s.Number] = p
	}
}

// Step says what is to be done with a job now.
type Step struct {
	// Attempt is the attempt to make now, from 1; 0 when none is to be made now.
	Attempt int
	// Settled says that the job has its outcome.
	Settled bool
	// Wait is how long to leave the job alone before looking again.
	Wait time.Duration
}

// classifying is how long an answer is given to be classified before the job is looked at again.
const classifying = time.Second

// Next says what is to be done with the job of a number at the time now. A blocked attempt counts for
// nothing: the number is still pending and keeps its attempts.
func (h *History) Next(number int, now time.Time) Step {
	p := h.numbers[number]
	switch {
	case p.settled:
		return Step{Settled: true}
	case p.answered > p.tried && p.answered != p.blocked: // the answer of a blocked attempt counts for nothing
		return Step{Wait: classifying}
	case p.retryAt.After(now):
		return Step{Wait: p.retryAt.Sub(now)}
	default:
		return Step{Attempt: p.tried + 1}
	}
}
