// Package fetcher turns jobs into answers: it pulls the jobs of all runs, fetches their cases from
// the site when its subpackage limit permits it, and stores what the site answered.
package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/lease"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher/limit"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Site fetches cases from a court's site.
type Site interface {
	// Fetch sends the requests of one attempt and calls before ahead of each. before waits for the
	// pace and returns the time since the previous request started; its error ends Fetch. Trouble
	// with the site is an exchange with an error; the error of Fetch is that of before or of ctx.
	Fetch(
		ctx context.Context, id contract.CaseID, before site.BeforeRequest,
	) ([]contract.Exchange, error)
	// FetchProofFirst is Fetch for a case that probably does not exist.
	FetchProofFirst(
		ctx context.Context, id contract.CaseID, before site.BeforeRequest,
	) ([]contract.Exchange, error)
	// Blocked reports whether the exchanges show a block, by which rule, and its Retry-After, if
	// any.
	Blocked(
		id contract.CaseID, exchanges []contract.Exchange, now time.Time,
	) (rule string, wait time.Duration, blocked bool)
	// RetryAfter returns how long the response asks clients to wait; 0 if it does not.
	RetryAfter(exchange contract.Exchange, now time.Time) time.Duration
	// Release removes the bodies from exchanges. Nothing uses them any more: later responses may
	// overwrite them.
	Release(exchanges []contract.Exchange)
}

// Robots fetches a site's robots.txt; see site.Client.Robots.
type Robots func(ctx context.Context, before site.BeforeRequest) (site.RobotsRules, error)

// Options are the settings and the dependencies of a fetcher.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// ID names this fetcher among those of a run; it is safe as a part of a key. Process is unique
	// to this process: by it a fetcher recognizes what an earlier process of the same ID has left
	// behind.
	ID, Process string
	Site        Site
	SiteName    string
	// Origin is the origin of Site: a run that was planned for another site is halted. Empty
	// accepts every run.
	Origin string
	// Robots is called before the first case; nil ignores robots.txt.
	Robots Robots
	Pace   limit.Pace
	// Settings are the settings that affect the fetcher's requests, with secrets masked. The
	// reports of its runs show them.
	Settings map[string]any
	// Concurrency is how many cases may be in flight.
	Concurrency int
	// Shared says that other processes may fetch from the same site over this broker: pace and
	// concurrency then apply to all of them together.
	Shared bool
	// Backoff slows requests down while the site is in trouble.
	Backoff limit.Backoff
	// Grace is how long jobs in flight may still take when Run is to end; 0 abandons them at once.
	Grace time.Duration
	// Cooldown is how long a block lasts if the site does not say.
	Cooldown time.Duration
	// Unblock clears a block of the site before the first request.
	Unblock bool
	// Read reads the exchanges of a canary. It depends on its arguments alone.
	Read func(id contract.CaseID, exchanges []contract.Exchange) contract.Classification
}

// Service fetches the jobs of all runs.
type Service struct {
	Options
	runs, fetchers, held jetstream.KeyValue
	// collected are the collected numbers of all runs. overlap tracks the runs of this fetcher.
	collected jetstream.KeyValue
	overlap   overlap
	// limiter permits requests, and bounds the cases that are fetched, or whose answers wait to be
	// stored.
	limiter *limit.Limiter
	robots  *robots
	// isolated is held by the one job on which processes have died.
	isolated chan struct{}
	// jobTerm is how long a job is leased, presenceTerm how long the presence is stored.
	jobTerm, presenceTerm lease.Term
	answerWrites          *bus.GroupCommit[pendingAnswer]
	answerEncoder         ledger.Encoder
	// inFlight counts the cases in flight.
	inFlight atomic.Int64
	// paused are the paused runs.
	paused atomic.Pointer[map[contract.RunID]bool]
}

// New opens the buckets and streams that the fetcher uses.
func New(ctx context.Context, opts Options) (*Service, error) {
	s := &Service{Options: opts, isolated: make(chan struct{}, 1)}
	s.paused.Store(&map[contract.RunID]bool{})
	s.overlap.workers, s.overlap.claimed = make(map[*runWorker]bool), make(map[contract.CaseID]bool)
	s.answerWrites = bus.NewGroupCommit(maxPackBytes, pendingAnswer.size, s.publishAnswers)
	for name, kv := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &s.runs, contract.BucketFetchers: &s.fetchers,
		contract.BucketCollected: &s.collected,
		contract.BucketHeld:      &s.held,
	} {
		opened, err := opts.Bus.KV(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("creating the fetcher: %w", err)
		}
		*kv = opened
	}
	limiter, err := limit.New(ctx, limit.Options{
		Bus: opts.Bus, Log: opts.Log, Fetcher: opts.ID, Site: opts.SiteName, Pace: opts.Pace, Shared: opts.Shared,
		Concurrency: opts.Concurrency, Backoff: opts.Backoff, Cooldown: opts.Cooldown,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the fetcher: %w", err)
	}
	s.limiter, s.robots = limiter, newRobots(opts.Robots, limiter.SetCrawlDelay)
	s.answerWrites.Expect(func() int { return s.expected(int(s.inFlight.Load())) })
	jobs, err := streams.JobsConsumer("")
	if err != nil {
		return nil, fmt.Errorf("creating the fetcher: %w", err)
	}
	maxAge, err := streams.BucketMaxAge(contract.BucketFetchers)
	if err != nil {
		return nil, fmt.Errorf("creating the fetcher: %w", err)
	}
	s.jobTerm, s.presenceTerm = lease.Term(jobs.AckWait), lease.Term(maxAge)
	return s, nil
}

// expected returns how many of these cases a group commit waits for: none while there is a pause
// between requests, because the cases then come one by one.
func (s *Service) expected(cases int) int {
	if pace, _ := s.limiter.Settings(); pace.Max > 0 {
		return 0
	}
	return cases
}

// Run works until ctx ends, which is no error. Jobs in flight then have Grace to end; the others
// are returned.
func (s *Service) Run(ctx context.Context) error {
	if s.Unblock {
		if err := s.limiter.ClearBlock(ctx); err != nil {
			return fmt.Errorf("running the fetcher: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while the last jobs end
	group.Go(func() error { return s.limiter.Run(watchCtx, func() { close(ready) }) })
	group.Go(func() error {
		defer stop()
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		endCanaries, err := s.serveCanaries(ctx)
		if err != nil {
			return err
		}
		defer endCanaries()
		return runs.FollowSteered(ctx, s.Bus, s.steer, func(startCtx context.Context, m contract.Manifest) error {
			if m.Origin != "" && s.Origin != "" && site.NameOf(m.Origin) != site.NameOf(s.Origin) {
				return s.haltForeignRun(ctx, m)
			}
			return s.workOnRun(ctx, startCtx, m)
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the fetcher: %w", err)
	}
	return nil
}

// steer follows the controls of the running runs.
func (s *Service) steer(controls map[contract.RunID]contract.Control) {
	before, paused := *s.paused.Load(), make(map[contract.RunID]bool)
	for run, control := range controls {
		switch {
		case control.Paused:
			paused[run] = true
			if !before[run] {
				s.Log.Info("batch.run.wait", "run_id", run, "reason", contract.WaitPaused)
			}
		case before[run]:
			s.Log.Info("batch.run.resumed", "run_id", run)
		}
	}
	s.paused.Store(&paused)
	s.limiter.Tune(tuned(s.Pace, s.Concurrency, controls))
}

// tuned returns pace and concurrency as the controls of the running runs change them. The slowest of
// the runs that are not paused decides: the limiter is that of all runs.
func tuned(
	pace limit.Pace, concurrency int, controls map[contract.RunID]contract.Control,
) (limit.Pace, int) {
	result, most, known := pace, concurrency, false
	for _, control := range controls {
		if control.Paused {
			continue
		}
		one, cases := pace, concurrency
		if control.DelayMin != nil {
			one.Min = *control.DelayMin
		}
		if control.DelayMax != nil {
			one.Max = *control.DelayMax
		}
		if control.Concurrency != nil {
			cases = *control.Concurrency
		}
		one.Max = max(one.Max, one.Min) // of fetchers with other settings than the generator knows
		if known {
			one.Min, one.Max, cases = max(one.Min, result.Min), max(one.Max, result.Max), min(cases, most)
		}
		result, most, known = one, cases, true
	}
	return result, most
}

// haltForeignRun halts a run that was planned for another site than the one this fetcher uses.
func (s *Service) haltForeignRun(ctx context.Context, m contract.Manifest) error {
	reason := fmt.Sprintf("the run was planned for %.100q, and base_url of fetcher %s is %q", m.Origin, s.ID, s.Origin)
	s.Log.Error("fetcher.run.elsewhere", "run_id", m.RunID, "reason", reason)
	return runs.Halt(ctx, s.runs, m.RunID,
		contract.Halt{Status: contract.Errored, Reason: reason, At: time.Now().UTC()})
}

// State is what a fetcher is doing now; operators read it.
type State struct {
	Site string `json:"site"`
	// InFlight is the number of cases that this fetcher has in flight; Concurrency is the limit
	// over all fetchers of the site.
	InFlight    int `json:"in_flight"`
	Concurrency int `json:"concurrency"`
	// PauseMinSeconds and PauseMaxSeconds bound the configured pause between two requests.
	PauseMinSeconds float64 `json:"pause_min_seconds"`
	PauseMaxSeconds float64 `json:"pause_max_seconds"`
	// HoldSeconds is for how much longer no request is sent because the site is in trouble; 0 if it
	// is not.
	HoldSeconds float64 `json:"hold_seconds"`
	// Wait is why no request is sent now beyond the configured pause; nil if none is held for long.
	Wait *contract.Wait `json:"wait"`
	// Block is the block in force, nil if there is none. Slowdown is how far trouble slows requests
	// down.
	Block    *contract.SiteBlock   `json:"block"`
	Slowdown contract.SiteSlowdown `json:"slowdown"`
}

// State returns the state of this fetcher now.
func (s *Service) State() State {
	block, _ := s.limiter.Block()
	slowdown := s.limiter.Slowdown()
	pace, concurrency := s.limiter.Settings()
	return State{
		Site: s.SiteName, InFlight: int(s.inFlight.Load()), Concurrency: concurrency,
		PauseMinSeconds: pace.Min.Seconds(), PauseMaxSeconds: pace.Max.Seconds(), HoldSeconds: max(0,
			time.Until(slowdown.Until).Seconds()),
		Wait: s.currentWait(), Block: block, Slowdown: slowdown,
	}
}

// currentWait returns why no request is sent now; nil while requests are sent.
func (s *Service) currentWait() *contract.Wait {
	if current := s.limiter.CurrentWait(); current != nil {
		return &current.Wait
	}
	var current *contract.Wait
	if len(*s.paused.Load()) > 0 { // another run may still send requests
		current = &contract.Wait{Reason: contract.WaitPaused}
	}
	for _, w := range s.overlap.all() {
		connectWait := w.reachability.CurrentWait()
		if connectWait == nil { // this run sends requests
			return nil
		}
		current = &connectWait.Wait
	}
	return current
}

// errNotReached is the reason of returning a job at once: no request was sent for it.
var errNotReached = errors.New("the site was not reached")

// recordConnection records what an attempt shows about the connection to the site, and reports
// whether the attempt does not count because the site was not reached so far. It ends the run if no
// fetcher of the run has reached the site and the time for tries is over. In the first exchange
// after failures it fills in for how long they held it.
func (w *runWorker) recordConnection(
	startCtx, finishCtx context.Context, id contract.CaseID, exchanges []contract.Exchange, aborted bool,
) bool {
	result := w.reachability.Record(id.Number, exchanges, aborted)
	switch {
	case result.IsFirstFailure:
		w.log.Warn("site.unreachable", "run_id", w.manifest.RunID, "site", w.service.SiteName, "reason", result.Cause,
			"tried_until", result.FirstFailure.Add(w.service.Backoff.Max).UTC().Round(time.Second))
	case result.Reached:
		if !result.FirstFailure.IsZero() {
			held := exchanges[0].StartedAt.Sub(result.FirstFailure).Seconds()
			exchanges[0].WaitedSeconds = max(exchanges[0].WaitedSeconds, held)
			exchanges[0].SlowedSeconds = max(exchanges[0].SlowedSeconds, held)
			w.log.Info("site.reached", "run_id", w.manifest.RunID, "site", w.service.SiteName, "after_seconds", held)
		}
		if w.service.Shared {
			w.refreshPresence(finishCtx)
		}
	}
	if result.TimeUp {
		w.endUnreachableRun(startCtx, result.Cause)
	}
	return result.Unsent
}

// endUnreachableRun ends the run with a safe stop, unless another fetcher of the run has reached
// the site.
func (w *runWorker) endUnreachableRun(startCtx context.Context, cause string) {
	ctx := context.WithoutCancel(startCtx)
	reachedByOther, err := w.reachedByOther(ctx)
	if err != nil {
		w.log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		return // the next try decides
	}
	if reachedByOther || startCtx.Err() != nil {
		return
	}
	w.halt(ctx, contract.Halt{Status: contract.SafeStop, Reason: limit.UnreachableReason(cause), At: time.Now().UTC()})
}

// reachedByOther reports whether another fetcher of the run has reached the site.
func (w *runWorker) reachedByOther(ctx context.Context) (reached bool, err error) {
	if !w.service.Shared {
		return false, nil
	}
	runID := w.manifest.RunID
	err = runs.EachFetcher(ctx, w.service.Bus, runID, func(key string, p contract.Presence) {
		reached = reached || p.Reached && key != runID.FetcherKey(w.service.ID)
	})
	return reached, err
}
