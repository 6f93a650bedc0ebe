package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/health"
	"fct-scraper/pkg/sanitize"

	"github.com/nats-io/nats.go"
)

// DefaultStatusAddr is the address of the status server of the command serve if http_addr is not
// set.
const DefaultStatusAddr = "127.0.0.1:8080"

// requirement is a stream, or a consumer of it, that a service needs on the NATS server. consumer
// is empty if the service creates its own.
type requirement struct{ stream, consumer string }

// requirements returns the streams, buckets and consumers that each service needs.
func requirements() map[string][]requirement {
	bucket := func(name string) requirement { return requirement{stream: "KV_" + name} }
	runs := bucket(contract.BucketRuns)
	return map[string][]requirement{
		"prober": {runs, {stream: contract.StreamJobs}, {stream: contract.StreamOutcomes}},
		"generator": {
			runs,
			{contract.StreamBatch, "generator"},
			{stream: contract.StreamJobs},
			bucket(contract.BucketCollected),
		},
		"fetcher": {
			runs,
			{stream: contract.StreamJobs},
			{stream: contract.StreamAnswers},
			bucket(contract.BucketSites),
			bucket(contract.BucketFetchers),
			bucket(contract.BucketHeld),
		},
		"classifier": {{contract.StreamAnswers, "classifier"}, {stream: contract.StreamOutcomes}},
		"reporter": {
			runs,
			{stream: contract.StreamOutcomes},
			{stream: contract.StreamEvents},
			bucket(contract.BucketCollected),
			bucket(contract.BucketHeld),
		},
	}
}

// statusServer is the HTTP server of readiness and metrics, with the data that the NATS services
// API shows too.
type statusServer struct {
	metrics    *metrics
	activeRuns activeRuns

	mu sync.Mutex
	// pending is what the services wait for; nil once they work.
	pending error
	broker  *broker
	names   []string
}

func newStatusServer() *statusServer {
	return &statusServer{metrics: newMetrics(), pending: errors.New("starting")}
}

// setWaiting records what the services wait for.
func (s *statusServer) setWaiting(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = reason
}

// setWorking records that the named services work on a broker.
func (s *statusServer) setWorking(b *broker, names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.broker, s.names = nil, b, names
}

// check returns nil if the connection is up and everything that the services need exists.
func (s *statusServer) check(ctx context.Context) error {
	s.mu.Lock()
	waits, b, names := s.pending, s.broker, s.names
	s.mu.Unlock()
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

// disconnectError returns why there is no connection.
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

// note returns why the fetcher of this process sends no requests at the moment, or "".
func (s *statusServer) note() string {
	from := s.metrics.fetcher.source.Load()
	if from == nil {
		return ""
	}
	wait := (*from).State().Wait
	if wait == nil {
		return ""
	}
	return sanitize.Line(wait.String())
}

// current returns the broker that the services work on, or why there is none.
func (s *statusServer) current() (*broker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broker, s.pending
}

// listen serves on http_addr, else on fallback, until stop is called. If both are empty it does
// nothing. A default address, or a range, may be in use by other processes of the machine: that is
// only logged.
func (p Process) listen(s *statusServer, fallback string) (stop func() error, err error) {
	addr, log := p.Settings.HTTPAddr, p.Log
	wanted := addr
	if addr == "" {
		addr = fallback
	}
	if addr == "" {
		return func() error { return nil }, nil
	}
	options := health.Options{
		Addr: addr, Ready: s.check, Note: s.note, Metrics: s.metrics.handler(),
		AnyHost: p.Settings.HTTPToken != "",
	}
	closePage := func() {}
	if p.Page != nil {
		page := p.Page(Live{status: s, output: p.Settings.Output, log: log})
		options.Page, options.Misdirected, closePage = page, page.Misdirected, page.Close
	}
	server, err := health.Start(options)
	switch {
	case err != nil && (wanted == "" || errors.Is(err, health.ErrTaken)):
		log.Warn("http.unavailable", "addr", addr, "error", err)
		return func() error { return nil }, nil
	case err != nil:
		return nil, Usagef("%w", err)
	}
	log.Info("http.listening", "addr", server.Addr())
	if p.Listening != nil {
		p.Listening(server.Addr())
	}
	return func() error {
		closePage()
		return server.Close()
	}, nil
}
