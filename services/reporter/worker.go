package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

// worker follows one run from its checkpoint to its end.
type worker struct {
	*Service
	manifest contract.Manifest
	// lease is the right to report the run; nil when there is no other reporter.
	lease  *runLease
	ledger ledger.Reader
	buckets
	tally              fold.Tally
	revision           uint64 // of the checkpoint; 0 while there is none
	attemptsFile       *store.Appender
	releaseClaim       func() error // releases the claim on the files of the series and year; nil while there is none
	streak             fold.Streak
	collectedElsewhere fold.Outcomes // outcomes of numbers that this run skips because other runs collected them
	failedKeys         map[int]bool  // numbers with a key in the bucket failed
	halt               *contract.Halt
	deadline           time.Time // of the halt
	haltWritten        bool      // this worker has written the halt of a safe stop
	saved              bool      // this worker has written a checkpoint
	haltCheckedAt      time.Time
	reportedAttempts   int            // attempts counted at the last progress event
	waitCheckedAt      time.Time      // time of the last progress, or of the last check for the reason of a wait
	reportedWait       *contract.Wait // of the last waiting event
	canary             canaryState
	canaryRequests     sync.WaitGroup // the canary in flight
	stopwatch          *stopwatch
	results            []contract.CrawlResult // the numbers that failed, once the run is verified
	// fetcherRenewals tracks whether the run's fetchers still renew their presence.
	fetcherRenewals *lease.Renewals
	// restored is set once missing records were written again; it outlives the worker, which may be
	// replaced while the run is being reported.
	restored *bool
	// newestCollected are the newest cases of this year that earlier runs collected.
	newestCollected newestCases
}

// buckets are the key-value buckets that the reporter uses.
type buckets struct {
	runs, collected, failed, fetchers jetstream.KeyValue
}

// haltInterval is the interval of the checks of a halted run, progressInterval the smallest
// interval of progress events.
const (
	haltInterval     = 50 * time.Millisecond
	progressInterval = time.Second
	// waitInterval is the interval of the checks why a run makes no progress.
	waitInterval = 5 * time.Second
)

func openBuckets(ctx context.Context, broker *bus.Bus) (b buckets, err error) {
	for name, bucket := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &b.runs, contract.BucketCollected: &b.collected,
		contract.BucketFailed: &b.failed, contract.BucketFetchers: &b.fetchers,
	} {
		if *bucket, err = broker.KV(ctx, name); err != nil {
			return buckets{}, fmt.Errorf("opening the bucket %s: %w", name, err)
		}
	}
	return b, nil
}

// run works until the run has ended (nil), the context ends, or an error occurs.
func (w *worker) run(ctx context.Context, run contract.RunID) error {
	defer func() {
		if w.releaseClaim != nil {
			_ = w.releaseClaim()
		}
	}()
	if err := w.load(ctx, run); err != nil {
		return err
	}
	defer func() { _ = w.attemptsFile.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	halts := watchKeys(ctx, w.Bus, run.HaltKey())
	defer halts.end()
	ready := make(chan ledger.Message, prefetch)
	var reader sync.WaitGroup
	reader.Go(func() {
		cancel(w.ledger.Follow(ctx, w.tally.Sequence, func(m ledger.Message) error {
			select {
			case ready <- m:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}))
	})
	defer reader.Wait()
	defer w.canaryRequests.Wait()
	defer cancel(nil)
	err := w.loop(ctx, ready, halts)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause // the reader's error is the cause
	}
	return err
}

// loop folds messages as they arrive and ends the run when it is complete or halted.
func (w *worker) loop(ctx context.Context, ready <-chan ledger.Message, halts keyWatch) error {
	progressTick := time.NewTicker(progressInterval)
	defer progressTick.Stop()
	haltTick := time.NewTicker(haltInterval)
	defer haltTick.Stop()
	if w.tally.SafeStop != "" { // its halt was deleted if the run was resumed
		if err := w.safeStop(ctx); err != nil {
			return err
		}
	}
	for {
		if done, err := w.endIfDue(ctx); done || err != nil {
			return err
		}
		if err := w.maybeStartCanary(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-ready:
			if err := w.apply(ctx, collectBatch(m, ready)); err != nil {
				return err
			}
		case err := <-halts.ended:
			return fmt.Errorf("watching for a halt of %s: %w", w.manifest.RunID, err)
		case entry := <-halts.entries:
			w.readHalt(entry)
		case reply := <-w.canary.reply:
			w.onCanaryReply(reply)
		case <-haltTick.C:
		case <-progressTick.C:
			if err := w.readOverlapKeys(ctx); err != nil {
				return err
			}
			w.publishProgress(ctx)
		}
	}
}

// prefetch bounds how many messages wait in memory to be folded: a pack has up to four megabytes.
const prefetch = 16

// maxBatchBytes bounds how many bytes of packs are folded, and so held in memory, at once.
const maxBatchBytes = 8 << 20

// collectBatch appends the messages that are ready now, without waiting.
func collectBatch(first ledger.Message, ready <-chan ledger.Message) []ledger.Message {
	batch := []ledger.Message{first}
	for size := first.Size; size < maxBatchBytes && len(batch) < 4*prefetch; {
		select {
		case m := <-ready:
			batch = append(batch, m)
			size += m.Size
		default:
			return batch
		}
	}
	return batch
}

func (w *worker) readHalt(entry jetstream.KeyValueEntry) {
	w.halt, w.canary.ending, w.canary.givenUp = nil, false, false
	if entry.Operation() != jetstream.KeyValuePut {
		return // deleted: the run resumes
	}
	halt := runs.DecodeHalt(entry)
	w.halt, w.deadline = &halt, w.deadlineOf(halt)
}

// leasePoll is how often a waiting reporter checks whether the lease is free.
const leasePoll = 2 * time.Second

// errLeaseLost means that another reporter may work on the run.
var errLeaseLost = errors.New("another reporter works on the run")

// runLease is the right to report a run where several processes may: a key of the bucket fetchers.
// The checkpoint fences all but one of them anyway; the lease keeps the others from trying.
type runLease struct {
	bucket   jetstream.KeyValue
	key      string
	revision uint64
	term     lease.Term
	clock    *lease.Clock
}

// check returns errLeaseLost when another reporter may hold the lease. Nothing is written then. A
// nil lease, of the only reporter, is always valid.
func (l *runLease) check() error {
	if l == nil {
		return nil
	}
	if !l.clock.Valid() {
		return errLeaseLost
	}
	return nil
}

// withLease waits for the lease of a run and calls work while it holds it; the only reporter needs
// no lease. It returns without work once want returns false: the run need not be reported any more.
func (s *Service) withLease(
	ctx context.Context, run contract.RunID, term lease.Term, want func() (bool, error),
	work func(context.Context, *runLease) error,
) error {
	if !s.Shared {
		wanted, err := want()
		if err != nil || !wanted {
			return err
		}
		return work(ctx, nil)
	}
	bucket, err := s.Bus.KV(ctx, contract.BucketFetchers)
	if err != nil {
		return err
	}
	held := &runLease{bucket: bucket, key: run.ReporterKey(), term: term}
	others := lease.NewRenewals(term)
	for {
		wanted, err := want()
		if err != nil || !wanted {
			return err
		}
		held.clock = lease.NewClock(term, time.Now())
		held.revision, err = bucket.Create(ctx, held.key, nil)
		if err == nil {
			return held.hold(ctx, work)
		}
		if !runs.IsConflict(err) {
			return fmt.Errorf("taking the lease of %s: %w", run, err)
		}
		if err := held.deleteIfExpired(ctx, others); err != nil {
			return fmt.Errorf("taking the lease of %s: %w", run, err)
		}
		if err := delay.Sleep(ctx, leasePoll); err != nil {
			return err
		}
	}
}

// deleteIfExpired deletes a lease whose holder has not renewed it for longer than the bucket should
// keep it.
func (l *runLease) deleteIfExpired(ctx context.Context, others *lease.Renewals) error {
	entry, err := l.bucket.Get(ctx, l.key)
	if err == nil && others.Expired(l.key, entry.Revision()) {
		err = l.bucket.Delete(ctx, l.key, jetstream.LastRevision(entry.Revision()))
	}
	if errors.Is(err, jetstream.ErrKeyNotFound) || runs.IsConflict(err) { // it has changed since
		return nil
	}
	return err
}

// hold calls work while it renews the lease, then releases the lease.
func (l *runLease) hold(ctx context.Context, work func(context.Context, *runLease) error) error {
	leaseCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for delay.Sleep(leaseCtx, l.term.Heartbeat()) == nil {
			if l.check() != nil { // the broker was in trouble, or this process was suspended
				stop(errLeaseLost)
				return
			}
			sentAt := time.Now()
			revision, err := l.bucket.Update(leaseCtx, l.key, nil, l.revision)
			if err == nil {
				l.revision = revision
				l.clock.Renewed(sentAt)
			} else if runs.IsConflict(err) {
				stop(errLeaseLost)
			} // else the broker is in trouble: if that lasts, the lease expires
		}
	})
	err := work(leaseCtx, l)
	if cause := context.Cause(leaseCtx); err != nil && errors.Is(cause, errLeaseLost) {
		err = cause
	}
	stop(nil)
	renewing.Wait()
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.term.Heartbeat())
	defer cancel()
	// If this fails the lease expires. The revision keeps it from deleting the lease of another.
	_ = l.bucket.Delete(releaseCtx, l.key, jetstream.LastRevision(l.revision))
	return err
}

func (w *worker) newEvent(status contract.Status, report *contract.Report) contract.Event {
	s := files.Summary{Manifest: w.manifest, Tally: &w.tally, Finished: w.Now(), Elapsed: w.stopwatch.elapsed()}
	now := s.Report()
	event := contract.Event{
		RunID: w.manifest.RunID, At: w.Now().UTC(), Status: status, Range: s.Numbers(), Listed: w.manifest.IDs.Size(),
		Succeeded: now.Succeeded, NoRecord: now.NoRecord, Failed: now.Failed, Retries: now.Retries,
		Metrics: &now.Metrics, Report: report,
	}
	if p := w.tally.Planned; p != nil {
		event.Planned = p.Jobs - len(p.Beyond)
	}
	return event
}

// publishProgress publishes a progress event when there is progress, and otherwise an event with
// the reason of the wait, once for each wait.
func (w *worker) publishProgress(ctx context.Context) {
	if w.tally.Durations.Count != w.reportedAttempts {
		w.reportedAttempts, w.waitCheckedAt = w.tally.Durations.Count, time.Now()
		w.publishEvent(ctx, "progress", w.newEvent(contract.Running, nil))
		return
	}
	if time.Since(w.waitCheckedAt) < waitInterval {
		return
	}
	w.waitCheckedAt = time.Now()
	wait, err := w.fetcherWait(ctx)
	if err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", "waiting", "error", err)
	}
	if wait != nil && (w.reportedWait == nil || wait.Reason != w.reportedWait.Reason ||
		wait.Until.Sub(w.reportedWait.Until) > waitInterval) {
		w.reportedWait = wait
		event := w.newEvent(contract.Running, nil)
		event.Wait = wait
		w.publishEvent(ctx, "waiting", event)
	}
}

// fetcherWait returns why the run's fetchers wait: the wait with the earliest end; nil when none
// waits. A fetcher without a job does not wait.
func (w *worker) fetcherWait(ctx context.Context) (wait *contract.Wait, err error) {
	err = runs.EachFetcher(ctx, w.Bus, w.manifest.RunID, func(_ string, p contract.Presence) {
		if p.Wait != nil && (wait == nil || p.Wait.Until.Before(wait.Until)) {
			wait = p.Wait
		}
	})
	return wait, err
}

// publishEvent publishes an event. Events are informational: a lost one does not stop a run.
func (w *worker) publishEvent(ctx context.Context, name string, event contract.Event) {
	if err := w.Bus.PublishJSON(ctx, w.manifest.RunID.EventSubject(name), event); err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", name, "error", err)
	}
}
