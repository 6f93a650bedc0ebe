package fetcher

import (
	"errors"
	"sync"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// overlap are the shifts of one fetcher. Those whose runs ask for the same series and year look at what the others have before
// they ask: no number is asked for twice as far as that can be seen.
type overlap struct {
	mu      sync.Mutex
	workers map[*runWorker]bool
	// claimed are the cases that some shift has in hand.
	claimed map[contract.CaseID]bool
}

// claim takes a case until free is called; not ok when another run has it in hand.
func (o *overlap) claim(id contract.CaseID) (free func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.claimed[id] {
		return nil, false
	}
	o.claimed[id] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.claimed, id)
	}, true
}

// add adds a shift and tells it, and those that are beside it, of each other.
func (o *overlap) add(w *runWorker) (remove func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other := range o.workers {
		if other.overlapsWith(w) {
			other.overlapped, w.overlapped = true, true
		}
	}
	o.workers[w] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.workers, w)
	}
}

// overlapping are the other shifts that ask for the same series and year; ever says whether there has been one.
func (o *overlap) overlapping(w *runWorker) (others []*runWorker, everOverlapped bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other := range o.workers {
		if other != w && other.overlapsWith(w) {
			others = append(others, other)
		}
	}
	return others, w.overlapped
}

func (w *runWorker) overlapsWith(other *runWorker) bool {
	a, b := w.manifest, other.manifest
	return a.RunID != b.RunID && a.Prefix == b.Prefix && a.Year == b.Year
}

// existingOutcome is the outcome that another run already has of a number, if this run can take it over; an error while that is to come.
// A run that is to ask again for everything takes nothing over.
func (w *runWorker) existingOutcome(id contract.CaseID, epoch uint64) (original contract.Copy, err error) {
	others, everOverlapped := w.overlap.overlapping(w)
	if !everOverlapped || w.manifest.Force {
		return original, nil
	}
	for _, other := range others {
		step, err := other.ledger.nextStep(w.finishCtx, id.Number, epoch, true)
		switch {
		case err != nil:
			return original, err
		case step.Wait > 0:
			return original, retryLater(min(step.Wait, jobHeartbeat))
		}
		if original, ok := w.copyable(id.Number, other.manifest.RunID, step); ok {
			return original, nil
		}
	}
	collected, err := runs.Get[contract.Collected](w.finishCtx, w.collected, id.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return original, nil
	}
	if err != nil || !collected.AppliesTo(w.SiteName) || collected.RunID == w.manifest.RunID {
		return original, err
	}
	return w.collectedOutcome(id.Number, collected.RunID, epoch)
}

// collectedOutcome is the outcome that a number has in a run of which it is known to be collected.
func (w *runWorker) collectedOutcome(number int, run contract.RunID, epoch uint64) (original contract.Copy, err error) {
	pastLedger := w.pastLedgerOf(run)
	step, err := pastLedger.nextStep(w.finishCtx, number, epoch, false)
	if err == nil && !step.Settled { // by somebody else, since the block was read
		step, err = pastLedger.nextStep(w.finishCtx, number, epoch, true)
	}
	if err != nil {
		return original, err
	}
	original, _ = w.copyable(number, run, step)
	return original, nil
}

func (w *runWorker) pastLedgerOf(run contract.RunID) *ledger {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pastLedger == nil || w.pastLedger.run != run {
		w.pastLedger = w.ledgerOf(run)
	}
	return w.pastLedger
}

// copyable says whether this run can take an outcome over, if there is one: it would not ask again for it, and the classifier has
// not been asked to copy one before. A number whose copy was asked for and that is still to be done was refused it.
func (w *runWorker) copyable(number int, run contract.RunID, step Step) (original contract.Copy, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !step.Settled || w.copyRequested[number] || !w.manifest.Skips(number, contract.Collected{Outcome: step.Outcome, At: step.StoredAt}) {
		return original, false
	}
	return contract.Copy{RunID: run, Sequence: step.Sequence}, true
}

// requestCopy has the classifier copy an outcome into this run's ledger. Its requests stay the other run's: they were made once.
func (w *runWorker) requestCopy(d delivery, job contract.Job, attempt int, original contract.Copy) error {
	err := w.storeAnswer(contract.Answer{
		CaseID: job.CaseID, Attempt: attempt, MaxAttempts: job.MaxAttempts, AckSubject: d.msg.Reply(), PlannedAt: plannedAt(d.msg),
		Copy: &original, Exchanges: []contract.Exchange{},
	})
	if errors.Is(err, bus.ErrLeaveUnsettled) {
		w.mu.Lock()
		w.copyRequested[job.CaseID.Number] = true
		w.mu.Unlock()
		w.Log.Debug("fetcher.job.shared", "run_id", w.manifest.RunID, "case_id", job.CaseID.String(), "from", original.RunID)
	}
	return err
}
