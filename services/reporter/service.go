// Package reporter turns the ledger of a run into what people read: records, attempts, counts and the report.
// It is the only one that says how a run ended, and it says so only after a second reader has agreed.
package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go/jetstream"
)

// Options are what a reporter is built from.
type Options struct {
	// Bus reaches the streams and buckets of streams/. Required.
	Bus *bus.Bus
	// Store is the output folder. Required.
	Store *store.Store
	// Logger gets the events; nil throws them away.
	Logger *slog.Logger
	// Version is the program's, for reports.
	Version string
	// Now is the clock of reports and deadlines; nil is time.Now.
	Now func() time.Time
	// FinalTimeout is how long a halted run without a deadline waits for its fetchers, its classifier and the
	// end of its ledger; 0 is ten minutes.
	FinalTimeout time.Duration
	// Shared says that other reporters may work over the same broker: one at a time then reports a run.
	Shared bool
	// GiveUp is how long the broker may be in trouble before Run gives up; 0 is 30 seconds.
	GiveUp time.Duration
}

// Service works on every running run. Make one with New.
type Service struct {
	Options
	// between is called before each step of a batch; tests stop the service there.
	between func(step string) error
}

// New fills in what is left out of options.
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
	return &Service{Options: options, between: func(string) error { return nil }}
}

// result says how the work on a run ended.
type result struct {
	run contract.RunID
	err error
}

// Run works on running runs, each by itself, until the context ends; it then returns nil, and every run goes on
// where it was with the next Run. It ends early with an error that matches ErrLedger or store.ErrNotWritable
// (the run's state says so too), or bus.ErrStore when the broker was in trouble for longer than GiveUp.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runs, err := s.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return quiet(ctx, fmt.Errorf("opening the runs: %w", err))
	}
	states, err := runs.Watch(ctx, "*.state", jetstream.IgnoreDeletes())
	if err != nil {
		return quiet(ctx, fmt.Errorf("watching the runs: %w", err))
	}
	defer func() { _ = states.Stop() }()
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	return quiet(ctx, s.dispatch(ctx, runs, states.Updates(), &workers))
}

// dispatch keeps one worker for each running run.
func (s *Service) dispatch(ctx context.Context, runs jetstream.KeyValue, states <-chan jetstream.KeyValueEntry, workers *sync.WaitGroup) error {
	active := map[contract.RunID]bool{}
	ended := make(chan result)
	start := func(run contract.RunID) {
		if active[run] {
			return
		}
		active[run] = true
		workers.Go(func() {
			err := s.work(ctx, run)
			select {
			case ended <- result{run, err}:
			case <-ctx.Done():
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case entry, open := <-states:
			if !open {
				return errors.New("watching the runs: the watch ended")
			}
			if entry == nil { // everything that was there at the start has come
				continue
			}
			run, running := s.running(entry)
			if running {
				start(run)
			}
		case end := <-ended:
			delete(active, end.run)
			if end.err != nil {
				return end.err
			}
			// The run may have been started again before its worker was gone.
			entry, err := runs.Get(ctx, end.run.StateKey())
			if err != nil {
				return fmt.Errorf("reading the state of %s: %w", end.run, err)
			}
			if _, running := s.running(entry); running {
				start(end.run)
			}
		}
	}
}

// running reads a state; one that cannot be read is told and left alone.
func (s *Service) running(entry jetstream.KeyValueEntry) (contract.RunID, bool) {
	var state contract.State
	run, err := contract.ParseRunID(strings.TrimSuffix(entry.Key(), ".state"))
	if err == nil {
		err = json.Unmarshal(entry.Value(), &state)
	}
	if err != nil {
		s.Logger.Error("reporter.state.unreadable", "key", entry.Key(), "error", err)
		return "", false
	}
	return run, state.Status == contract.Running
}

// reportable says whether a run still has to be reported.
func (s *Service) reportable(ctx context.Context, run contract.RunID) (bool, error) {
	kv, err := s.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return false, err
	}
	entry, err := kv.Get(ctx, run.StateKey())
	if err != nil {
		return false, fmt.Errorf("reading the state of %s: %w", run, err)
	}
	_, running := s.running(entry)
	return running, nil
}

// work sees one run through to its end. After trouble with the broker, or when another reporter has taken
// over, it starts again from the stored checkpoint.
func (s *Service) work(ctx context.Context, run contract.RunID) error {
	var since time.Time
	for failures := 0; ; {
		w := &worker{Service: s}
		err := s.lead(ctx, run, func() (bool, error) { return s.reportable(ctx, run) }, func(ctx context.Context, held *lease) error {
			w.lease = held
			return w.run(ctx, run)
		})
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrLedger) || errors.Is(err, store.ErrNotWritable) {
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
		_ = delay.For(ctx, min(2*time.Second, time.Duration(failures)*200*time.Millisecond))
	}
}

// quiet hides errors that only say that the context ended.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ErrLedger) && !errors.Is(err, store.ErrNotWritable) {
		return nil
	}
	return err
}
