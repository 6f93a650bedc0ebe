package fetcher

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Site asks a court for one case.
type Site interface {
	// Fetch makes the requests of one attempt and calls before ahead of each of them: before waits for the pace, says
	// how long ago the last request started, and its error ends Fetch. Trouble with the site is an exchange with an
	// error; the error of Fetch is that of before or of ctx.
	Fetch(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)
	// FetchProofFirst is Fetch for a case that probably does not exist.
	FetchProofFirst(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)
	// Blocked says whether the exchanges show that the site told us to go away, and for how long if it said so.
	Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool)
	// RetryAfter is for how long an answer asks to be left alone; 0 when it does not.
	RetryAfter(exchange contract.Exchange, now time.Time) time.Duration
}

// Robots reads what a site's robots.txt says; see site.Client.Robots.
type Robots func(ctx context.Context, before func(context.Context) (time.Duration, error)) (site.RobotsRules, error)

// Options of a fetcher.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// ID names this fetcher among those of a run; it is safe as a part of a key. Process is a name that no process had before: by
	// it a fetcher knows what one of the same ID has left behind that died.
	ID, Process string
	Site        Site
	SiteName    string
	// Origin is where Site is asked: a run that was planned for another court is ended. Empty takes every run.
	Origin string
	// Robots is asked before the first case; nil leaves robots.txt alone.
	Robots Robots
	Pace   Pace
	// Settings are those that the fetcher's requests depend on, secrets masked; the reports of its runs show them.
	Settings map[string]any
	// Concurrency is how many cases may be in flight.
	Concurrency int
	// Shared says that other processes may ask the same site over this broker: pace and concurrency are then theirs too.
	Shared bool
	// Backoff is how much longer everybody waits while the site is in trouble.
	Backoff Backoff
	// Grace is how long what is in flight may still take when Run is to end; 0 gives it up at once.
	Grace time.Duration
	// Cooldown is how long a block without a word from the site lasts.
	Cooldown time.Duration
	// Unblock takes back a block of the site before the first request.
	Unblock bool
	// Read reads the exchanges of a canary; it depends on its arguments alone.
	Read func(id contract.CaseID, exchanges []contract.Exchange) contract.Classification
}

// Service asks for the jobs of all runs.
type Service struct {
	Options
	runs, sites, fetchers, held jetstream.KeyValue
	// collected is what all runs have, crowd the shifts that work side by side.
	collected jetstream.KeyValue
	overlap   overlap
	pacer     *Pacer
	robots    *robots
	siteState *siteState
	// inFlightLimit are for cases that are asked for, or whose answers wait to be stored; alone is for one that processes have died of.
	inFlightLimit *inFlightLimit
	isolated      chan struct{}
	// pools are the turn and the slots; none when this process is alone.
	pools        []*messagePool
	answerWrites *bus.GroupCommit[pendingAnswer]
	// inFlight counts the cases that are asked for.
	inFlight atomic.Int64
}

// New opens the buckets and streams that the fetcher works with.
func New(ctx context.Context, opts Options) (*Service, error) {
	s := &Service{
		Options: opts, pacer: NewPacer(opts.Pace), inFlightLimit: newInFlightLimit(opts.Concurrency), isolated: make(chan struct{}, 1),
	}
	s.overlap.workers, s.overlap.claimed = make(map[*runWorker]bool), make(map[contract.CaseID]bool)
	s.answerWrites = bus.NewGroupCommit(maxPackBytes, pendingAnswer.size, s.publishAnswers)
	for name, kv := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &s.runs, contract.BucketSites: &s.sites, contract.BucketFetchers: &s.fetchers, contract.BucketCollected: &s.collected,
		contract.BucketHeld: &s.held,
	} {
		opened, err := opts.Bus.KV(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("making the fetcher: %w", err)
		}
		*kv = opened
	}
	s.robots = newRobots(opts.Robots, s.pacer)
	s.siteState = newSiteState(s.sites, opts.SiteName, opts.Backoff, opts.Cooldown, opts.Log)
	if opts.Shared {
		if err := s.createSharedPools(ctx); err != nil {
			return nil, fmt.Errorf("making the fetcher: %w", err)
		}
	}
	return s, nil
}

// Run works until ctx ends, which is no error. What is in flight then has Grace to land; the rest is handed back.
func (s *Service) Run(ctx context.Context) error {
	if s.Unblock {
		if err := s.siteState.clearBlock(ctx); err != nil {
			return fmt.Errorf("running the fetcher: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while the last cases land
	group.Go(func() error { return s.siteState.watch(watchCtx, s.Bus, func() { close(ready) }) })
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
		maintainCtx, stopMaintaining := context.WithCancel(watchCtx)
		var maintainers sync.WaitGroup
		for _, p := range s.pools {
			maintainers.Go(func() { p.maintain(maintainCtx) })
		}
		defer maintainers.Wait()
		defer stopMaintaining()
		return runs.Follow(ctx, s.Bus, func(startCtx context.Context, m contract.Manifest) error {
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

// haltForeignRun ends a run that was planned for another court than this fetcher asks.
func (s *Service) haltForeignRun(ctx context.Context, m contract.Manifest) error {
	reason := fmt.Sprintf("the run was planned for %.100q, and base_url of fetcher %s is %q", m.Origin, s.ID, s.Origin)
	s.Log.Error("fetcher.run.elsewhere", "run_id", m.RunID, "reason", reason)
	return runs.Halt(ctx, s.runs, m.RunID, contract.Halt{Status: contract.Errored, Reason: reason, At: time.Now().UTC()})
}

// recordBlock keeps that the site told us to go away, and halts the run. Nobody asks the site any more.
func (s *Service) recordBlock(ctx context.Context, m contract.Manifest, id contract.CaseID, rule string, wait time.Duration) error {
	now := time.Now().UTC()
	if wait <= 0 {
		wait = s.Cooldown
	}
	block := contract.SiteBlock{CaseID: id, RunID: m.RunID, Rule: rule, At: now, Until: now.Add(wait)}
	if err := s.siteState.setBlock(ctx, block); err != nil {
		return err
	}
	s.Log.Error("site.blocked", "run_id", m.RunID, "case_id", id.String(), "rule", rule, "until", block.Until)
	return s.haltBlocked(ctx, m, block)
}

func (s *Service) haltBlocked(ctx context.Context, m contract.Manifest, block contract.SiteBlock) error {
	return runs.Halt(ctx, s.runs, m.RunID, blockHalt(block))
}

// blockHalt is the halt of a run because of a block.
func blockHalt(block contract.SiteBlock) contract.Halt {
	return contract.Halt{
		Status: contract.Blocked, At: time.Now().UTC(),
		Reason: fmt.Sprintf("blocked by the site at %s (%s), until %s", block.CaseID, block.Rule, block.Until.UTC().Format(time.RFC3339)),
	}
}

// State is what a fetcher is doing just now, as people look at it.
type State struct {
	Site string `json:"site"`
	// InFlight are the cases that this fetcher asks for, Concurrency how many that may be over all fetchers.
	InFlight    int `json:"in_flight"`
	Concurrency int `json:"concurrency"`
	// PauseMinSeconds and PauseMaxSeconds bound the pause between two requests as it was promised.
	PauseMinSeconds float64 `json:"pause_min_seconds"`
	PauseMaxSeconds float64 `json:"pause_max_seconds"`
	// HoldSeconds is for how much longer nobody asks because the site is in trouble; 0 when it is not.
	HoldSeconds float64 `json:"hold_seconds"`
	// Wait is why nothing is asked just now beyond the promised pause; nil when nothing is held for long.
	Wait *contract.Wait `json:"wait"`
	// Block is the block in force, nil when there is none; Slowdown is how far trouble slows everybody down.
	Block    *contract.SiteBlock   `json:"block"`
	Slowdown contract.SiteSlowdown `json:"slowdown"`
}

// State is the state of this fetcher now.
func (s *Service) State() State {
	block, _ := s.siteState.activeBlock(time.Now())
	s.siteState.mu.Lock()
	slowdown := s.siteState.slowdown
	s.siteState.mu.Unlock()
	return State{
		Site: s.SiteName, InFlight: int(s.inFlight.Load()), Concurrency: s.Concurrency,
		PauseMinSeconds: s.Pace.Min.Seconds(), PauseMaxSeconds: s.Pace.Max.Seconds(), HoldSeconds: max(0, time.Until(slowdown.Until).Seconds()),
		Wait: s.currentWait(), Block: block, Slowdown: slowdown,
	}
}

// currentWait is why nothing is asked just now; nil while requests are made.
func (s *Service) currentWait() *contract.Wait {
	current := s.pacer.CurrentWait()
	if current != nil {
		return current
	}
	s.overlap.mu.Lock()
	defer s.overlap.mu.Unlock()
	for w := range s.overlap.workers {
		connectWait := w.reachability.currentWait()
		if connectWait == nil { // requests are made for this run
			return nil
		}
		current = &connectWait.Wait
	}
	return current
}
