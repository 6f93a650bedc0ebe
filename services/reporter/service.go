// Package reporter turns the ledger of a run into files for people: records, attempts, counts and
// the report. It is the only package that decides how a run ended, and it does so only after a
// second reader of the ledger has agreed (services/reporter/verify).
package reporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// Options configure a reporter.
type Options struct {
	// Bus gives access to the streams and buckets of streams/. Required.
	Bus *bus.Bus
	// Store is the output folder. Required.
	Store *store.Store
	// Logger receives the log events; nil discards them.
	Logger *slog.Logger
	// Version is the program's version, for reports.
	Version string
	// Now is the clock of reports and deadlines; nil is time.Now.
	Now func() time.Time
	// FinalTimeout is how long a halted run without a deadline waits for its fetchers, its
	// classifier and the end of its ledger; 0 is ten minutes.
	FinalTimeout time.Duration
	// Shared means that other reporters may use the same broker: one at a time then reports a run.
	Shared bool
	// Command returns the command that resumes the batch of this process, starting at number from
	// unless that is 0. It is nil when runs are started over NATS.
	Command func(from int) string
	// Ledger is the location of the store that the files are derived from. It appears in the error
	// of another process that wants to write the same files.
	Ledger string
	// GiveUp is how long the broker may be in trouble before Run returns an error; 0 is 30 seconds.
	GiveUp time.Duration
}

// Service reports every run that is running. Create one with New.
type Service struct {
	Options
	// stepHook is called before each step of a batch; tests stop the service there.
	stepHook func(step string) error
}

// New returns a service; it fills in defaults of the options.
func New(options Options) *Service {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.FinalTimeout == 0 {
		options.FinalTimeout = 10 * time.Minute
	}
	if options.GiveUp == 0 {
		options.GiveUp = 30 * time.Second
	}
	return &Service{Options: options, stepHook: func(string) error { return nil }}
}

// workerResult is how the work on a run ended.
type workerResult struct {
	run contract.RunID
	err error
}

// Run reports every running run, each in its own goroutine, until the context ends. It then returns
// nil, and the next Run continues each run from its checkpoint. A run with a ledger mismatch
// (ledger.ErrMismatch) or an unreadable key ends with the status error; the others continue. Run
// returns early with an error that matches store.ErrNotWritable, which the run's state reports too,
// or bus.ErrStore when the broker was in trouble for longer than GiveUp.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	states := watchKeys(ctx, s.Bus, contract.BucketRuns, "*.state")
	defer states.end()
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	return ignoreCanceled(ctx, s.dispatch(ctx, states, &workers))
}

// keyWatch delivers changes of keys of a bucket over a channel, so that a select can wait
// for them too.
type keyWatch struct {
	entries chan jetstream.KeyValueEntry
	// ended receives the error that ended the watch.
	ended chan error
	stop  context.CancelFunc
}

// watchKeys starts a watch. The caller must call end.
func watchKeys(ctx context.Context, b *bus.Bus, bucket string, filters ...string) keyWatch {
	ctx, stop := context.WithCancel(ctx)
	w := keyWatch{entries: make(chan jetstream.KeyValueEntry), ended: make(chan error, 1), stop: stop}
	go func() {
		defer close(w.ended)
		keys := bus.Keys{Bucket: bucket, Filters: filters}
		w.ended <- b.Watch(ctx, keys, func(entry jetstream.KeyValueEntry) error {
			if entry == nil { // the end of the initial values
				return nil
			}
			select {
			case w.entries <- entry:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	return w
}

// end stops the watch and waits until it has stopped.
func (w keyWatch) end() {
	w.stop()
	for range w.ended {
	}
}

// dispatch runs one worker for each running run. It reads no state itself: an error of the broker
// would end the work on all runs.
func (s *Service) dispatch(ctx context.Context, states keyWatch, workers *sync.WaitGroup) error {
	// startedAgain holds the runs that have a worker, and whether they were started again since.
	startedAgain := map[contract.RunID]bool{}
	ended := make(chan workerResult)
	start := func(run contract.RunID) {
		startedAgain[run] = false
		workers.Go(func() {
			err := s.reportRun(ctx, run)
			select {
			case ended <- workerResult{run, err}:
			case <-ctx.Done():
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-states.ended:
			return fmt.Errorf("watching the runs: %w", err)
		case entry := <-states.entries:
			run, running, err := s.readRunning(ctx, entry)
			if err != nil {
				return err
			}
			if _, active := startedAgain[run]; active {
				startedAgain[run] = running
			} else if running {
				start(run)
			}
		case end := <-ended:
			again := startedAgain[end.run]
			delete(startedAgain, end.run)
			if end.err != nil {
				return end.err
			}
			if again {
				start(end.run)
			}
		}
	}
}

// readRunning decodes a state and reports whether its run is running. A run whose state cannot be
// decoded is ended with the status error.
func (s *Service) readRunning(ctx context.Context, entry jetstream.KeyValueEntry) (contract.RunID, bool, error) {
	run, err := contract.ParseRunID(strings.TrimSuffix(entry.Key(), ".state"))
	if err == nil && entry.Operation() != jetstream.KeyValuePut { // deleted
		return run, false, nil
	}
	if err != nil {
		s.Logger.Error("reporter.state.unreadable", "key", entry.Key(), "error", err)
		return "", false, nil
	}
	state, err := runs.Decode[contract.State](entry.Key(), entry.Value())
	if err != nil {
		return run, false, s.endUnreadable(ctx, run, err)
	}
	return run, state.Status == contract.Running, nil
}

// endUnreadable ends a run that cannot be reported because one of its keys cannot be read. It
// writes no file.
func (s *Service) endUnreadable(ctx context.Context, run contract.RunID, reason error) error {
	kv, err := s.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return err
	}
	key := run.StateKey()
	written, err := runs.Update(ctx, kv, key, func(state contract.State, err error) (contract.State, bool, error) {
		switch {
		case err == nil && state.Status != contract.Running:
			return state, false, nil // another reporter has ended it
		case err != nil && !errors.Is(err, runs.ErrUnreadable):
			return state, false, err
		}
		state.Status, state.Reason, state.At = contract.Errored, reason.Error(), s.Now().UTC()
		return state, true, nil
	})
	if err != nil {
		return fmt.Errorf("ending %s: %w", run, err)
	}
	if written {
		s.Logger.Error("batch.run.end", "run_id", run, "outcome", contract.Errored, "reason", reason.Error())
	}
	return nil
}

func (s *Service) stillRunning(ctx context.Context, run contract.RunID) (bool, error) {
	kv, err := s.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return false, err
	}
	entry, err := kv.Get(ctx, run.StateKey())
	if err != nil {
		return false, fmt.Errorf("reading the state of %s: %w", run, err)
	}
	_, running, err := s.readRunning(ctx, entry)
	return running, err
}

// reportRun reports one run until it ends. After trouble with the broker, or when another reporter
// has taken over, it starts again from the stored checkpoint.
func (s *Service) reportRun(ctx context.Context, run contract.RunID) error {
	maxAge, err := streams.BucketMaxAge(contract.BucketFetchers)
	if err != nil {
		return err
	}
	term := lease.Term(maxAge)
	var since time.Time
	timer, restored := stopwatch{now: s.Now}, false
	for failures := 0; ; {
		w := &worker{Service: s, stopwatch: &timer, fetcherRenewals: lease.NewRenewals(term), restored: &restored,
			presenceTerm: maxAge}
		err := s.withLease(ctx, run, term,
			func() (bool, error) { return s.stillRunning(ctx, run) },
			func(ctx context.Context, held *runLease) error {
				w.lease = held
				return w.run(ctx, run)
			})
		if err == nil || ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, runs.ErrUnreadable):
			return s.endUnreadable(ctx, run, err)
		case errors.Is(err, ledger.ErrMismatch): // affects this run only
			s.Logger.Error("reporter.run.mismatch", "run_id", run, "error", err)
			return w.fail(ctx, err)
		case errors.Is(err, store.ErrClaimed): // affects this run only
			s.Logger.Error("reporter.run.claimed", "run_id", run, "error", err)
			return w.fail(ctx, err)
		case errors.Is(err, store.ErrNotWritable):
			return errors.Join(err, w.fail(ctx, err))
		}
		if w.saved || errors.Is(err, errFenced) || errors.Is(err, errLeaseLost) {
			failures = 0
		}
		if failures++; failures == 1 {
			since = time.Now()
		}
		s.Logger.Warn("reporter.run.reload", "run_id", run, "failures", failures, "error", err)
		if failures >= 3 && time.Since(since) > s.GiveUp {
			return fmt.Errorf("%w: reporting run %s: %w", bus.ErrStore, run, err)
		}
		_ = delay.Sleep(ctx, min(2*time.Second, time.Duration(failures)*200*time.Millisecond))
	}
}

// ignoreCanceled returns nil for an error after the context has ended, except for
// store.ErrNotWritable.
func ignoreCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, store.ErrNotWritable) {
		return nil
	}
	return err
}

var (
	// ErrRunning means that a run is still running, so that only its reporter may write its files.
	ErrRunning = errors.New("run is still running")
	// errFenced means that another reporter has written the checkpoint, so that this worker's tally
	// is out of date.
	errFenced = errors.New("checkpoint written by another reporter")
)

// StateError returns the error that ended a run with the status error, rebuilt from its reason: it
// matches ledger.ErrMismatch, store.ErrNotWritable or runs.ErrUnreadable where the reporter's error
// did. It returns nil for any other status.
func StateError(state contract.State) error {
	if state.Status != contract.Errored {
		return nil
	}
	for _, sentinel := range []error{ledger.ErrMismatch, store.ErrNotWritable, runs.ErrUnreadable} {
		if _, rest, found := strings.Cut(state.Reason, sentinel.Error()+": "); found {
			return fmt.Errorf("%w: %s", sentinel, rest)
		}
	}
	return errors.New(state.Reason)
}

// stopwatch adds up how long a run was worked on, by the monotonic clock of each process that
// reported it.
type stopwatch struct {
	now       func() time.Time
	earlier   time.Duration
	startedAt time.Time
}

// resume continues from the stored seconds, unless this process has measured more.
func (s *stopwatch) resume(stored float64) {
	if before := seconds(stored); s.startedAt.IsZero() || before > s.elapsed() {
		s.earlier, s.startedAt = before, s.now()
	}
}

// elapsed is how long the run has been worked on.
func (s *stopwatch) elapsed() time.Duration {
	if s.startedAt.IsZero() {
		return s.earlier
	}
	return s.earlier + s.now().Sub(s.startedAt)
}

// seconds converts n seconds to the nearest nanosecond. For durations of up to 50 days it is the
// inverse of Duration.Seconds.
func seconds(n float64) time.Duration { return time.Duration(math.Round(n * float64(time.Second))) }
