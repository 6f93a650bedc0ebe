package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/store"
	"fct-scraper/services/classifier"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/generator"
	"fct-scraper/services/prober"
	"fct-scraper/services/reporter"

	"golang.org/x/sync/errgroup"
)

// house is what the services work with.
type house struct {
	settings *config.Settings
	broker   *broker
	court    *court
	output   *store.Store
	log      *slog.Logger
	// fetcher names this process among the fetchers of a run.
	fetcher string
	wanted  order
	// stopFetching ends the fetcher alone, whatever the run was halted by.
	stopFetching context.CancelFunc
}

// open makes all services and sets them to work, each in its own goroutine, in group.
func (h *house) open(ctx context.Context, group *errgroup.Group) error {
	generating, err := generator.New(ctx, h.generator())
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	fetching, err := fetcher.New(ctx, h.fetching())
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	probing, err := prober.NewService(ctx, prober.Options{Bus: h.broker.Bus, Log: h.log, Parties: h.settings.Parties})
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	c := h.settings.Config
	classifying := classifier.New(classifier.Options{
		Bus: h.broker.Bus, Log: h.log, Read: h.court.Profile.Read, Workers: runtime.GOMAXPROCS(0),
		Backoff: classifier.Backoff{Base: c.BackoffBase.Std(), Factor: c.BackoffFactor, Max: c.BackoffMax.Std()},
	})
	asking, stop := context.WithCancel(ctx)
	h.stopFetching = stop
	group.Go(func() error {
		defer stop()
		return fetching.Run(asking)
	})
	for _, work := range []func(context.Context) error{generating.Run, probing.Run, classifying.Run, reporter.New(h.reporter()).Run} {
		group.Go(func() error { return work(ctx) })
	}
	return nil
}

func (h *house) generator() generator.Options {
	return generator.Options{
		Bus: h.broker.Bus, Log: h.log, Defaults: batchOf(h.settings.Config), Site: h.court.Profile.Name,
		Config: h.settings.Effective(), Program: version(),
	}
}

func (h *house) fetching() fetcher.Options {
	c := h.settings.Config
	pace := fetcher.Pace{Min: c.DelayMin.Std(), Max: c.DelayMax.Std(), RestEvery: c.RestEvery, RestFor: c.RestFor.Std()}
	return fetcher.Options{
		Bus: h.broker.Bus, Log: h.log, ID: h.fetcher, Site: h.court, SiteName: h.court.Profile.Name,
		Pacer: fetcher.NewPacer(pace), Concurrency: c.Concurrency, Cooldown: c.BlockedCooldown.Std(), Unblock: h.wanted.unblock,
		Read: h.court.Profile.Read,
	}
}

func (h *house) reporter() reporter.Options {
	return reporter.Options{Bus: h.broker.Bus, Store: h.output, Logger: h.log, Version: version()}
}

// batchOf is the batch that the settings describe.
func batchOf(c config.Config) generator.Batch {
	return generator.Batch{
		Prefix: c.Prefix, Year: c.Year, Start: c.Start, MaxCases: c.MaxCases, End: c.End, Probe: c.Probe, ProbeBudget: c.ProbeBudget,
		MaxRetries: c.MaxRetries, SafeStopNoRecords: c.SafeStopNoRecords, SafeStopFails: c.SafeStopFails,
		Recheck: c.Recheck, Force: c.Force, PersistRawHTML: c.PersistRawHTML,
	}
}
