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
	crowd     crowd
	pacer     *Pacer
	robots    *robots
	climate   *climate
	// places are for cases that are asked for, or whose answers wait to be stored; alone is for one that processes have died of.
	places *places
	alone  chan struct{}
	// pools are the turn and the slots; none when this process is alone.
	pools  []*pool
	gather *bus.GroupCommit[ready]
	// inFlight counts the cases that are asked for.
	inFlight atomic.Int64
}

// New opens the buckets and streams that the fetcher works with.
func New(ctx context.Context, opts Options) (*Service, error) {
	s := &Service{
		Options: opts, pacer: NewPacer(opts.Pace), places: newPlaces(opts.Concurrency), alone: make(chan struct{}, 1),
	}
	s.crowd.shifts, s.crowd.claimed = make(map[*shift]bool), make(map[contract.CaseID]bool)
	s.gather = bus.NewGroupCommit(packLimit, ready.size, s.commit)
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
	s.climate = newClimate(s.sites, opts.SiteName, opts.Backoff, opts.Cooldown, opts.Log)
	if opts.Shared {
		if err := s.share(ctx); err != nil {
			return nil, fmt.Errorf("making the fetcher: %w", err)
		}
	}
	return s, nil
}

// Run works until ctx ends, which is no error. What is in flight then has Grace to land; the rest is handed back.
func (s *Service) Run(ctx context.Context) error {
	if s.Unblock {
		if err := s.climate.unblock(ctx); err != nil {
			return fmt.Errorf("running the fetcher: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	watching, stop := context.WithCancel(context.WithoutCancel(ctx)) // also while the last cases land
	group.Go(func() error { return s.climate.watch(watching, s.Bus, func() { close(ready) }) })
	group.Go(func() error {
		defer stop()
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		endCanaries, err := s.canaries(ctx)
		if err != nil {
			return err
		}
		defer endCanaries()
		keeping, end := context.WithCancel(watching)
		var kept sync.WaitGroup
		for _, p := range s.pools {
			kept.Go(func() { p.keep(keeping) })
		}
		defer kept.Wait()
		defer end()
		return runs.Follow(ctx, s.Bus, func(begin context.Context, m contract.Manifest) error {
			if m.Origin != "" && s.Origin != "" && site.NameOf(m.Origin) != site.NameOf(s.Origin) {
				return s.elsewhere(ctx, m)
			}
			return s.work(ctx, begin, m)
		})
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the fetcher: %w", err)
	}
	return nil
}

// elsewhere ends a run that was planned for another court than this fetcher asks.
func (s *Service) elsewhere(ctx context.Context, m contract.Manifest) error {
	reason := fmt.Sprintf("the run was planned for %.100q, and base_url of fetcher %s is %q", m.Origin, s.ID, s.Origin)
	s.Log.Error("fetcher.run.elsewhere", "run_id", m.RunID, "reason", reason)
	return runs.Halt(ctx, s.runs, m.RunID, contract.Halt{Status: contract.Errored, Reason: reason, At: time.Now().UTC()})
}

// block keeps that the site told us to go away, and halts the run. Nobody asks the site any more.
func (s *Service) block(ctx context.Context, m contract.Manifest, id contract.CaseID, rule string, wait time.Duration) error {
	now := time.Now().UTC()
	if wait <= 0 {
		wait = s.Cooldown
	}
	block := contract.SiteBlock{CaseID: id, RunID: m.RunID, Rule: rule, At: now, Until: now.Add(wait)}
	if err := s.climate.shut(ctx, block); err != nil {
		return err
	}
	s.Log.Error("site.blocked", "run_id", m.RunID, "case_id", id.String(), "rule", rule, "until", block.Until)
	return s.halt(ctx, m, block)
}

func (s *Service) halt(ctx context.Context, m contract.Manifest, block contract.SiteBlock) error {
	return runs.Halt(ctx, s.runs, m.RunID, haltOf(block))
}

// haltOf is the halt of a run because of a block.
func haltOf(block contract.SiteBlock) contract.Halt {
	return contract.Halt{
		Status: contract.Blocked, At: time.Now().UTC(),
		Reason: fmt.Sprintf("blocked by the site at %s (%s), until %s", block.CaseID, block.Rule, block.Until.UTC().Format(time.RFC3339)),
	}
}
