package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/store"
	"fct-scraper/services/classifier"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/generator"
	"fct-scraper/services/prober"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"
)

// app is what the services work with.
type app struct {
	settings *config.Settings
	broker   *broker
	site     *siteClient
	output   *store.Store
	log      *slog.Logger
	// fetcherID names this process among the fetchers of a run.
	fetcherID string
	// process is a name that no process had before.
	process string
	options batchOptions
	// batchRun is the run of this process's batch.
	batchRun currentRun
	// grace is how long cases in flight may still take when the fetcher is to end.
	grace time.Duration
	// status is what this process shows of itself, known are its services at the NATS services API.
	status     *statusServer
	registered []micro.Service
	// stopFetching ends the fetcher alone, whatever the run was halted by.
	stopFetching context.CancelFunc
}

// roles are the services by their names.
func (a *app) roles() map[string]func(context.Context) (runner, error) {
	return map[string]func(context.Context) (runner, error){
		"prober": func(ctx context.Context) (runner, error) {
			s, err := prober.NewService(ctx, prober.Options{Bus: a.broker.Bus, Log: a.log, Parties: a.settings.Parties})
			return s, err
		},
		"generator":  func(ctx context.Context) (runner, error) { return generator.New(ctx, a.generatorOptions()) },
		"fetcher":    func(ctx context.Context) (runner, error) { return fetcher.New(ctx, a.fetcherOptions()) },
		"classifier": func(context.Context) (runner, error) { return classifier.New(a.classifierOptions()), nil },
		"reporter":   func(context.Context) (runner, error) { return reporter.New(a.reporterOptions()), nil },
	}
}

// runner is what every service does until its context ends.
type runner interface{ Run(context.Context) error }

// startServices makes the services of those names and sets them to work, each in its own goroutine, in group.
func (a *app) startServices(ctx context.Context, group *errgroup.Group, names []string) error {
	asking, stop := context.WithCancel(ctx)
	a.stopFetching = stop
	roles := a.roles()
	var all []func() error
	if err := a.checkMaxBody(names); err != nil {
		stop()
		return err
	}
	for _, name := range names {
		service, err := roles[name](ctx)
		if err == nil {
			err = a.register(name, service)
		}
		if err != nil {
			stop()
			a.deregister()
			return fmt.Errorf("%w: %w", errBroker, err)
		}
		within := ctx
		if name == "fetcher" {
			within = asking
		}
		all = append(all, func() error { return unexpectedExit(within, name, service.Run(within)) })
	}
	for _, run := range all {
		group.Go(run)
	}
	a.status.setWorking(a.broker, names)
	group.Go(func() error { return a.broker.awaitBroken(ctx) })
	group.Go(func() error {
		retryForever(ctx, a.log, "runs", func(ctx context.Context) error { return a.status.activeRuns.follow(ctx, a.broker) })
		return nil
	})
	group.Go(func() error {
		retryForever(ctx, a.log, "events", func(ctx context.Context) error { return a.status.metrics.runs.follow(ctx, a.broker) })
		return nil
	})
	group.Go(func() error {
		delay.ClockSteps(ctx, func(by time.Duration) { a.log.Warn("clock.stepped", "seconds", by.Seconds()) })
		return nil
	})
	group.Go(func() error {
		defer stop()
		<-ctx.Done()
		a.deregister()
		return nil
	})
	return nil
}

// answerOverhead is what an answer takes in its message beside one body, in bytes, with room.
const answerOverhead = 64 << 10

// checkMaxBody refuses a max_body of which the broker could not store one answer.
func (a *app) checkMaxBody(names []string) error {
	most := a.broker.MaxMessageSize() - answerOverhead
	if !slices.Contains(names, "fetcher") || int64(a.settings.MaxBody) <= most {
		return nil
	}
	return fmt.Errorf("%w: max_body %s: this broker stores messages of %d bytes: allowed is at most %d", errUsage, a.settings.MaxBody, a.broker.MaxMessageSize(), most)
}

// unexpectedExit is the error of a service that has ended, which is one too when nobody wanted it to: without it the process would live on
// and do nothing.
func unexpectedExit(ctx context.Context, name string, err error) error {
	if err == nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the %s ended although nobody asked it to", errBroker, name)
	}
	return err
}

func (a *app) classifierOptions() classifier.Options {
	c := a.settings.Config
	return classifier.Options{
		Bus: a.broker.Bus, Log: a.log, Read: a.site.Profile.Read, Workers: runtime.GOMAXPROCS(0),
		Backoff: classifier.Backoff{Base: c.BackoffBase.Std(), Factor: c.BackoffFactor, Max: c.BackoffMax.Std()},
	}
}

func (a *app) generatorOptions() generator.Options {
	return generator.Options{
		Bus: a.broker.Bus, Log: a.log, Defaults: batchDefaults(a.settings.Config), BoundMaxAge: a.settings.BoundMaxAge.Std(), Site: a.site.Profile.Name,
		Origin: a.site.Origin,
		Config: a.settings.Effective(), Program: version(),
	}
}

func (a *app) fetcherOptions() fetcher.Options {
	c := a.settings.Config
	options := fetcher.Options{
		Bus: a.broker.Bus, Log: a.log, ID: a.fetcherID, Process: a.process, Site: a.site, SiteName: a.site.Profile.Name, Origin: a.site.Origin,
		Pace:        fetcher.Pace{Min: c.DelayMin.Std(), Max: c.DelayMax.Std(), RestEvery: c.RestEvery, RestFor: c.RestFor.Std(), Quiet: fetcher.Hours(c.QuietHours)},
		Settings:    a.settings.Subset("delay_min", "delay_max", "rest_every", "rest_for", "quiet_hours", "concurrency", "request_timeout", "job_timeout", "blocked_cooldown", "robots", "user_agent", "max_body", "parties"),
		Concurrency: c.Concurrency, Cooldown: c.BlockedCooldown.Std(), Unblock: a.options.unblock, Shared: a.broker.shared, Grace: a.grace,
		// The first step is the court's to feel, not a retry's: however long those wait, a pause of two seconds more is enough to begin with.
		Backoff: fetcher.Backoff{Base: min(c.BackoffBase.Std(), 2*time.Second), Factor: c.BackoffFactor, Max: c.BackoffMax.Std()},
		Read:    a.site.Profile.Read,
	}
	// The court inside this process has nobody who could mind.
	if c.Robots && a.site.simulator == nil {
		options.Robots = a.site.Robots
	}
	return options
}

func (a *app) reporterOptions() reporter.Options {
	options := reporter.Options{Bus: a.broker.Bus, Store: a.output, Logger: a.log, Version: version(), Shared: a.broker.shared, Ledger: storeName(a.settings)}
	if !a.broker.shared {
		options.Command = a.options.resumeCommand
	}
	if a.broker.patient {
		options.GiveUp = math.MaxInt64
	}
	return options
}

// storeName names the store of the settings.
func storeName(settings *config.Settings) string {
	if settings.NATSURL != "" {
		return fmt.Sprintf("nats_url %s", settings.Subset("nats_url")["nats_url"])
	}
	dir, err := filepath.Abs(settings.DataDir)
	if err != nil {
		dir = settings.DataDir
	}
	return "data_dir " + dir
}

// batchDefaults is the batch that the settings describe.
func batchDefaults(c config.Config) generator.Batch {
	return generator.Batch{
		Prefix: c.Prefix, Year: c.Year, Start: c.Start, MaxCases: c.MaxCases, End: c.End, Probe: c.Probe, ProbeBudget: c.ProbeBudget,
		MaxRetries: c.MaxRetries, SafeStopNoRecords: c.SafeStopNoRecords, SafeStopFails: c.SafeStopFails,
		Recheck: c.Recheck, Force: c.Force, PersistRawHTML: c.PersistRawHTML,
	}
}
