package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher/limit"

	"github.com/nats-io/nats.go/jetstream"
)

// runWorker is the work of one fetcher on one round of a run. Its methods take two contexts:
// startCtx ends when no further job may be started, finishCtx when jobs in flight are abandoned.
type runWorker struct {
	service  *Service
	log      *slog.Logger
	manifest contract.Manifest
	history  *runHistory
	record   *inFlightRecord
	// reachability tracks whether the site was reached in this round.
	reachability *limit.Reachability
	// stop ends startCtx.
	stop context.CancelCauseFunc
	jobs sync.WaitGroup
	// nextJob passes jobs to the goroutines that have done theirs, until it is closed.
	nextJob chan func()
	// inFlight counts the cases of the run in flight.
	inFlight atomic.Int64
	// consumerCreated is the creation time of the jobs consumer. consumerRecreated says that it was
	// recreated since the work started.
	consumerCreated   time.Time
	consumerRecreated atomic.Bool
	// requests counts the requests that were sent.
	requests atomic.Int64

	mu            sync.Mutex
	activeNumbers map[int]bool
	// pastHistory is the history of the past run that was searched last. copyRequested are the
	// numbers for which a copy was requested from the classifier.
	pastHistory   *runHistory
	copyRequested map[int]bool
	// loggedWaits are the logged waits by reason, each with the latest end that was logged.
	loggedWaits map[string]time.Time
	// storedPresence is the presence that was stored last.
	storedPresence contract.Presence
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

// halt ends the work on the run at once, then halts the run.
func (w *runWorker) halt(ctx context.Context, halt contract.Halt) {
	w.stop(runs.Halted{Halt: halt})
	if err := runs.Halt(ctx, w.service.runs, w.manifest.RunID, halt); err != nil {
		w.fail(err)
	}
}

// countRequest counts a request that was sent, and stops the round when this fetcher alone has reached
// max_requests: the reporter counts a request later, when its case has ended.
func (w *runWorker) countRequest(ctx context.Context) {
	reason := w.manifest.LimitReached(0, int(w.requests.Add(1)))
	if reason == "" {
		return
	}
	halt := contract.Halt{Status: contract.Stopped, Reason: reason, At: time.Now().UTC()}
	w.stop(runs.Halted{Halt: halt})
	w.jobs.Go(func() { w.halt(ctx, halt) })
}

// workOnRun processes jobs of a run until startCtx ends. Then it waits for the jobs in flight until
// the deadline of the halt, or until serviceCtx, the context of the service, ends.
func (s *Service) workOnRun(serviceCtx, startCtx context.Context, m contract.Manifest) error {
	startCtx, stop := context.WithCancelCause(startCtx)
	defer stop(nil)
	finishCtx, abandon := context.WithCancelCause(context.WithoutCancel(startCtx))
	defer abandon(nil)
	w := &runWorker{
		service: s, log: s.Log, manifest: m, stop: stop, activeNumbers: make(map[int]bool),
		nextJob: make(chan func()), copyRequested: make(map[int]bool),
		history: s.historyOf(m.RunID), record: s.newInFlightRecord(m.RunID),
		loggedWaits: make(map[string]time.Time), reachability: limit.NewReachability(s.Backoff),
	}
	defer s.overlap.add(w)()
	leaveRun, err := w.announcePresence(finishCtx)
	if err != nil {
		return err
	}
	defer leaveRun()
	stopWatch := context.AfterFunc(startCtx, func() {
		cause := context.Cause(startCtx)
		w.closeRecord(finishCtx, cause)
		w.awaitDeadline(serviceCtx, finishCtx, cause)
		abandon(cause)
	})
	defer stopWatch()
	var watcher sync.WaitGroup
	watcher.Go(func() { w.watchBlock(startCtx) })
	w.pullJobs(startCtx, finishCtx)
	close(w.nextJob)
	w.jobs.Wait()
	stop(nil)
	watcher.Wait()
	w.closeRecord(finishCtx, context.Cause(startCtx))
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

// closeRecord empties the in-flight record: what this process still works on is no crash if it
// dies.
func (w *runWorker) closeRecord(finishCtx context.Context, cause error) {
	if err := w.record.close(finishCtx, cause); err != nil { // then it counts as a crash
		w.log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// watchBlock halts the run when the site blocks requests.
func (w *runWorker) watchBlock(startCtx context.Context) {
	for {
		_, changed := w.service.limiter.Block()
		if w.haltIfBlocked(startCtx) {
			return
		}
		select {
		case <-changed:
		case <-startCtx.Done():
			return
		}
	}
}

// haltIfBlocked halts the run if the site blocks requests, also those of another run, and reports
// whether it does.
func (w *runWorker) haltIfBlocked(startCtx context.Context) bool {
	block, _ := w.service.limiter.Block()
	if block == nil {
		return false
	}
	w.halt(context.WithoutCancel(startCtx), blockHalt(*block))
	return true
}

// awaitDeadline waits until the jobs in flight have ended or must be abandoned: at the deadline of
// the halt, or when the service ends. Without a halt or a pause they have Grace.
func (w *runWorker) awaitDeadline(serviceCtx, finishCtx context.Context, cause error) {
	halted, ok := errors.AsType[runs.Halted](cause)
	if _, paused := errors.AsType[runs.Paused](cause); !ok && !paused {
		grace := w.service.Grace
		if errors.Is(cause, bus.ErrStore) { // no answer could be stored
			grace = 0
		}
		limited, cancel := context.WithTimeout(finishCtx, grace)
		defer cancel()
		<-limited.Done()
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
	case <-finishCtx.Done(): // all jobs have ended
	}
}

// announcePresence keeps the presence of this fetcher on the run, and its in-flight record, stored
// until leave is called.
func (w *runWorker) announcePresence(finishCtx context.Context) (leaveRun func(), err error) {
	// Not with startCtx: a canceled put may have been stored, and then the end of the run waits until
	// it expires.
	limited, cancel := context.WithTimeout(finishCtx, w.service.presenceTerm.Heartbeat())
	defer cancel()
	if err := w.putPresence(limited); err != nil {
		return nil, fmt.Errorf("joining run %s: %w", w.manifest.RunID, err)
	}
	stopHeartbeat := delay.Every(presenceInterval, func() {
		if !w.presenceDue() {
			return
		}
		w.refreshPresence(finishCtx)
		if err := w.record.flush(finishCtx); err != nil {
			w.log.Warn("fetcher.holding.failed", "run_id", w.manifest.RunID, "error", err)
		}
	})
	return func() {
		stopHeartbeat()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(finishCtx), w.service.presenceTerm.Heartbeat())
		defer cancel()
		if err := w.service.fetchers.Delete(ctx, w.manifest.RunID.FetcherKey(w.service.ID)); err != nil { // then it expires
			w.log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		}
	}, nil
}

// presenceInterval is the interval of the checks whether the stored presence is out of date.
const presenceInterval = time.Second

// presenceDue reports whether the stored presence must be renewed, or is not what it was.
func (w *runWorker) presenceDue() bool {
	next := w.presence()
	w.mu.Lock()
	stored := w.storedPresence
	w.mu.Unlock()
	due := next.At.Sub(stored.At) >= w.service.presenceTerm.Heartbeat()
	next.At = stored.At
	return due || !reflect.DeepEqual(next, stored)
}

func (w *runWorker) presence() contract.Presence {
	pace := w.service.limiter.CurrentPace()
	return contract.Presence{At: time.Now(), Wait: w.reportWait(), Reached: w.reachability.Reached(),
		InFlight: int(w.inFlight.Load()), Pace: &pace}
}

func (w *runWorker) putPresence(ctx context.Context) error {
	p := w.presence()
	w.mu.Lock()
	w.storedPresence = p
	w.mu.Unlock()
	p.At = p.At.UTC()
	return runs.Put(ctx, w.service.fetchers, w.manifest.RunID.FetcherKey(w.service.ID), p)
}

// refreshPresence stores the presence again. The next refresh replaces a lost one.
func (w *runWorker) refreshPresence(ctx context.Context) {
	if err := w.putPresence(ctx); err != nil {
		w.log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
	}
}

// reportWait returns why no request is sent now; nil while requests are sent. It logs a wait that
// is new, or ends later than was logged.
func (w *runWorker) reportWait() *contract.Wait {
	current := w.service.limiter.CurrentWait()
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
		w.log.Info("batch.run.wait", "run_id", w.manifest.RunID, "reason", current.Reason, "until",
			current.Until.UTC().Round(time.Second))
	}
	return &current.Wait
}

// process does one job and settles its message. If the settlement is lost, the job is redelivered
// and its history is read.
func (w *runWorker) process(startCtx, finishCtx context.Context, d delivery) {
	err := w.doJob(startCtx, finishCtx, d)
	subject := d.lease.Msg().Subject()
	settlement, ok := bus.SettlementOf(err)
	switch {
	case ok:
	case errors.Is(err, contract.ErrMessage):
		w.log.Error("fetcher.job.dropped", "subject", subject, "error", err)
		settlement = bus.Term
	case errors.Is(err, bus.ErrStore), errors.Is(err, runs.ErrUnreadable):
		w.fail(err)
		settlement = bus.NakAfter(0)
	case startCtx.Err() != nil:
		settlement = bus.NakAfter(0)
	case d.lease.Valid(): // else another process may own the job
		w.log.Warn("fetcher.job.failed", "subject", subject, "error", err)
		settlement = bus.NakAfter(recheckDelay)
	}
	d.lease.Settle(settlement)
}

// errNotDue is the reason of the redelivery of a job that is not due yet.
var errNotDue = errors.New("job is not due yet")

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
func (w *runWorker) existingOutcome(ctx context.Context, id contract.CaseID, epoch uint64) (contract.Copy, error) {
	others, everOverlapped := w.service.overlap.overlapping(w)
	if !everOverlapped || w.manifest.Force {
		return contract.Copy{}, nil
	}
	for _, other := range others {
		step, err := other.history.nextStep(ctx, id.Number, epoch, true)
		switch {
		case err != nil:
			return contract.Copy{}, err
		case step.Wait > 0:
			return contract.Copy{}, bus.RetryIn(min(step.Wait, w.service.jobTerm.Heartbeat()), errNotDue)
		}
		if original := w.copyable(id.Number, other.manifest.RunID, step); original.RunID != "" {
			return original, nil
		}
	}
	collected, err := runs.Get[contract.Collected](ctx, w.service.collected, id.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return contract.Copy{}, nil
	}
	if err != nil || !collected.AppliesTo(w.service.SiteName) || collected.RunID == w.manifest.RunID {
		return contract.Copy{}, err
	}
	return w.pastOutcome(ctx, w.pastHistoryOf(collected.RunID), id.Number, epoch)
}

// pastOutcome returns the outcome of a number in a past run that has collected it.
func (w *runWorker) pastOutcome(ctx context.Context, h *runHistory, number int, epoch uint64) (contract.Copy, error) {
	step, err := h.nextStep(ctx, number, epoch, false)
	if err == nil && step.Outcome == "" { // by another fetcher, since the chunk was read
		step, err = h.nextStep(ctx, number, epoch, true)
	}
	if err != nil {
		return contract.Copy{}, err
	}
	return w.copyable(number, h.run, step), nil
}

// pastHistoryOf returns the history of a past run; the last one is cached.
func (w *runWorker) pastHistoryOf(run contract.RunID) *runHistory {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pastHistory == nil || w.pastHistory.run != run {
		w.pastHistory = w.service.historyOf(run)
	}
	return w.pastHistory
}

// copyable returns the copy of an outcome, or the zero Copy if this run does not accept it. It
// accepts it if it would skip the number, and has not requested a copy of it before: if a copy was
// requested and the number is still open, the classifier has refused the copy.
func (w *runWorker) copyable(number int, run contract.RunID, step Step) contract.Copy {
	w.mu.Lock()
	defer w.mu.Unlock()
	if step.Outcome == "" || w.copyRequested[number] ||
		!w.manifest.Skips(number, contract.Collected{Outcome: step.Outcome, At: step.StoredAt}) {
		return contract.Copy{}
	}
	return contract.Copy{RunID: run, Sequence: step.Sequence}
}

// requestCopy stores an answer that makes the classifier copy an outcome into this run's ledger.
// The requests stay with the other run: they were sent once.
func (w *runWorker) requestCopy(ctx context.Context, a attempt, original contract.Copy) error {
	answer := a.answer()
	answer.Copy = &original
	err := w.storeAnswer(ctx, answer)
	if errors.Is(err, bus.ErrLeaveUnsettled) {
		w.mu.Lock()
		w.copyRequested[a.job.CaseID.Number] = true
		w.mu.Unlock()
		w.log.Debug("fetcher.job.shared", "run_id", w.manifest.RunID, "case_id", a.job.CaseID.String(), "from",
			original.RunID)
	}
	return err
}
