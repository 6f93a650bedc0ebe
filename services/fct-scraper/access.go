package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// streamMaker is the one service that makes the streams where services are processes of their own; the others wait for
// them. Where it may not, as with the accounts of deploy/nats/nats.conf, it waits too, until "fct-scraper setup" has made them.
const streamMaker = "generator"

// access is what a process is to its server.
type access struct {
	// addr is where a server in this process listens; empty is nowhere.
	addr string
	// services are those that it serves; none says that it does whatever there is to do.
	services []string
	// repair accepts a store of which the ledger is not what it was.
	repair bool
	// looks makes nothing on a server of others: without streams there is no run to look at.
	looks bool
	// alone lets no other process into a server in this process.
	alone bool
}

// sole is the one service of the process; empty when it has several, or none in particular.
func (a access) sole() string {
	if len(a.services) != 1 {
		return ""
	}
	return a.services[0]
}

// name is what the server knows the connection by.
func (a access) name() string {
	if a.sole() == "" {
		return "fct-scraper"
	}
	return "fct-" + a.sole()
}

// inbox is the prefix of the subjects on which a service gets its answers. Each has its own, so that the server can keep the
// others from listening there; empty is the usual one.
func (a access) inbox() string {
	if a.sole() == "" {
		return ""
	}
	return "_INBOX_" + a.sole()
}

// makes says whether the process makes the streams that are missing.
func (a access) makes() bool { return len(a.services) == 0 || slices.Contains(a.services, streamMaker) }

// streamsOf is how a process comes to the streams: it makes them, or waits until they are made. The store of a server in this
// process is its own, and is brought up to date.
func streamsOf(c config.Config, a access, log *slog.Logger) func(context.Context, jetstream.JetStream) error {
	if !a.makes() {
		return streams.Await
	}
	if a.looks && c.NATSURL != "" {
		return made
	}
	changed := func(name, differences string) { log.Info("stream.upgraded", "name", name, "differences", differences) }
	ensure := func(ctx context.Context, js jetstream.JetStream) error {
		ctx, cancel := context.WithTimeout(ctx, makeLimit)
		defer cancel()
		if err := streams.Ensure(ctx, js, streams.Options{Replicas: c.Replicas, Exclusive: c.NATSURL == "", OnUpdate: changed}); err != nil {
			return fmt.Errorf("making the streams: %w", err)
		}
		return nil
	}
	return func(ctx context.Context, js jetstream.JetStream) error {
		err := ensure(ctx, js)
		if a.sole() == "" || !errors.Is(err, streams.ErrNotAllowed) {
			return err
		}
		log.Warn("streams.waiting", "error", err)
		if err := streams.Await(ctx, js); err != nil {
			return err
		}
		return ensure(ctx, js)
	}
}

// made is an error when a server has no store to look into.
func made(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, "KV_"+contract.BucketRuns)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: there is no store on the server of nats_url: %w", errUsage, err)
	}
	return err
}
