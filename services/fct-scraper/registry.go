package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// serviceState is what a service answers on fct.<service>.state, and says in its statistics.
type serviceState struct {
	Service string `json:"service"`
	Version string `json:"version"`
	// Runs are the runs that it works on.
	Runs []contract.RunID `json:"runs"`
	*fetcher.State
	// RunStatuses are how all runs stand, as the reporter answers for those who may not read the streams.
	RunStatuses []runStatus `json:"standings,omitempty"`
}

// semverPattern is the form of version that the services API takes (semver.org).
var semverPattern = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// semverOf is a version in that form; one without numbers becomes a note behind zeros.
func semverOf(version string) string {
	bare := strings.TrimPrefix(version, "v")
	if semverPattern.MatchString(bare) {
		return bare
	}
	return "0.0.0+" + cmp.Or(strings.Trim(regexp.MustCompile(`[^0-9A-Za-z]+`).ReplaceAllString(bare, "-"), "-"), "devel")
}

// register makes a service known to the NATS services API as fct-<name>. It is another instance wherever the name is taken.
func (a *app) register(name string, service runner) error {
	state := func() serviceState {
		return serviceState{Service: "fct-" + name, Version: version(), Runs: a.status.activeRuns.list()}
	}
	if s, is := service.(fetcherStateSource); is {
		a.status.metrics.fetcher.setSource(s)
		plain := state
		state = func() serviceState {
			r, now := plain(), s.State()
			r.State = &now
			return r
		}
	}
	known, err := micro.AddService(a.broker.Conn(), micro.Config{
		Name: "fct-" + name, Version: semverOf(version()), Description: descriptions()[name],
		Metadata:     map[string]string{"version": version(), "site": a.site.Profile.Name},
		StatsHandler: func(*micro.Endpoint) any { return state() },
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			a.log.Warn("service.api.failed", "service", name, "error", err)
		},
	})
	if err != nil {
		return fmt.Errorf("registering service fct-%s: %w", name, err)
	}
	a.registered = append(a.registered, known)
	answer := micro.HandlerFunc(func(r micro.Request) {
		now := state()
		if name == "reporter" {
			now.RunStatuses = a.allRunStatuses()
		}
		_ = r.RespondJSON(now) // who went away misses nothing
	})
	// Without a queue group: whoever asks for the state hears every instance, as with nats micro stats.
	if err := known.AddEndpoint("state", answer, micro.WithEndpointSubject("fct."+name+".state"), micro.WithEndpointQueueGroupDisabled()); err != nil {
		return fmt.Errorf("registering service fct-%s: %w", name, err)
	}
	if more, is := service.(interface{ AddEndpoints(micro.Service) error }); is {
		return more.AddEndpoints(known)
	}
	return nil
}

// allRunStatuses are how all runs stand; none when they cannot be read just now.
func (a *app) allRunStatuses() []runStatus {
	ctx, cancel := context.WithTimeout(context.Background(), runStatusTimeout)
	defer cancel()
	all, err := a.broker.allRunStatuses(ctx)
	if err != nil {
		a.log.Warn("service.api.failed", "service", "reporter", "error", err)
	}
	return all
}

// deregister takes all services off the API.
func (a *app) deregister() {
	for _, known := range a.registered {
		if err := known.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			a.log.Warn("service.api.failed", "service", known.Info().Name, "error", err)
		}
	}
	a.registered = nil
}

// descriptions say what the services do, for people who list them.
func descriptions() map[string]string {
	return map[string]string{
		"prober":     "finds the highest number of a series and year",
		"generator":  "carries out commands and publishes the jobs of runs",
		"fetcher":    "asks the court for one case after another, at its pace",
		"classifier": "reads answers and writes the ledger",
		"reporter":   "turns the ledger into records, counts and reports",
	}
}

// activeRuns is which runs are worked on just now.
type activeRuns struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
}

func newActiveRuns() *activeRuns { return &activeRuns{runs: make(map[contract.RunID]bool)} }

func (b *activeRuns) follow(ctx context.Context, broker *broker) error {
	return runs.Follow(ctx, broker.Bus, func(ctx context.Context, m contract.Manifest) error {
		b.set(m.RunID, true)
		<-ctx.Done()
		b.set(m.RunID, false)
		return nil
	})
}

func (b *activeRuns) set(run contract.RunID, running bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if running {
		b.runs[run] = true
	} else {
		delete(b.runs, run)
	}
}

// list is sorted, and never nil: in JSON it is an array.
func (b *activeRuns) list() []contract.RunID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]contract.RunID{}, slices.Sorted(maps.Keys(b.runs))...)
}

// followRetryWait is after how long what is only looked at is looked at anew when that was cut off: it stops no service.
const followRetryWait = 5 * time.Second

// retryForever calls look again and again until ctx ends.
func retryForever(ctx context.Context, log *slog.Logger, what string, look func(context.Context) error) {
	for ctx.Err() == nil {
		if err := look(ctx); err != nil && ctx.Err() == nil {
			log.Warn("look.failed", "what", what, "error", err)
		}
		_ = delay.Sleep(ctx, followRetryWait)
	}
}
