package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// Site asks a court for one case.
type Site interface {
	// Ask makes the requests of one attempt and calls before ahead of each of them: before waits for the pace, says
	// how long ago the last request started, and its error ends Ask. Trouble with the site is an exchange with an
	// error; the error of Ask is that of before or of ctx.
	Ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)
	// AskDoubtful is Ask for a case that probably does not exist.
	AskDoubtful(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)
	// Blocked says whether the exchanges show that the site told us to go away, and for how long if it said so.
	Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool)
}

// Options of a fetcher.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// ID names this fetcher among those of a run; it is safe as a part of a key.
	ID       string
	Site     Site
	SiteName string
	Pacer    *Pacer
	// Concurrency is how many cases may be in flight.
	Concurrency int
	// Cooldown is how long a block without a word from the site lasts.
	Cooldown time.Duration
	// Unblock takes back a block of the site before the first request.
	Unblock bool
	// Read reads the exchanges of a canary; it depends on its arguments alone.
	Read func(id contract.CaseID, exchanges []contract.Exchange) contract.Reading
}

// Service asks for the jobs of all runs.
type Service struct {
	Options
	runs, sites, fetchers jetstream.KeyValue
	answers, outcomes     jetstream.Stream
	// places are for cases that are asked for, saving is for answers that wait to be stored.
	places, saving chan struct{}
	// asking bounds the cases that the site is asked for, canaries among them.
	asking chan struct{}
	gather *bus.Gather[ready]
}

// New opens the buckets and streams that the fetcher works with.
func New(ctx context.Context, opts Options) (*Service, error) {
	s := &Service{Options: opts, places: make(chan struct{}, opts.Concurrency), saving: make(chan struct{}, opts.Concurrency), asking: make(chan struct{}, opts.Concurrency)}
	s.gather = bus.NewGather(packLimit, ready.size, s.commit)
	for name, kv := range map[string]*jetstream.KeyValue{
		contract.BucketRuns: &s.runs, contract.BucketSites: &s.sites, contract.BucketFetchers: &s.fetchers,
	} {
		opened, err := opts.Bus.KV(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("making the fetcher: %w", err)
		}
		*kv = opened
	}
	for name, stream := range map[string]*jetstream.Stream{
		contract.StreamAnswers: &s.answers, contract.StreamOutcomes: &s.outcomes,
	} {
		opened, err := opts.Bus.JetStream().Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("making the fetcher: opening stream %s: %w", name, err)
		}
		*stream = opened
	}
	return s, nil
}

// Run works until ctx ends, which is no error. What is in flight then is given up and handed back.
func (s *Service) Run(ctx context.Context) error {
	if s.Unblock {
		if err := s.sites.Delete(ctx, contract.BlockKey(s.SiteName)); err != nil {
			return fmt.Errorf("running the fetcher: taking back the block: %w", err)
		}
	}
	stop, err := s.canaries(ctx)
	if err != nil {
		return fmt.Errorf("running the fetcher: %w", err)
	}
	defer stop()
	err = runs.Each(ctx, s.Bus, func(begin context.Context, m contract.Manifest) error {
		return s.work(ctx, begin, m)
	})
	if err != nil {
		return fmt.Errorf("running the fetcher: %w", err)
	}
	return nil
}

// blocked is the site's block that is in force at the time now, if there is one.
func (s *Service) blocked(ctx context.Context, now time.Time) (*contract.SiteBlock, error) {
	block, err := runs.Get[contract.SiteBlock](ctx, s.sites, contract.BlockKey(s.SiteName))
	if errors.Is(err, jetstream.ErrKeyNotFound) || err == nil && !block.Until.After(now) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &block, nil
}

// block keeps that the site told us to go away, and halts the run. Nobody asks the site any more.
func (s *Service) block(ctx context.Context, m contract.Manifest, id contract.CaseID, rule string, wait time.Duration) error {
	now := time.Now().UTC()
	if wait <= 0 {
		wait = s.Cooldown
	}
	block := contract.SiteBlock{CaseID: id, RunID: m.RunID, Rule: rule, At: now, Until: now.Add(wait)}
	value, err := json.Marshal(block)
	if err != nil {
		return fmt.Errorf("keeping the block of site %s: %w", s.SiteName, err)
	}
	if _, err := s.sites.Put(ctx, contract.BlockKey(s.SiteName), value); err != nil {
		return fmt.Errorf("keeping the block of site %s: %w", s.SiteName, err)
	}
	s.Log.Error("site.blocked", "run_id", m.RunID, "case_id", id.String(), "rule", rule, "until", block.Until)
	return s.halt(ctx, m, block)
}

func (s *Service) halt(ctx context.Context, m contract.Manifest, block contract.SiteBlock) error {
	return runs.Halt(ctx, s.runs, m.RunID, contract.Halt{
		Status: contract.Blocked, At: time.Now().UTC(),
		Reason: fmt.Sprintf("blocked by the site at %s (%s), until %s", block.CaseID, block.Rule, block.Until.Format(time.RFC3339)),
	})
}
