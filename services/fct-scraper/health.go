package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/health"
	"fct-scraper/pkg/sanitize"

	"github.com/nats-io/nats.go"
)

// defaultStatusAddr is where `serve` says how it is when nothing else was set.
const defaultStatusAddr = "127.0.0.1:8080"

// requirement is what a service works with on the NATS server; consumer is empty when it makes its own.
type requirement struct{ stream, consumer string }

// requirements are the streams, buckets and consumers that the services must find.
func requirements() map[string][]requirement {
	bucket := func(name string) requirement { return requirement{stream: "KV_" + name} }
	runs := bucket(contract.BucketRuns)
	return map[string][]requirement{
		"prober":     {runs, {stream: contract.StreamJobs}, {stream: contract.StreamOutcomes}},
		"generator":  {runs, {contract.StreamBatch, "generator"}, {stream: contract.StreamJobs}, bucket(contract.BucketCollected)},
		"fetcher":    {runs, {stream: contract.StreamJobs}, {stream: contract.StreamAnswers}, bucket(contract.BucketSites), bucket(contract.BucketFetchers), bucket(contract.BucketHeld)},
		"classifier": {{contract.StreamAnswers, "classifier"}, {stream: contract.StreamOutcomes}},
		"reporter":   {runs, {stream: contract.StreamOutcomes}, {stream: contract.StreamEvents}, bucket(contract.BucketCollected), bucket(contract.BucketHeld)},
	}
}

// readiness is whether this process can work.
type readiness struct {
	mu sync.Mutex
	// pending is what stands in the way; nil once the services work.
	pending error
	broker  *broker
	names   []string
}

func newReadiness() *readiness { return &readiness{pending: errors.New("starting")} }

// setWaiting says what has to come before the services can work.
func (r *readiness) setWaiting(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = reason
}

// setWorking says that the services of those names work over a broker.
func (r *readiness) setWorking(b *broker, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending, r.broker, r.names = nil, b, names
}

// check is nil when the connection is up and all that the services need is there.
func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	waits, b, names := r.pending, r.broker, r.names
	r.mu.Unlock()
	if waits != nil {
		return waits
	}
	if b.server != nil {
		if err := b.server.Health(); err != nil {
			return err
		}
	}
	if !b.Conn().IsConnected() {
		return fmt.Errorf("no connection to nats_url: %w", b.disconnectError())
	}
	all := requirements()
	var seen []requirement
	for _, name := range names {
		for _, n := range all[name] {
			if slices.Contains(seen, n) {
				continue
			}
			if err := n.check(ctx, b); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			seen = append(seen, n)
		}
	}
	return nil
}

// disconnectError is why there is no connection.
func (b *broker) disconnectError() error {
	if b.disconnectReason != nil {
		return b.disconnectReason()
	}
	return cmp.Or(b.Conn().LastError(), nats.ErrDisconnected)
}

func (r requirement) check(ctx context.Context, b *broker) error {
	if r.consumer != "" {
		if _, err := b.JetStream().Consumer(ctx, r.stream, r.consumer); err != nil {
			return fmt.Errorf("consumer %s of stream %s: %w", r.consumer, r.stream, err)
		}
		return nil
	}
	if _, err := b.JetStream().Stream(ctx, r.stream); err != nil {
		return fmt.Errorf("stream %s: %w", r.stream, err)
	}
	return nil
}

// statusServer is what this process shows of itself over HTTP and to the NATS services API.
type statusServer struct {
	*readiness
	metrics    *metrics
	activeRuns *activeRuns
}

func newStatusServer() *statusServer {
	return &statusServer{newReadiness(), newMetrics(), newActiveRuns()}
}

// note is why this process's fetcher asks nothing just now; empty while it does.
func (f *statusServer) note() string {
	from := f.metrics.fetcher.source.Load()
	if from == nil {
		return ""
	}
	wait := (*from).State().Wait
	if wait == nil {
		return ""
	}
	return sanitize.Line(wait.String())
}

// listen serves the front on addr, if there is one, until the function it returns is called. Who only took the default, or any
// of a range, may find it taken: any number of processes may serve on one machine.
func (f *statusServer) listen(addr, fallback string, log *slog.Logger) (stop func() error, err error) {
	wanted := addr
	if addr == "" {
		addr = fallback
	}
	if addr == "" {
		return func() error { return nil }, nil
	}
	server, err := health.Start(health.Options{
		Addr: addr, Ready: f.check, Note: f.note, Pages: map[string]http.Handler{"GET /metrics": f.metrics.handler()},
	})
	switch {
	case err != nil && (wanted == "" || errors.Is(err, health.ErrTaken)):
		log.Warn("http.unavailable", "addr", addr, "error", err)
		return func() error { return nil }, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	log.Info("http.listening", "addr", server.Addr())
	return server.Close, nil
}
