package fetcher

import (
	"errors"
	"sync"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// crowd are the shifts of one fetcher. Those whose runs ask for the same series and year look at what the others have before
// they ask: no number is asked for twice as far as that can be seen.
type crowd struct {
	mu     sync.Mutex
	shifts map[*shift]bool
	// claimed are the cases that some shift has in hand.
	claimed map[contract.CaseID]bool
}

// claim takes a case until free is called; not ok when another run has it in hand.
func (c *crowd) claim(id contract.CaseID) (free func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed[id] {
		return nil, false
	}
	c.claimed[id] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.claimed, id)
	}, true
}

// join adds a shift and tells it, and those that are beside it, of each other.
func (c *crowd) join(w *shift) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.shifts {
		if other.beside(w) {
			other.crowded, w.crowded = true, true
		}
	}
	c.shifts[w] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.shifts, w)
	}
}

// beside are the other shifts that ask for the same series and year; ever says whether there has been one.
func (c *crowd) beside(w *shift) (others []*shift, ever bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.shifts {
		if other != w && other.beside(w) {
			others = append(others, other)
		}
	}
	return others, w.crowded
}

func (w *shift) beside(other *shift) bool {
	a, b := w.manifest, other.manifest
	return a.RunID != b.RunID && a.Prefix == b.Prefix && a.Year == b.Year
}

// known is the outcome that another run already has of a number, if this run can take it over; an error while that is to come.
// A run that is to ask again for everything takes nothing over.
func (w *shift) known(id contract.CaseID, epoch uint64) (original contract.Copy, err error) {
	others, ever := w.crowd.beside(w)
	if !ever || w.manifest.Force {
		return original, nil
	}
	for _, other := range others {
		step, err := other.ledger.next(w.finish, id.Number, epoch, true)
		switch {
		case err != nil:
			return original, err
		case step.Wait > 0:
			return original, waiting(min(step.Wait, beat))
		}
		if original, fits := w.fits(id.Number, other.manifest.RunID, step); fits {
			return original, nil
		}
	}
	collected, err := runs.Get[contract.Collected](w.finish, w.collected, id.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return original, nil
	}
	if err != nil || !collected.AppliesTo(w.SiteName) || collected.RunID == w.manifest.RunID {
		return original, err
	}
	return w.over(id.Number, collected.RunID, epoch)
}

// over is the outcome that a number has in a run of which it is known to be collected.
func (w *shift) over(number int, run contract.RunID, epoch uint64) (original contract.Copy, err error) {
	past := w.pastOf(run)
	step, err := past.next(w.finish, number, epoch, false)
	if err == nil && !step.Settled { // by somebody else, since the block was read
		step, err = past.next(w.finish, number, epoch, true)
	}
	if err != nil {
		return original, err
	}
	original, _ = w.fits(number, run, step)
	return original, nil
}

func (w *shift) pastOf(run contract.RunID) *ledger {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.past == nil || w.past.run != run {
		w.past = w.ledgerOf(run)
	}
	return w.past
}

// fits says whether this run can take an outcome over, if there is one: it would not ask again for it, and the classifier has
// not been asked to copy one before. A number whose copy was asked for and that is still to be done was refused it.
func (w *shift) fits(number int, run contract.RunID, step Step) (original contract.Copy, fits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !step.Settled || w.offered[number] || !w.manifest.Skips(number, contract.Collected{Outcome: step.Outcome, At: step.StoredAt}) {
		return original, false
	}
	return contract.Copy{RunID: run, Sequence: step.Sequence}, true
}

// takeOver has the classifier copy an outcome into this run's ledger. Its requests stay the other run's: they were made once.
func (w *shift) takeOver(d delivery, job contract.Job, attempt int, original contract.Copy) error {
	err := w.store(contract.Answer{
		CaseID: job.CaseID, Attempt: attempt, MaxAttempts: job.MaxAttempts, AckSubject: d.msg.Reply(), PlannedAt: plannedAt(d.msg),
		Copy: &original, Exchanges: []contract.Exchange{},
	})
	if errors.Is(err, bus.ErrLeaveUnsettled) {
		w.mu.Lock()
		w.offered[job.CaseID.Number] = true
		w.mu.Unlock()
		w.Log.Debug("fetcher.job.shared", "run_id", w.manifest.RunID, "case_id", job.CaseID.String(), "from", original.RunID)
	}
	return err
}
