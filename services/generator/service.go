// Package generator turns a batch into jobs: it executes the commands of operators, decides which
// numbers to request, and publishes a job for each.
package generator

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Options configures a Service.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Defaults supplies the fields that a command omits.
	Defaults contract.Batch
	// BoundMaxAge is the age up to which a no-record above the highest record is reused without a
	// new request; 0 means that none is reused.
	BoundMaxAge time.Duration
	// Site is the name of the site profile that the fetchers of this installation use.
	Site string
	// Origin is the origin of that site. A start is rejected if the store holds records of another
	// site; an empty Origin disables the check.
	Origin string
	// Config is the effective configuration with its secrets masked. It is stored in manifests.
	Config map[string]any
	// Program is the version of this program. It is stored in manifests.
	Program string
	// Now is the clock for the expiry of commands; nil means time.Now.
	Now func() time.Time
}

// Service executes commands and publishes the jobs of runs.
type Service struct {
	Options
	kv      jetstream.KeyValue
	replies *replyMatcher
	// resultsSince is the revision of the bucket of runs when the service was created. Results of
	// commands up to it are not delivered to requests.
	resultsSince uint64
	// commandMu serializes commands.
	commandMu sync.Mutex
	active    *activeRuns
}

// New opens the bucket of runs and returns a Service.
func New(ctx context.Context, opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kv, err := opts.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("creating the generator: %w", err)
	}
	bucket, err := opts.Bus.JetStream().Stream(ctx, "KV_"+contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("creating the generator: %w", err)
	}
	return &Service{Options: opts, kv: kv, replies: newReplyMatcher(), active: newActiveRuns(),
		resultsSince: bucket.CachedInfo().State.LastSeq}, nil
}

// Run executes commands and publishes jobs until ctx ends. Cancellation is not an error.
func (s *Service) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer s.replies.close()
	group.Go(func() error { return s.watchResults(ctx) })
	group.Go(func() error { return runs.Follow(ctx, s.Bus, s.handleRun) })
	group.Go(func() error { return s.expireCommands(ctx) })
	group.Go(func() error { return s.keepSharedConsumers(ctx) })
	for _, consumer := range []string{streams.ConsumerControl, streams.ConsumerStarts} {
		group.Go(func() error { return s.consumeCommands(ctx, consumer) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("running the generator: %w", err)
	}
	return nil
}

// addTimeout limits the time that a start waits until its run is added. A run that is halted
// meanwhile is never added.
const addTimeout = 2 * time.Second

// activeRuns is the set of runs that this generator serves.
type activeRuns struct {
	mu   sync.Mutex
	runs map[contract.RunID]bool
	// added is closed and replaced when a run is added.
	added chan struct{}
}

func newActiveRuns() *activeRuns {
	return &activeRuns{runs: make(map[contract.RunID]bool), added: make(chan struct{})}
}

// add adds a run until remove is called.
func (a *activeRuns) add(run contract.RunID) (remove func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[run] = true
	close(a.added)
	a.added = make(chan struct{})
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.runs, run)
	}
}

// snapshot returns a copy of the set.
func (a *activeRuns) snapshot() map[contract.RunID]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.runs)
}

// await returns when a run has been added, or after addTimeout.
func (a *activeRuns) await(ctx context.Context, run contract.RunID) {
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	for {
		a.mu.Lock()
		active, added := a.runs[run], a.added
		a.mu.Unlock()
		if active {
			return
		}
		select {
		case <-added:
		case <-ctx.Done():
			return
		}
	}
}
