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
	"github.com/spf13/cobra"
)

// serveAddr is where `serve` says how it is when nothing else was set.
const serveAddr = "127.0.0.1:8080"

// need is what a service works with on the NATS server; consumer is empty when it makes its own.
type need struct{ stream, consumer string }

// needs are the streams, buckets and consumers that the services must find.
func needs() map[string][]need {
	bucket := func(name string) need { return need{stream: "KV_" + name} }
	runs := bucket(contract.BucketRuns)
	return map[string][]need{
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
	// waits is what stands in the way; nil once the services work.
	waits  error
	broker *broker
	names  []string
}

func newReadiness() *readiness { return &readiness{waits: errors.New("starting")} }

// wait says what has to come before the services can work.
func (r *readiness) wait(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = reason
}

// work says that the services of those names work over a broker.
func (r *readiness) work(b *broker, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits, r.broker, r.names = nil, b, names
}

// check is nil when the connection is up and all that the services need is there.
func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	waits, b, names := r.waits, r.broker, r.names
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
		return fmt.Errorf("no connection to nats_url: %w", b.lost())
	}
	all := needs()
	var seen []need
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

// lost is why there is no connection.
func (b *broker) lost() error {
	if b.why != nil {
		return b.why()
	}
	return cmp.Or(b.Conn().LastError(), nats.ErrDisconnected)
}

func (n need) check(ctx context.Context, b *broker) error {
	if n.consumer != "" {
		if _, err := b.JetStream().Consumer(ctx, n.stream, n.consumer); err != nil {
			return fmt.Errorf("consumer %s of stream %s: %w", n.consumer, n.stream, err)
		}
		return nil
	}
	if _, err := b.JetStream().Stream(ctx, n.stream); err != nil {
		return fmt.Errorf("stream %s: %w", n.stream, err)
	}
	return nil
}

// front is what this process shows of itself over HTTP and to the NATS services API.
type front struct {
	*readiness
	figures *figures
	board   *board
}

func newFront() *front { return &front{newReadiness(), newFigures(), newBoard()} }

// note is why this process's fetcher asks nothing just now; empty while it does.
func (f *front) note() string {
	from := f.figures.fetcher.now.Load()
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
func (f *front) listen(addr, fallback string, log *slog.Logger) (stop func() error, err error) {
	wanted := addr
	if addr == "" {
		addr = fallback
	}
	if addr == "" {
		return func() error { return nil }, nil
	}
	server, err := health.Start(health.Options{
		Addr: addr, Ready: f.check, Note: f.note, Pages: map[string]http.Handler{"GET /metrics": f.figures.handler()},
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

func (p *program) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Say whether a process of this machine is ready: exit code 0 or 1", Args: takes(0),
		Example: "  fct-scraper healthcheck\n  fct-scraper healthcheck --url http://127.0.0.1:8080/livez",
	}
	addSettings(cmd.Flags(), func(key string) bool { return key == "http_addr" })
	url := cmd.Flags().String("url", "", "what to ask; "+health.ReadyPath+" on http_addr when empty")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := p.settings(cmd)
		if err != nil {
			return err
		}
		if *url == "" {
			*url = health.URL(cmp.Or(settings.HTTPAddr, serveAddr))
		}
		if err := health.Check(cmd.Context(), *url); err != nil {
			return err
		}
		return p.print("ok\n")
	}
	return cmd
}
