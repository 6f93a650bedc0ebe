package reporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/forecast"
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
	announced          *contract.Planned // which jobs the generator is publishing; nil while that is not known
	revision           uint64            // of the checkpoint; 0 while there is none
	unwritten          unwritten
	attemptsFile       *store.Appender
	releaseClaim       func() error // releases the claim on the files of the series and year; nil while there is none
	streak             fold.Streak
	collectedElsewhere fold.Outcomes // outcomes of numbers that this run skips because other runs collected them
	failedKeys         map[int]bool  // numbers with a key in the bucket failed
	halt               *contract.Halt
	control            contract.Control
	deadline           time.Time // of the halt
	haltWritten        bool      // this worker has written the halt of a safe stop
	saved              bool      // this worker has written a checkpoint
	haltCheckedAt      time.Time
	observed           observed
	progressAt         time.Time               // of the last progress
	reported           figures                 // of the last event
	reportedWait       *contract.Wait          // of the last event
	presences          map[string]seenPresence // by key
	paceSeen           *contract.FetcherPace   // the last pace that a fetcher said
	// presenceTerm is how long a presence counts that is not renewed.
	presenceTerm   time.Duration
	canary         canaryState
	canaryRequests sync.WaitGroup // the canary in flight
	stopwatch      *stopwatch
	before         earlierRounds // what the rounds before this one had used
	details        files.Details // once the run is verified
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
	// waitInterval is how long a run makes no progress before it waits.
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
	ctx, cancel := context.WithCancel(ctx)
	orders := watchKeys(ctx, w.Bus, contract.BucketRuns, run.HaltKey(), run.ControlKey(), run.PlannedKey())
	defer orders.end()
	presences := watchKeys(ctx, w.Bus, contract.BucketFetchers, run.FetcherKey("*"))
	defer presences.end()
	ready, unreadable := make(chan ledger.Message, prefetch), make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		unreadable <- w.ledger.Follow(ctx, w.tally.Sequence, func(m ledger.Message) error {
			select {
			case ready <- m:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	defer reader.Wait()
	defer w.canaryRequests.Wait()
	defer cancel()
	return w.loop(ctx, ready, unreadable, orders, presences)
}

// loop folds messages as they arrive, writes what follows from them, and ends the run when it is
// complete or halted. unreadable receives the error that ended the reading of the ledger.
func (w *worker) loop(
	ctx context.Context, ready <-chan ledger.Message, unreadable <-chan error, orders, presences keyWatch,
) error {
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
		if err := w.stopAtLimit(ctx); err != nil {
			return err
		}
		if err := w.maybeStartCanary(ctx); err != nil {
			return err
		}
		if err := w.writeIfDue(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-ready:
			if err := w.fold(ctx, collectBatch(m, ready)); err != nil {
				return err
			}
		case err := <-unreadable:
			if ctx.Err() == nil { // the files get all that was read before
				err = cmp.Or(w.foldRest(ctx, ready), err)
			}
			return err
		case err := <-orders.ended:
			return fmt.Errorf("watching for a halt of %s: %w", w.manifest.RunID, err)
		case entry := <-orders.entries:
			w.readOrder(ctx, entry)
		case err := <-presences.ended:
			return fmt.Errorf("watching the fetchers of %s: %w", w.manifest.RunID, err)
		case entry := <-presences.entries:
			w.readPresence(entry)
			if w.reported.inFlight == 0 { // the first case of a round is told at once
				w.publishProgress(ctx)
			}
		case reply := <-w.canary.reply:
			w.onCanaryReply(reply)
		case <-haltTick.C: // a write may be due, too
		case <-progressTick.C:
			if err := w.readOverlapKeys(ctx); err != nil {
				return err
			}
			w.rereadPresences(ctx)
			w.publishProgress(ctx)
		}
	}
}

const (
	// prefetch bounds how many messages wait in memory to be folded: a pack has up to four megabytes.
	prefetch = 16
	// maxBatchBytes bounds how many bytes of packs are folded but not written, and so held in memory.
	maxBatchBytes = 8 << 20
)

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

// foldRest folds and writes the messages that were read before the reading of the ledger ended.
func (w *worker) foldRest(ctx context.Context, ready <-chan ledger.Message) error {
	for {
		select {
		case m := <-ready:
			if err := w.fold(ctx, collectBatch(m, ready)); err != nil {
				return err
			}
			if err := w.writeIfDue(ctx); err != nil { // bounds the memory
				return err
			}
		default:
			return w.write(ctx)
		}
	}
}

// readOrder follows the halt, the control and the planned jobs of the run. The latter two are told at once.
func (w *worker) readOrder(ctx context.Context, entry jetstream.KeyValueEntry) {
	switch entry.Key() {
	case w.manifest.RunID.ControlKey():
		w.control = runs.DecodeControl(entry)
		w.publishProgress(ctx)
	case w.manifest.RunID.PlannedKey():
		w.announced = w.decodeAnnounced(entry)
		w.publishProgress(ctx)
	default:
		w.readHalt(entry)
	}
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
	s := files.Summary{Manifest: w.manifest, Tally: &w.tally, Finished: w.Now(), Elapsed: w.stopwatch.elapsed(),
		Planned: w.planned()}
	now := s.Report()
	return contract.Event{
		RunID: w.manifest.RunID, At: w.Now().UTC(), Status: status, Range: s.Numbers(), Listed: w.manifest.IDs.Size(),
		Succeeded: now.Succeeded, NoRecord: now.NoRecord, Failed: now.Failed, Retries: now.Retries,
		Planned: now.Metrics.Planned, Metrics: &now.Metrics, Report: report,
	}
}

// figures are what changes from event to event.
type figures struct {
	attempts, planned, inFlight int
	phase                       contract.Phase
	pause                       contract.PauseBounds
	leftUnknown                 string
}

// publishProgress publishes the event waiting when a wait or a pause begins or changes, and otherwise the
// event progress when a figure has changed or a wait has ended.
func (w *worker) publishProgress(ctx context.Context) {
	now := time.Now()
	if w.tally.Durations.Count != w.reported.attempts {
		w.progressAt = now
	}
	facts := w.roundFacts(now)
	w.observed.advance(now, facts.idle(), facts.pace())
	facts.rate, facts.requestRate = w.observed.rates(now)
	wait := facts.wait
	event := w.newEvent(contract.Running, nil)
	event.Progress = facts.progress()
	event.Metrics.InFlight, event.Metrics.PauseSeconds = event.InFlight, event.Pause
	if event.Wait = wait; wait != nil {
		event.Metrics.Waiting = wait.Reason
	}
	next := figures{attempts: w.tally.Durations.Count, planned: event.Planned, inFlight: event.InFlight, phase: event.Phase,
		leftUnknown: event.LeftUnknown}
	if event.Pause != nil {
		next.pause = *event.Pause
	}
	switch before := w.reportedWait; {
	case wait != nil && (before == nil || wait.Reason != before.Reason ||
		wait.Until.Sub(before.Until).Abs() > waitInterval):
		w.publishEvent(ctx, "waiting", event)
	case next != w.reported || wait == nil && before != nil:
		w.publishEvent(ctx, "progress", event)
	default:
		return
	}
	w.reported, w.reportedWait = next, wait
}

// seenPresence is a presence and when it was read.
type seenPresence struct {
	contract.Presence
	at time.Time
}

func (w *worker) readPresence(entry jetstream.KeyValueEntry) {
	p, err := runs.Decode[contract.Presence](entry.Key(), entry.Value())
	if entry.Operation() != jetstream.KeyValuePut || err != nil {
		delete(w.presences, entry.Key())
		return
	}
	if w.presences == nil {
		w.presences = make(map[string]seenPresence)
	}
	if before, found := w.presences[entry.Key()]; !found || !before.At.Equal(p.At) {
		w.presences[entry.Key()] = seenPresence{p, time.Now()}
	}
}

// rereadPresences reads the presences while people wait for the first case in flight, or for the last one
// of a paused run to end: their bucket tells of no change, so the watch may learn of one only seconds
// later.
func (w *worker) rereadPresences(ctx context.Context) {
	if w.control.Paused != (w.reported.inFlight > 0) {
		return
	}
	keys := bus.Keys{Bucket: contract.BucketFetchers, Filters: []string{w.manifest.RunID.FetcherKey("*")}}
	found := map[string]bool{}
	err := w.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		found[entry.Key()] = true
		w.readPresence(entry)
		return nil
	})
	switch {
	case err == nil:
		maps.DeleteFunc(w.presences, func(key string, _ seenPresence) bool { return !found[key] })
	case ctx.Err() == nil: // the watch reads them later
		w.Logger.Warn("reporter.presences.unread", "run_id", w.manifest.RunID, "error", err)
	}
}

// fetchers returns the presences of the run's fetchers, by name, and forgets those that were not
// renewed.
func (w *worker) fetchers(now time.Time) (fetchers []contract.Presence) {
	maps.DeleteFunc(w.presences, func(_ string, p seenPresence) bool { return now.Sub(p.at) > w.presenceTerm })
	for _, key := range slices.Sorted(maps.Keys(w.presences)) {
		fetchers = append(fetchers, w.presences[key].Presence)
	}
	return fetchers
}

// roundFacts returns the facts of this moment, without the rates. A wait for the site counts when the
// run makes no progress: other fetchers may send requests. Rests and quiet hours are those of all.
func (w *worker) roundFacts(now time.Time) roundFacts {
	f := roundFacts{now: now, fetchers: w.fetchers(now), searching: w.manifest.Searching(), latency: w.observed.meanLatency()}
	if p := f.fetcherPace(); p != nil {
		w.paceSeen = p
	}
	f.paceSeen = w.paceSeen
	if p := w.planned(); p != nil {
		f.planned, f.left = true, max(0, p.Jobs-w.tally.Total())
		w.observed.setPlanned()
	}
	if w.observed.retries > 0 {
		f.retryShare = float64(w.observed.retries) / float64(w.observed.attempts)
		f.retryDelay = seconds(w.observed.retrySeconds / float64(w.observed.retries))
	}
	for number, at := range w.observed.retryAt {
		if w.tally.Outcomes.Get(number) != "" {
			delete(w.observed.retryAt, number)
			continue
		}
		if at.After(now) {
			f.retries++
		}
		if at.After(f.lastRetry) {
			f.lastRetry = at
		}
	}
	f.perNumber = w.observed.perNumber(&w.tally)
	wait := fetcherWait(f.fetchers)
	switch {
	case w.control.Paused:
		f.wait = &contract.Wait{Reason: contract.WaitPaused}
	case wait != nil && (wait.ByPlan() || now.Sub(w.progressAt) >= waitInterval):
		f.wait = wait
	}
	return f
}

// fetcherWait returns why the fetchers wait: the wait with the earliest end; nil when none waits. A
// fetcher without a job does not wait.
func fetcherWait(fetchers []contract.Presence) (wait *contract.Wait) {
	for _, p := range fetchers {
		if p.Wait != nil && (wait == nil || p.Wait.Until.Before(wait.Until)) {
			wait = p.Wait
		}
	}
	return wait
}

// publishEvent publishes an event. Events are informational: a lost one does not stop a run.
func (w *worker) publishEvent(ctx context.Context, name string, event contract.Event) {
	if err := w.Bus.PublishJSON(ctx, w.manifest.RunID.EventSubject(name), event); err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", name, "error", err)
	}
}

// observed is what a reporter has seen of this round, as the ledger grew. Its sums decay: what was
// added loses its weight exponentially with time. The zero value has seen nothing.
type observed struct {
	// began is when the first entry was added, which starts the clock and does not count itself.
	began, at time.Time
	// outcomes decays with rateMemory. requests and busy, the seconds in which requests could be sent,
	// decay more slowly. They begin with priorRequests at pace.
	outcomes, requests, busy float64
	pace                     forecast.Pace
	// numbers, allRequests, exchanges and seconds are counts of the whole round.
	numbers, allRequests, exchanges int
	seconds                         float64
	// planned: the counts are of the time since the numbers were planned, without the search.
	planned bool
	// attempts counts the attempts of the whole round, retries those that were followed by a retry, and
	// retrySeconds their waits for it.
	attempts, retries int
	retrySeconds      float64
	// retryAt is when numbers without an outcome may be fetched again.
	retryAt map[int]time.Time
}

// rateMemory is the time constant of the rate that people see.
const rateMemory = time.Minute

func (o *observed) add(now time.Time, fresh []fold.Counted) {
	for _, entry := range fresh {
		if !entry.WritesLine() {
			continue
		}
		o.attempts++
		number := entry.CaseID.Number
		if entry.Outcome == "" && !entry.RetryAt.IsZero() {
			if o.retryAt == nil {
				o.retryAt = make(map[int]time.Time)
			}
			o.retryAt[number] = entry.RetryAt
			o.retries++
			o.retrySeconds += max(0, entry.RetryAt.Sub(entry.EndedAt()).Seconds())
		} else {
			delete(o.retryAt, number)
		}
		for _, x := range entry.Requests {
			o.exchanges++
			o.seconds += x.Seconds
		}
		o.allRequests += len(entry.Requests)
		if entry.Outcome != "" {
			o.numbers++
		}
		if !o.began.IsZero() {
			o.requests += float64(len(entry.Requests))
			if entry.Outcome != "" {
				o.outcomes++
			}
		}
	}
	if o.began.IsZero() && o.exchanges > 0 {
		o.began, o.at = now, now
	}
}

// setPlanned forgets how many requests the numbers of the search took: most of them have no record.
func (o *observed) setPlanned() {
	if !o.planned {
		o.planned, o.numbers, o.allRequests = true, 0, 0
	}
}

// priorRequests is how many requests at the pace of the settings a rate of requests begins with: few
// pauses say little, because they are drawn.
const priorRequests = 30

// advance lets the sums decay until now. While the run is idle, the time does not count against the
// rate of requests. Another pace makes that rate begin anew.
func (o *observed) advance(now time.Time, idle bool, pace forecast.Pace) {
	if o.began.IsZero() {
		return
	}
	passed := now.Sub(o.at)
	o.at = now
	o.outcomes *= math.Exp(-passed.Seconds() / rateMemory.Seconds())
	interval := pace.Interval()
	if o.pace.Min != pace.Min || o.pace.Max != pace.Max || o.pace.Concurrency != pace.Concurrency {
		o.requests, o.busy = priorRequests, priorRequests*interval.Seconds()
	}
	o.pace = pace
	if idle {
		return
	}
	const least, pauses = 5 * time.Minute, 60
	memory := max(least, pauses*interval).Seconds()
	kept := math.Exp(-passed.Seconds() / memory)
	o.requests *= kept
	o.busy = o.busy*kept + memory*(1-kept)
}

// minRequests is how many requests the rate of requests, and how many numbers the requests of a number,
// are based on at least.
const minRequests = 5

// rates returns how many numbers got an outcome, and how many requests were sent, a minute; 0 if too
// little was seen.
func (o *observed) rates(now time.Time) (outcomes, requests float64) {
	if o.began.IsZero() || now.Sub(o.began) < progressInterval {
		return 0, 0
	}
	since, memory := now.Sub(o.began).Seconds(), rateMemory.Seconds()
	outcomes = o.outcomes * 60 / (memory * (1 - math.Exp(-since/memory)))
	if o.requests >= minRequests && o.busy > 0 {
		requests = 60 / o.interval()
	}
	return outcomes, requests
}

// interval returns the mean time between two requests in seconds: that of the pace, unless the one that
// was seen differs by more than two standard deviations of the mean of so many pauses, which are drawn.
func (o *observed) interval() float64 {
	seen, paced := o.busy/o.requests, o.pace.Interval().Seconds()
	deviation := max(0, o.pace.Max-o.pace.Min).Seconds() / math.Sqrt(12*o.requests)
	if math.Abs(seen-paced) <= 2*deviation {
		return paced
	}
	return seen
}

// perNumber returns how many requests a number took, retries included; 0 if nothing is known. Until
// enough was seen of this round, it is that of the run.
func (o *observed) perNumber(t *fold.Tally) float64 {
	if o.numbers >= minRequests {
		return float64(o.allRequests) / float64(o.numbers)
	}
	if t.Total() == 0 {
		return 0
	}
	return float64(t.Requests-t.CanaryRequests) / float64(t.Total())
}

func (o *observed) meanLatency() time.Duration {
	if o.exchanges == 0 {
		return 0
	}
	return seconds(o.seconds / float64(o.exchanges))
}

// roundFacts are what the progress of a running run is computed from.
type roundFacts struct {
	now time.Time
	// searching: the bound is not known. planned: it is known which numbers are fetched, of which left have
	// no outcome, and retries of those wait for a retry, the last until lastRetry.
	searching, planned bool
	left, retries      int
	lastRetry          time.Time
	// perNumber is how many requests a number takes, latency how long each; 0 is unknown.
	perNumber float64
	latency   time.Duration
	// retryShare is the share of the attempts that were followed by a retry, after retryDelay on average.
	retryShare float64
	retryDelay time.Duration
	// rate is how many numbers, requestRate how many requests were done a minute; 0 is unknown.
	rate, requestRate float64
	// wait is why no request is sent; nil if that is not so.
	wait     *contract.Wait
	fetchers []contract.Presence
	// paceSeen is the pace while no fetcher says its own, as those of a paused run; nil is unknown.
	paceSeen *contract.FetcherPace
}

func (f roundFacts) paused() bool { return f.wait != nil && f.wait.Reason == contract.WaitPaused }

// idle reports whether no request can be sent, for a reason that a forecast counts by itself.
func (f roundFacts) idle() bool {
	if f.paused() {
		return true
	}
	for _, p := range f.fetchers {
		if p.Wait != nil && p.Wait.ByPlan() {
			return true
		}
	}
	return f.planned && f.retries >= f.left
}

// progress computes the progress of a running run.
func (f roundFacts) progress() contract.Progress {
	p := contract.Progress{Phase: contract.PhaseFetching, RatePerMinute: math.Round(f.rate*100) / 100}
	switch {
	case f.paused(): // no event tells how the rate falls
		p.Phase, p.RatePerMinute = contract.PhasePaused, 0
	case f.wait != nil:
		p.Phase = contract.PhaseWaiting
	case !f.planned && f.searching:
		p.Phase = contract.PhaseSearching
	}
	for _, fetcher := range f.fetchers {
		p.InFlight += fetcher.InFlight
	}
	if pace := f.fetcherPace(); pace != nil {
		p.Pause = &contract.PauseBounds{Min: max(pace.DelayMin, pace.SlowedMin).Seconds(),
			Max: max(pace.DelayMin, pace.DelayMax, pace.SlowedMax).Seconds()}
	}
	left, unknown := f.timeLeft()
	if p.LeftUnknown = unknown; unknown == "" {
		rounded := math.Round(left.Seconds()*10) / 10
		if f.left > 0 {
			rounded = max(0.1, rounded)
		}
		p.LeftSeconds = &rounded
	}
	return p
}

// timeLeft estimates how long the run takes from now on, or returns why nobody can know.
func (f roundFacts) timeLeft() (left time.Duration, unknown string) {
	switch {
	case f.paused():
		return 0, contract.LeftUnknownPaused
	case !f.planned && f.searching:
		return 0, contract.LeftUnknownSearching
	case !f.planned, f.left > 0 && f.perNumber == 0:
		return 0, contract.LeftUnknownStarting
	case f.wait != nil && f.wait.Until.IsZero():
		return 0, f.wait.Reason
	}
	// Responses arrive as often as requests are sent.
	interval := f.pace().Interval()
	if f.requestRate > 0 {
		interval = seconds(60 / f.requestRate)
	}
	if f.left > 0 && (interval <= 0 || f.requestRate <= 0 && f.fetcherPace() == nil) {
		return 0, contract.LeftUnknownStarting
	}
	forecast := forecast.Forecast{Now: f.now, Pace: f.pace(), Requests: int(math.Ceil(float64(f.left) * f.perNumber))}
	if forecast.Pace.Latency = 0; interval > 0 {
		forecast.Rate = time.Minute.Seconds() / interval.Seconds()
	}
	if pace := f.fetcherPace(); pace != nil {
		forecast.Now, forecast.SinceRest = f.now.In(location(*pace, f.now)), pace.SinceRest
	}
	if f.wait != nil {
		forecast.NotBefore = f.wait.Until
	}
	result := forecast.Result()
	if result.Unknown != "" {
		return 0, result.Unknown
	}
	end := result.End
	if retried := f.lastRetry.Add(f.latency); f.left > 0 && retried.After(end) {
		end = retried
	}
	// Of the numbers that are left, one in 1/retryShare has a retry: the last one of them about that
	// many numbers before the end.
	if last := f.perNumber / f.retryShare; f.retryShare > 0 && last < float64(f.left-f.retries) {
		if retried := result.End.Add(f.retryDelay - time.Duration(last*float64(interval))); retried.After(end) {
			end = retried
		}
	}
	return end.Sub(f.now), ""
}

// fetcherPace returns the pace of the first fetcher that says it, else the one that was seen last; nil if
// there is none.
func (f roundFacts) fetcherPace() *contract.FetcherPace {
	for _, p := range f.fetchers {
		if p.Pace != nil {
			return p.Pace
		}
	}
	return f.paceSeen
}

// pace returns the pace for a forecast. A rest that is too short to be reported as a wait is in the
// observed rate.
func (f roundFacts) pace() forecast.Pace {
	p := f.fetcherPace()
	if p == nil {
		return forecast.Pace{Latency: f.latency}
	}
	pace := forecast.Pace{Min: p.DelayMin, Max: p.DelayMax, RestEvery: p.RestEvery, RestFor: p.RestFor,
		Quiet: forecast.Hours{From: p.QuietFrom, To: p.QuietTo}, Concurrency: p.Concurrency, Latency: f.latency}
	if f.requestRate > 0 && p.RestFor <= waitInterval {
		pace.RestEvery = 0
	}
	return pace
}

// location returns the time zone of a fetcher, or one with its present offset if it is not known here.
func location(p contract.FetcherPace, now time.Time) *time.Location {
	if zone, err := time.LoadLocation(p.Location); err == nil {
		if _, offset := now.In(zone).Zone(); offset == p.UTCOffset {
			return zone
		}
	}
	return time.FixedZone("", p.UTCOffset)
}
