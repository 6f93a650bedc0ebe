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

// house is what the services work with.
type house struct {
	settings *config.Settings
	broker   *broker
	court    *court
	output   *store.Store
	log      *slog.Logger
	// fetcher names this process among the fetchers of a run.
	fetcher string
	// process is a name that no process had before.
	process string
	wanted  order
	// begun is the run of this process's batch.
	begun begun
	// grace is how long cases in flight may still take when the fetcher is to end.
	grace time.Duration
	// front is what this process shows of itself, known are its services at the NATS services API.
	front *front
	known []micro.Service
	// stopFetching ends the fetcher alone, whatever the run was halted by.
	stopFetching context.CancelFunc
}

// roles are the services by their names.
func (h *house) roles() map[string]func(context.Context) (work, error) {
	return map[string]func(context.Context) (work, error){
		"prober": func(ctx context.Context) (work, error) {
			s, err := prober.NewService(ctx, prober.Options{Bus: h.broker.Bus, Log: h.log, Parties: h.settings.Parties})
			return s, err
		},
		"generator":  func(ctx context.Context) (work, error) { return generator.New(ctx, h.generator()) },
		"fetcher":    func(ctx context.Context) (work, error) { return fetcher.New(ctx, h.fetching()) },
		"classifier": func(context.Context) (work, error) { return classifier.New(h.classifying()), nil },
		"reporter":   func(context.Context) (work, error) { return reporter.New(h.reporter()), nil },
	}
}

// work is what every service does until its context ends.
type work interface{ Run(context.Context) error }

// open makes the services of those names and sets them to work, each in its own goroutine, in group.
func (h *house) open(ctx context.Context, group *errgroup.Group, names []string) error {
	asking, stop := context.WithCancel(ctx)
	h.stopFetching = stop
	roles := h.roles()
	var all []func() error
	if err := h.checkMaxBody(names); err != nil {
		stop()
		return err
	}
	for _, name := range names {
		service, err := roles[name](ctx)
		if err == nil {
			err = h.register(name, service)
		}
		if err != nil {
			stop()
			h.deregister()
			return fmt.Errorf("%w: %w", errBroker, err)
		}
		within := ctx
		if name == "fetcher" {
			within = asking
		}
		all = append(all, func() error { return unasked(within, name, service.Run(within)) })
	}
	for _, run := range all {
		group.Go(run)
	}
	h.front.work(h.broker, names)
	group.Go(func() error { return h.broker.unbroken(ctx) })
	group.Go(func() error {
		looking(ctx, h.log, "runs", func(ctx context.Context) error { return h.front.board.follow(ctx, h.broker) })
		return nil
	})
	group.Go(func() error {
		looking(ctx, h.log, "events", func(ctx context.Context) error { return h.front.figures.runs.follow(ctx, h.broker) })
		return nil
	})
	group.Go(func() error {
		delay.ClockSteps(ctx, func(by time.Duration) { h.log.Warn("clock.stepped", "seconds", by.Seconds()) })
		return nil
	})
	group.Go(func() error {
		defer stop()
		<-ctx.Done()
		h.deregister()
		return nil
	})
	return nil
}

// answerRoom is what an answer takes in its message beside one body, in bytes, with room.
const answerRoom = 64 << 10

// checkMaxBody refuses a max_body of which the broker could not store one answer.
func (h *house) checkMaxBody(names []string) error {
	most := h.broker.MaxMessageSize() - answerRoom
	if !slices.Contains(names, "fetcher") || int64(h.settings.MaxBody) <= most {
		return nil
	}
	return fmt.Errorf("%w: max_body %s: this broker stores messages of %d bytes: allowed is at most %d", errUsage, h.settings.MaxBody, h.broker.MaxMessageSize(), most)
}

// unasked is the error of a service that has ended, which is one too when nobody wanted it to: without it the process would live on
// and do nothing.
func unasked(ctx context.Context, name string, err error) error {
	if err == nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the %s ended although nobody asked it to", errBroker, name)
	}
	return err
}

func (h *house) classifying() classifier.Options {
	c := h.settings.Config
	return classifier.Options{
		Bus: h.broker.Bus, Log: h.log, Read: h.court.Profile.Read, Workers: runtime.GOMAXPROCS(0),
		Backoff: classifier.Backoff{Base: c.BackoffBase.Std(), Factor: c.BackoffFactor, Max: c.BackoffMax.Std()},
	}
}

func (h *house) generator() generator.Options {
	return generator.Options{
		Bus: h.broker.Bus, Log: h.log, Defaults: batchOf(h.settings.Config), BoundMaxAge: h.settings.BoundMaxAge.Std(), Site: h.court.Profile.Name,
		Origin: h.court.Origin,
		Config: h.settings.Effective(), Program: version(),
	}
}

func (h *house) fetching() fetcher.Options {
	c := h.settings.Config
	options := fetcher.Options{
		Bus: h.broker.Bus, Log: h.log, ID: h.fetcher, Process: h.process, Site: h.court, SiteName: h.court.Profile.Name, Origin: h.court.Origin,
		Pace:        fetcher.Pace{Min: c.DelayMin.Std(), Max: c.DelayMax.Std(), RestEvery: c.RestEvery, RestFor: c.RestFor.Std(), Quiet: fetcher.Hours(c.QuietHours)},
		Settings:    h.settings.Some("delay_min", "delay_max", "rest_every", "rest_for", "quiet_hours", "concurrency", "request_timeout", "job_timeout", "blocked_cooldown", "robots", "user_agent", "max_body", "parties"),
		Concurrency: c.Concurrency, Cooldown: c.BlockedCooldown.Std(), Unblock: h.wanted.unblock, Shared: h.broker.shared, Grace: h.grace,
		// The first step is the court's to feel, not a retry's: however long those wait, a pause of two seconds more is enough to begin with.
		Backoff: fetcher.Backoff{Base: min(c.BackoffBase.Std(), 2*time.Second), Factor: c.BackoffFactor, Max: c.BackoffMax.Std()},
		Read:    h.court.Profile.Read,
	}
	// The court inside this process has nobody who could mind.
	if c.Robots && h.court.simulator == nil {
		options.Robots = h.court.Robots
	}
	return options
}

func (h *house) reporter() reporter.Options {
	options := reporter.Options{Bus: h.broker.Bus, Store: h.output, Logger: h.log, Version: version(), Shared: h.broker.shared, Ledger: whereStore(h.settings)}
	if !h.broker.shared {
		options.Command = h.wanted.command
	}
	if h.broker.patient {
		options.GiveUp = math.MaxInt64
	}
	return options
}

// whereStore names the store of the settings.
func whereStore(settings *config.Settings) string {
	if settings.NATSURL != "" {
		return fmt.Sprintf("nats_url %s", settings.Some("nats_url")["nats_url"])
	}
	dir, err := filepath.Abs(settings.DataDir)
	if err != nil {
		dir = settings.DataDir
	}
	return "data_dir " + dir
}

// batchOf is the batch that the settings describe.
func batchOf(c config.Config) generator.Batch {
	return generator.Batch{
		Prefix: c.Prefix, Year: c.Year, Start: c.Start, MaxCases: c.MaxCases, End: c.End, Probe: c.Probe, ProbeBudget: c.ProbeBudget,
		MaxRetries: c.MaxRetries, SafeStopNoRecords: c.SafeStopNoRecords, SafeStopFails: c.SafeStopFails,
		Recheck: c.Recheck, Force: c.Force, PersistRawHTML: c.PersistRawHTML,
	}
}
