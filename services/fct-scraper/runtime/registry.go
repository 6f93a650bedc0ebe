package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// serviceState is the reply on fct.<service>.state and part of the statistics of the services API.
type serviceState struct {
	Service string `json:"service"`
	Version string `json:"version"`
	// Runs are the active runs.
	Runs []contract.RunID `json:"runs"`
	*fetcher.State
	// RunStatuses are the statuses of all runs. Only the reporter sends them, for clients that may
	// not read the streams.
	RunStatuses []RunStatus `json:"standings,omitempty"`
}

// semverPattern is the version syntax that the services API accepts (semver.org).
var semverPattern = regexp.MustCompile(
	`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`,
)

// semverOf returns version in that syntax. A version without numbers becomes build metadata of
// 0.0.0.
func semverOf(version string) string {
	bare := strings.TrimPrefix(version, "v")
	if semverPattern.MatchString(bare) {
		return bare
	}
	return "0.0.0+" + cmp.Or(strings.Trim(regexp.MustCompile(`[^0-9A-Za-z]+`).ReplaceAllString(bare, "-"), "-"), "devel")
}

// register registers a service with the NATS services API as fct-<name>. Several processes may
// register the same name.
func (a *app) register(name string, service runner) error {
	state := func() serviceState {
		return serviceState{Service: "fct-" + name, Version: a.version, Runs: a.status.activeRuns.list()}
	}
	if s, is := service.(fetcherStateSource); is {
		a.status.metrics.fetcher.source.Store(&s)
		plain := state
		state = func() serviceState {
			r, now := plain(), s.State()
			r.State = &now
			return r
		}
	}
	known, err := micro.AddService(a.broker.Conn(), micro.Config{
		Name: "fct-" + name, Version: semverOf(a.version), Description: descriptions()[name],
		Metadata:     map[string]string{"version": a.version, "site": a.site.Profile.Name},
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
		_ = r.RespondJSON(now) // the requester may have gone
	})
	// There is no queue group, so that a request for the state reaches every instance, as with nats
	// micro stats.
	if err := known.AddEndpoint("state", answer, micro.WithEndpointSubject("fct."+name+".state"),
		micro.WithEndpointQueueGroupDisabled()); err != nil {
		return fmt.Errorf("registering service fct-%s: %w", name, err)
	}
	if more, is := service.(interface{ AddEndpoints(micro.Service) error }); is {
		return more.AddEndpoints(known)
	}
	return nil
}

// allRunStatuses returns the status of all runs, or nil if they cannot be read at the moment.
func (a *app) allRunStatuses() []RunStatus {
	ctx, cancel := context.WithTimeout(context.Background(), runStatusTimeout)
	defer cancel()
	all, err := Runs{broker: a.broker}.All(ctx)
	if err != nil {
		a.log.Warn("service.api.failed", "service", "reporter", "error", err)
	}
	return all
}

// deregister removes all services from the services API.
func (a *app) deregister() {
	for _, known := range a.registered {
		if err := known.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			a.log.Warn("service.api.failed", "service", known.Info().Name, "error", err)
		}
	}
	a.registered = nil
}

// descriptions returns the descriptions of the services in the services API.
func descriptions() map[string]string {
	return map[string]string{
		"prober":     "finds the highest number of a series and year",
		"generator":  "executes commands and publishes the jobs of runs",
		"fetcher":    "fetches cases from the site at the configured pace",
		"classifier": "classifies answers and writes the ledger",
		"reporter":   "turns the ledger into records, counts and reports",
	}
}

// activeRuns is the set of running runs. It is safe for concurrent use.
type activeRuns struct{ ids sync.Map }

func (r *activeRuns) follow(ctx context.Context, broker *broker) error {
	return runs.Follow(ctx, broker.Bus, func(ctx context.Context, m contract.Manifest) error {
		r.ids.Store(m.RunID, true)
		<-ctx.Done()
		r.ids.Delete(m.RunID)
		return nil
	})
}

// list returns a sorted list that is never nil: in JSON it is an array.
func (r *activeRuns) list() []contract.RunID {
	ids := []contract.RunID{}
	for id := range r.ids.Range {
		if run, is := id.(contract.RunID); is {
			ids = append(ids, run)
		}
	}
	slices.Sort(ids)
	return ids
}

// followRetryWait is the pause before a failed or ended follower starts again. Followers only
// observe: their errors stop no service.
const followRetryWait = 5 * time.Second

// follow calls follower repeatedly until ctx ends, and logs its errors. It returns nil.
func (a *app) follow(ctx context.Context, what string, follower func(context.Context, *broker) error) error {
	for ctx.Err() == nil {
		if err := follower(ctx, a.broker); err != nil && ctx.Err() == nil {
			a.log.Warn("inspect.failed", "what", what, "error", err)
		}
		_ = delay.Sleep(ctx, followRetryWait)
	}
	return nil
}
