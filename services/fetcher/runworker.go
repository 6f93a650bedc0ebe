package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
)

// presenceInterval is how often a fetcher says that it works on a run; what it said expires after 15 s.
const presenceInterval = 5 * time.Second

// runWorker is one fetcher's work on one round of a run.
type runWorker struct {
	*Service
	manifest contract.Manifest
	ledger   *ledger
	record   *inFlightRecord
	// reachability says whether the site was reached in this round.
	reachability *reachability
	// startCtx ends when nothing new is to be begun, finish when what is in flight is to be given up.
	startCtx, finishCtx context.Context
	abandon             context.CancelCauseFunc
	// stop ends begin.
	stop context.CancelCauseFunc
	jobs sync.WaitGroup
	// consumerCreated is when the consumer of the jobs was made, remade says that it was made again since the work began.
	consumerCreated   time.Time
	consumerRecreated atomic.Bool

	mu            sync.Mutex
	activeNumbers map[int]bool
	// overlapped says that another run of the same series and year was worked on beside this one; the crowd guards it.
	overlapped bool
	// pastLedger is the ledger of the run that was over when an outcome of it was looked for last; offered are the numbers of
	// which the classifier was asked to copy one.
	pastLedger    *ledger
	copyRequested map[int]bool
	// loggedWaits are the waits that were logged, by their reasons, each with the latest end that was told.
	loggedWaits map[string]time.Time
	// failure is the first error that ends the work on the run.
	failure error
}

// fail ends the work on the run with an error.
func (w *runWorker) fail(err error) {
	w.mu.Lock()
	if w.failure == nil {
		w.failure = err
	}
	w.mu.Unlock()
	w.stop(err)
}

// workOnRun takes jobs of a run until begin ends, then waits for what is in flight: until the deadline of the halt, or
// until service, the service's own context, ends.
func (s *Service) workOnRun(serviceCtx, startCtx context.Context, m contract.Manifest) error {
	startCtx, stop := context.WithCancelCause(startCtx)
	defer stop(nil)
	finishCtx, abandon := context.WithCancelCause(context.WithoutCancel(startCtx))
	defer abandon(nil)
	w := &runWorker{
		Service: s, manifest: m, startCtx: startCtx, finishCtx: finishCtx, abandon: abandon, stop: stop, activeNumbers: make(map[int]bool),
		ledger: s.ledgerOf(m.RunID), record: s.newInFlightRecord(m.RunID), copyRequested: make(map[int]bool),
		loggedWaits: make(map[string]time.Time), reachability: newReachability(s.Backoff),
	}
	defer s.overlap.add(w)()
	leaveRun, err := w.announcePresence()
	if err != nil {
		return err
	}
	defer leaveRun()
	stopWatch := context.AfterFunc(startCtx, func() {
		w.closeRecord()
		w.enforceDeadline(serviceCtx)
	})
	defer stopWatch()
	var watcher sync.WaitGroup
	watcher.Go(w.watchBlock)
	w.pullJobs()
	w.jobs.Wait()
	stop(nil)
	watcher.Wait()
	w.closeRecord()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// closeRecord records that what this process holds from now on is no crash if it dies.
func (w *runWorker) closeRecord() {
	if err := w.record.close(w.finishCtx, context.Cause(w.startCtx)); err != nil { // then it counts as one
		w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// watchBlock ends the work on the run when the site tells anybody to go away, whichever run he asked for.
func (w *runWorker) watchBlock() {
	for {
		block, changed := w.siteState.activeBlock(time.Now())
		if block != nil {
			w.stop(runs.Halted{Halt: blockHalt(*block)})
			if err := w.haltBlocked(context.WithoutCancel(w.finishCtx), w.manifest, *block); err != nil {
				w.fail(err)
			}
			return
		}
		select {
		case <-changed:
		case <-w.startCtx.Done():
			return
		}
	}
}

// enforceDeadline gives up what is in flight at the halt's deadline, or with the service.
func (w *runWorker) enforceDeadline(serviceCtx context.Context) {
	var halted runs.Halted
	if cause := context.Cause(w.startCtx); !errors.As(cause, &halted) {
		grace := w.Grace
		if errors.Is(cause, bus.ErrStore) { // nothing that is asked now could be kept
			grace = 0
		}
		limited, cancel := context.WithTimeout(w.finishCtx, grace)
		defer cancel()
		<-limited.Done()
		w.abandon(context.Cause(w.startCtx))
		return
	}
	ctx := serviceCtx
	if !halted.Deadline.IsZero() {
		limited, cancel := context.WithDeadline(serviceCtx, delay.Until(time.Now(), halted.Deadline, halted.Deadline.Sub(halted.At)))
		defer cancel()
		ctx = limited
	}
	select {
	case <-ctx.Done():
		w.abandon(halted)
	case <-w.finishCtx.Done(): // all has landed
	}
}

// announcePresence says that this fetcher works on the run, and what it holds, again and again until the function it returns is called.
func (w *runWorker) announcePresence() (leaveRun func(), err error) {
	// Not with begin: a word that is cut off may have been stored, and then the run waits until it expires.
	limited, cancel := context.WithTimeout(w.finishCtx, presenceInterval)
	defer cancel()
	if err := w.putPresence(limited); err != nil {
		return nil, fmt.Errorf("joining run %s: %w", w.manifest.RunID, err)
	}
	stopHeartbeat := delay.Every(presenceInterval, func() {
		w.refreshPresence()
		if err := w.record.flush(w.finishCtx); err != nil {
			w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
		}
	})
	return func() {
		stopHeartbeat()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.startCtx), presenceInterval)
		defer cancel()
		if err := w.fetchers.Delete(ctx, w.manifest.RunID.FetcherKey(w.ID)); err != nil { // then it expires
			w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		}
	}, nil
}

// putPresence says that this fetcher works on the run.
func (w *runWorker) putPresence(ctx context.Context) error {
	value, err := json.Marshal(contract.Presence{At: time.Now().UTC(), Wait: w.reportWait(), Reached: w.reachability.siteReached()})
	if err != nil {
		return err
	}
	_, err = w.fetchers.Put(ctx, w.manifest.RunID.FetcherKey(w.ID), value)
	return err
}

// refreshPresence says it once more; a word that is lost is made good by the next.
func (w *runWorker) refreshPresence() {
	if err := w.putPresence(w.finishCtx); err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// reportWait is why nothing is asked just now; nil while requests are made. It is logged when it is new, or lasts longer than was said.
func (w *runWorker) reportWait() *contract.Wait {
	current := w.pacer.currentWait.Load()
	if current == nil {
		current = w.reachability.currentWait()
	}
	if current == nil {
		return nil
	}
	w.mu.Lock()
	until, logged := w.loggedWaits[current.Reason]
	isNew := !logged || !current.recurring && current.Until.Sub(until) > minReportedWait
	if isNew {
		w.loggedWaits[current.Reason] = current.Until
	}
	w.mu.Unlock()
	if isNew {
		w.Log.Info("batch.run.wait", "run_id", w.manifest.RunID, "reason", current.Reason, "until", current.Until.UTC().Round(time.Second))
	}
	return &current.Wait
}

// process does one job and says what becomes of its message. Lost words make the job come again, and then its
// history is read. What becomes of a job that has slipped is for others to say.
func (w *runWorker) process(d delivery) {
	err := w.doJob(d)
	msg, valid := d.msg, d.release()
	var wait retryLater
	switch {
	case !valid && !errors.Is(err, bus.ErrStore):
	case err == nil:
		_ = msg.Ack()
	case errors.Is(err, bus.ErrLeaveUnsettled):
	case errors.As(err, &wait):
		_ = msg.NakWithDelay(time.Duration(wait))
	case errors.Is(err, contract.ErrMessage):
		w.Log.Error("fetcher.job.dropped", "subject", msg.Subject(), "error", err)
		_ = msg.Term()
	case errors.Is(err, bus.ErrStore), errors.Is(err, runs.ErrUnreadable):
		w.fail(err)
		_ = msg.NakWithDelay(bus.NoDelay)
	case w.startCtx.Err() != nil:
		_ = msg.NakWithDelay(bus.NoDelay)
	default:
		w.Log.Warn("fetcher.job.failed", "subject", msg.Subject(), "error", err)
		_ = msg.NakWithDelay(classifyWait)
	}
}

// retryLater says that a job is not to be done yet.
type retryLater time.Duration

func (w retryLater) Error() string { return "to be left alone for " + time.Duration(w).String() }
