package fetcher

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// overlap tracks the runs that one fetcher works on. Runs of the same series and year share
// outcomes: before a worker fetches a number, it checks what the others have, so that no number is
// fetched twice as far as this process can know.
type overlap struct {
	mu sync.Mutex
	// workers are the workers of all runs. The value says whether a run of the same series and year
	// was worked on at the same time.
	workers map[*runWorker]bool
	// claimed are the cases that a worker is processing.
	claimed map[contract.CaseID]bool
}

// claim reserves a case until free is called; ok is false if another run processes it.
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

// all returns the workers of all runs.
func (o *overlap) all() []*runWorker {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.workers))
}

// add adds a worker and marks it, and the workers that it overlaps with, as overlapped.
func (o *overlap) add(w *runWorker) (remove func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	overlapped := false
	for other := range o.workers {
		if other.overlapsWith(w) {
			o.workers[other], overlapped = true, true
		}
	}
	o.workers[w] = overlapped
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.workers, w)
	}
}

// overlapping returns the other workers of the same series and year. everOverlapped says whether
// there has been one.
func (o *overlap) overlapping(w *runWorker) (others []*runWorker, everOverlapped bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other := range o.workers {
		if other != w && other.overlapsWith(w) {
			others = append(others, other)
		}
	}
	return others, o.workers[w]
}

// overlapsWith reports whether another run has the same series and year.
func (w *runWorker) overlapsWith(other *runWorker) bool {
	a, b := w.manifest, other.manifest
	return a.RunID != b.RunID && a.Prefix == b.Prefix && a.Year == b.Year
}

// existingOutcome returns the outcome that another run has of a number, if this run can copy it.
// The error is that of bus.RetryIn while the other run is about to get one. A run with force
// copies nothing.
func (w *runWorker) existingOutcome(id contract.CaseID, epoch uint64) (original contract.Copy, err error) {
	others, everOverlapped := w.overlap.overlapping(w)
	if !everOverlapped || w.manifest.Force {
		return original, nil
	}
	for _, other := range others {
		step, err := other.history.nextStep(w.finishCtx, id.Number, epoch, true)
		switch {
		case err != nil:
			return original, err
		case step.Wait > 0:
			return original, bus.RetryIn(min(step.Wait, w.jobTerm.Heartbeat()), errNotDue)
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

// collectedOutcome returns the outcome of a number in a run that has collected it.
func (w *runWorker) collectedOutcome(number int, run contract.RunID, epoch uint64) (original contract.Copy, err error) {
	pastHistory := w.pastHistoryOf(run)
	step, err := pastHistory.nextStep(w.finishCtx, number, epoch, false)
	if err == nil && step.Outcome == "" { // by another fetcher, since the chunk was read
		step, err = pastHistory.nextStep(w.finishCtx, number, epoch, true)
	}
	if err != nil {
		return original, err
	}
	original, _ = w.copyable(number, run, step)
	return original, nil
}

// pastHistoryOf returns the history of a past run; the last one is cached.
func (w *runWorker) pastHistoryOf(run contract.RunID) *runHistory {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pastHistory == nil || w.pastHistory.run != run {
		w.pastHistory = w.historyOf(run)
	}
	return w.pastHistory
}

// copyable returns the copy of an outcome if this run accepts it: the run would skip the
// number, and has not requested a copy of it before. If a copy was requested and the number is
// still open, the classifier has refused the copy.
func (w *runWorker) copyable(number int, run contract.RunID, step Step) (original contract.Copy, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if step.Outcome == "" || w.copyRequested[number] ||
		!w.manifest.Skips(number, contract.Collected{Outcome: step.Outcome, At: step.StoredAt}) {
		return original, false
	}
	return contract.Copy{RunID: run, Sequence: step.Sequence}, true
}

// requestCopy stores an answer that makes the classifier copy an outcome into this run's ledger.
// The requests stay with the other run: they were sent once.
func (w *runWorker) requestCopy(d delivery, job contract.Job, attempt int, original contract.Copy) error {
	err := w.storeAnswer(contract.Answer{
		CaseID: job.CaseID, Attempt: attempt, MaxAttempts: job.MaxAttempts,
		AckSubject: d.lease.Msg().Reply(), PlannedAt: plannedAt(d.lease.Msg()),
		Copy: &original, Exchanges: []contract.Exchange{},
	})
	if errors.Is(err, bus.ErrLeaveUnsettled) {
		w.mu.Lock()
		w.copyRequested[job.CaseID.Number] = true
		w.mu.Unlock()
		w.Log.Debug("fetcher.job.shared", "run_id", w.manifest.RunID, "case_id", job.CaseID.String(), "from",
			original.RunID)
	}
	return err
}
