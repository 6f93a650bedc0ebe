package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/store"
	"fct-scraper/services/classifier"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/fetcher/limit"
	"fct-scraper/services/generator"
	"fct-scraper/services/prober"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go/micro"
	"golang.org/x/sync/errgroup"
)

// app runs the services of this process.
type app struct {
	settings *config.Settings
	broker   *broker
	site     *siteClient
	output   *store.Store
	log      *slog.Logger
	version  string
	// fetcherID is the name of this process among the fetchers of a run.
	fetcherID string
	// process is a name that no other process has or had.
	process string
	options BatchOptions
	// batchRun is the run of this process's batch, nil before it.
	batchRun atomic.Pointer[contract.RunID]
	// grace is how long cases in flight may take after the fetcher was told to stop.
	grace time.Duration
	// status is the status server. registered are the services in the NATS services API.
	status     *statusServer
	registered []micro.Service
	// stopFetching stops only the fetcher, whatever halted the run.
	stopFetching context.CancelFunc
}

// roles returns a constructor for each service.
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

// runner is a service. Run works until its context ends.
type runner interface{ Run(context.Context) error }

// startServices creates the named services and runs each in a goroutine of group.
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
			return fmt.Errorf("%w: %w", ErrBroker, err)
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
	group.Go(func() error { return a.follow(ctx, "runs", a.status.activeRuns.follow) })
	group.Go(func() error { return a.follow(ctx, "events", a.status.metrics.runs.follow) })
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

// answerOverhead is the size in bytes of an answer's message without the body, with a margin.
const answerOverhead = 64 << 10

// checkMaxBody refuses a max_body that does not fit into one message of the broker.
func (a *app) checkMaxBody(names []string) error {
	most := a.broker.MaxMessageSize() - answerOverhead
	if !slices.Contains(names, "fetcher") || int64(a.settings.MaxBody) <= most {
		return nil
	}
	return Usagef("max_body %s: this broker stores messages of %d bytes: allowed is at most %d", a.settings.MaxBody,
		a.broker.MaxMessageSize(), most)
}

// unexpectedExit returns an error if a service ends although ctx has not. Otherwise the process
// would stay up and do nothing.
func unexpectedExit(ctx context.Context, name string, err error) error {
	if err == nil && ctx.Err() == nil {
		return fmt.Errorf("%w: the %s ended unexpectedly", ErrBroker, name)
	}
	return err
}

func (a *app) classifierOptions() classifier.Options {
	c := a.settings.Config
	return classifier.Options{
		Bus: a.broker.Bus, Log: a.log, Read: a.site.Profile.Read, Workers: runtime.GOMAXPROCS(0),
		Backoff: classifier.Backoff{Base: c.BackoffBase, Factor: c.BackoffFactor, Max: c.BackoffMax},
	}
}

func (a *app) generatorOptions() generator.Options {
	defaults := a.settings.Batch
	defaults.RequestTimeout, defaults.JobTimeout = 0, 0 // each fetcher's own
	return generator.Options{
		Bus:         a.broker.Bus,
		Log:         a.log,
		Defaults:    defaults,
		BoundMaxAge: a.settings.BoundMaxAge,
		Site:        a.site.Profile.Name,
		Origin:      a.site.Origin,
		Config:      a.settings.Effective(),
		Program:     a.version,
	}
}

func paceOf(c config.Config) limit.Pace {
	return limit.Pace{
		Min:       c.DelayMin,
		Max:       c.DelayMax,
		RestEvery: c.RestEvery,
		RestFor:   c.RestFor,
		Quiet:     limit.Hours(c.QuietHours),
	}
}

func (a *app) fetcherOptions() fetcher.Options {
	c := a.settings.Config
	options := fetcher.Options{
		Bus:      a.broker.Bus,
		Log:      a.log,
		ID:       a.fetcherID,
		Process:  a.process,
		Site:     a.site,
		SiteName: a.site.Profile.Name,
		Origin:   a.site.Origin,
		Pace:     paceOf(c),
		Settings: a.settings.Subset("delay_min", "delay_max", "rest_every", "rest_for", "quiet_hours",
			"concurrency", "request_timeout", "job_timeout", "blocked_cooldown", "robots", "user_agent",
			"max_body", "parties"),
		Concurrency: c.Concurrency,
		Cooldown:    c.BlockedCooldown,
		Unblock:     a.options.Unblock,
		Shared:      a.broker.shared,
		Grace:       a.grace,
		// The first step slows the site's requests and is no retry: two seconds are enough, however
		// long backoff_base is.
		Backoff: limit.Backoff{
			Base:   min(c.BackoffBase, 2*time.Second),
			Factor: c.BackoffFactor,
			Max:    c.BackoffMax,
		},
		Read: a.site.Profile.Read,
	}
	// The simulator in this process needs no robots.txt.
	if c.Robots && a.site.simulator == nil {
		options.Robots = a.site.Robots
	}
	return options
}

func (a *app) reporterOptions() reporter.Options {
	options := reporter.Options{
		Bus:     a.broker.Bus,
		Store:   a.output,
		Logger:  a.log,
		Version: a.version,
		Shared:  a.broker.shared,
		Ledger:  storeName(a.settings),
	}
	if !a.broker.shared {
		options.Command = a.options.ResumeCommand
	}
	if a.broker.patient {
		options.GiveUp = math.MaxInt64
	}
	return options
}
