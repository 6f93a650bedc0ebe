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

// roleState is what a service answers on fct.<service>.state, and says in its statistics.
type roleState struct {
	Service string `json:"service"`
	Version string `json:"version"`
	// Runs are the runs that it works on.
	Runs []contract.RunID `json:"runs"`
	*fetcher.State
	// Standings are how all runs stand, as the reporter answers for those who may not read the streams.
	Standings []standing `json:"standings,omitempty"`
}

// microForm is the form of version that the services API takes (semver.org).
var microForm = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// microVersion is a version in that form; one without numbers becomes a note behind zeros.
func microVersion(version string) string {
	bare := strings.TrimPrefix(version, "v")
	if microForm.MatchString(bare) {
		return bare
	}
	return "0.0.0+" + cmp.Or(strings.Trim(regexp.MustCompile(`[^0-9A-Za-z]+`).ReplaceAllString(bare, "-"), "-"), "devel")
}

// register makes a service known to the NATS services API as fct-<name>. It is another instance wherever the name is taken.
func (h *house) register(name string, service work) error {
	state := func() roleState {
		return roleState{Service: "fct-" + name, Version: version(), Runs: h.front.board.list()}
	}
	if s, is := service.(stated); is {
		h.front.figures.fetcher.watch(s)
		plain := state
		state = func() roleState {
			r, now := plain(), s.State()
			r.State = &now
			return r
		}
	}
	known, err := micro.AddService(h.broker.Conn(), micro.Config{
		Name: "fct-" + name, Version: microVersion(version()), Description: descriptions()[name],
		Metadata:     map[string]string{"version": version(), "site": h.court.Profile.Name},
		StatsHandler: func(*micro.Endpoint) any { return state() },
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			h.log.Warn("service.api.failed", "service", name, "error", err)
		},
	})
	if err != nil {
		return fmt.Errorf("registering service fct-%s: %w", name, err)
	}
	h.known = append(h.known, known)
	answer := micro.HandlerFunc(func(r micro.Request) {
		now := state()
		if name == "reporter" {
			now.Standings = h.standings()
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

// standings are how all runs stand; none when they cannot be read just now.
func (h *house) standings() []standing {
	ctx, cancel := context.WithTimeout(context.Background(), standingsLimit)
	defer cancel()
	all, err := h.broker.standings(ctx)
	if err != nil {
		h.log.Warn("service.api.failed", "service", "reporter", "error", err)
	}
	return all
}

// deregister takes all services off the API.
func (h *house) deregister() {
	for _, known := range h.known {
		if err := known.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			h.log.Warn("service.api.failed", "service", known.Info().Name, "error", err)
		}
	}
	h.known = nil
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

// board is which runs are worked on just now.
type board struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
}

func newBoard() *board { return &board{runs: make(map[contract.RunID]bool)} }

func (b *board) follow(ctx context.Context, broker *broker) error {
	return runs.Follow(ctx, broker.Bus, func(ctx context.Context, m contract.Manifest) error {
		b.set(m.RunID, true)
		<-ctx.Done()
		b.set(m.RunID, false)
		return nil
	})
}

func (b *board) set(run contract.RunID, running bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if running {
		b.runs[run] = true
	} else {
		delete(b.runs, run)
	}
}

// list is sorted, and never nil: in JSON it is an array.
func (b *board) list() []contract.RunID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]contract.RunID{}, slices.Sorted(maps.Keys(b.runs))...)
}

// lookAgain is after how long what is only looked at is looked at anew when that was cut off: it stops no service.
const lookAgain = 5 * time.Second

// looking calls look again and again until ctx ends.
func looking(ctx context.Context, log *slog.Logger, what string, look func(context.Context) error) {
	for ctx.Err() == nil {
		if err := look(ctx); err != nil && ctx.Err() == nil {
			log.Warn("look.failed", "what", what, "error", err)
		}
		_ = delay.Sleep(ctx, lookAgain)
	}
}
