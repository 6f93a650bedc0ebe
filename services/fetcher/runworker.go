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
	"fct-scraper/services/fetcher/limit"
)

// runWorker is the work of one fetcher on one round of a run.
type runWorker struct {
	*Service
	manifest contract.Manifest
	history  *runHistory
	record   *inFlightRecord
	// reachability tracks whether the site was reached in this round.
	reachability *limit.Reachability
	// startCtx ends when no further job may be started. finishCtx ends when jobs in flight are
	// abandoned.
	startCtx, finishCtx context.Context
	abandon             context.CancelCauseFunc
	// stop ends startCtx.
	stop context.CancelCauseFunc
	jobs sync.WaitGroup
	// consumerCreated is the creation time of the jobs consumer. consumerRecreated says that it was
	// recreated since the work started.
	consumerCreated   time.Time
	consumerRecreated atomic.Bool

	mu            sync.Mutex
	activeNumbers map[int]bool
	// pastHistory is the history of the past run that was searched last. copyRequested are the
	// numbers for which a copy was requested from the classifier.
	pastHistory   *runHistory
	copyRequested map[int]bool
	// loggedWaits are the logged waits by reason, each with the latest end that was logged.
	loggedWaits map[string]time.Time
	// failure is the first error that ends the work on the run.
	failure error
}

// fail ends the work on the run with an error; the first one counts.
func (w *runWorker) fail(err error) {
	w.mu.Lock()
	if w.failure == nil {
		w.failure = err
	}
	w.mu.Unlock()
	w.stop(err)
}

// workOnRun processes jobs of a run until startCtx ends. Then it waits for the jobs in flight until
// the deadline of the halt, or until serviceCtx, the context of the service, ends.
func (s *Service) workOnRun(serviceCtx, startCtx context.Context, m contract.Manifest) error {
	startCtx, stop := context.WithCancelCause(startCtx)
	defer stop(nil)
	finishCtx, abandon := context.WithCancelCause(context.WithoutCancel(startCtx))
	defer abandon(nil)
	w := &runWorker{
		Service: s, manifest: m, startCtx: startCtx, finishCtx: finishCtx, abandon: abandon, stop: stop,
		activeNumbers: make(map[int]bool),
		history:       s.historyOf(m.RunID), record: s.newInFlightRecord(m.RunID), copyRequested: make(map[int]bool),
		loggedWaits: make(map[string]time.Time), reachability: limit.NewReachability(s.Backoff),
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

// closeRecord empties the in-flight record: what this process still works on is no crash if it
// dies.
func (w *runWorker) closeRecord() {
	if err := w.record.close(w.finishCtx, context.Cause(w.startCtx)); err != nil { // then it counts as a crash
		w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// watchBlock halts the run when the site blocks requests, also those of another run.
func (w *runWorker) watchBlock() {
	for {
		block, changed := w.limiter.Block()
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

// enforceDeadline abandons the jobs in flight at the deadline of the halt, or when the service
// ends. Without a halt they have Grace.
func (w *runWorker) enforceDeadline(serviceCtx context.Context) {
	var halted runs.Halted
	if cause := context.Cause(w.startCtx); !errors.As(cause, &halted) {
		grace := w.Grace
		if errors.Is(cause, bus.ErrStore) { // no answer could be stored
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
		limited, cancel := context.WithDeadline(serviceCtx,
			delay.Until(time.Now(), halted.Deadline, halted.Deadline.Sub(halted.At)))
		defer cancel()
		ctx = limited
	}
	select {
	case <-ctx.Done():
		w.abandon(halted)
	case <-w.finishCtx.Done(): // all jobs have ended
	}
}

// announcePresence keeps the presence of this fetcher on the run, and its in-flight record, stored
// until leave is called.
func (w *runWorker) announcePresence() (leaveRun func(), err error) {
	// Not with startCtx: a canceled put may have been stored, and then the end of the run waits until
	// it expires.
	limited, cancel := context.WithTimeout(w.finishCtx, w.presenceTerm.Heartbeat())
	defer cancel()
	if err := w.putPresence(limited); err != nil {
		return nil, fmt.Errorf("joining run %s: %w", w.manifest.RunID, err)
	}
	stopHeartbeat := delay.Every(w.presenceTerm.Heartbeat(), func() {
		w.refreshPresence()
		if err := w.record.flush(w.finishCtx); err != nil {
			w.Log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
		}
	})
	return func() {
		stopHeartbeat()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.startCtx), w.presenceTerm.Heartbeat())
		defer cancel()
		if err := w.fetchers.Delete(ctx, w.manifest.RunID.FetcherKey(w.ID)); err != nil { // then it expires
			w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		}
	}, nil
}

// putPresence stores the presence of this fetcher on the run.
func (w *runWorker) putPresence(ctx context.Context) error {
	value, err := json.Marshal(contract.Presence{At: time.Now().UTC(), Wait: w.reportWait(),
		Reached: w.reachability.Reached()})
	if err != nil {
		return err
	}
	_, err = w.fetchers.Put(ctx, w.manifest.RunID.FetcherKey(w.ID), value)
	return err
}

// refreshPresence stores the presence again. The next refresh replaces a lost one.
func (w *runWorker) refreshPresence() {
	if err := w.putPresence(w.finishCtx); err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// reportWait returns why no request is sent now; nil while requests are sent. It logs a wait that
// is new, or ends later than was logged.
func (w *runWorker) reportWait() *contract.Wait {
	current := w.limiter.CurrentWait()
	if current == nil {
		current = w.reachability.CurrentWait()
	}
	if current == nil {
		return nil
	}
	w.mu.Lock()
	until, logged := w.loggedWaits[current.Reason]
	isNew := !logged || current.EndsAfter(until)
	if isNew {
		w.loggedWaits[current.Reason] = current.Until
	}
	w.mu.Unlock()
	if isNew {
		w.Log.Info("batch.run.wait", "run_id", w.manifest.RunID, "reason", current.Reason, "until",
			current.Until.UTC().Round(time.Second))
	}
	return &current.Wait
}

// process does one job and settles its message. If the settlement is lost, the job is redelivered
// and its history is read.
func (w *runWorker) process(d delivery) {
	err := w.doJob(d)
	subject := d.lease.Msg().Subject()
	settlement, ok := bus.SettlementOf(err)
	switch {
	case ok:
	case errors.Is(err, contract.ErrMessage):
		w.Log.Error("fetcher.job.dropped", "subject", subject, "error", err)
		settlement = bus.Term
	case errors.Is(err, bus.ErrStore), errors.Is(err, runs.ErrUnreadable):
		w.fail(err)
		settlement = bus.NakAfter(0)
	case w.startCtx.Err() != nil:
		settlement = bus.NakAfter(0)
	case d.lease.Valid(): // else another process may own the job
		w.Log.Warn("fetcher.job.failed", "subject", subject, "error", err)
		settlement = bus.NakAfter(recheckDelay)
	}
	d.lease.Settle(settlement)
}

// errNotDue is the reason of the redelivery of a job that is not due yet.
var errNotDue = errors.New("job is not due yet")
