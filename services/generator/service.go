package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// Options of a generator.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Defaults fill in what a command leaves out.
	Defaults Batch
	// BoundMaxAge is how old a no-record above the highest record may be before a run asks for it again; 0 is always.
	BoundMaxAge time.Duration
	// Site is the name of the site profile that the fetchers of this installation ask.
	Site string
	// Origin is where they ask it. The store is refused when it holds records of another court; empty refuses none.
	Origin string
	// Config is the effective configuration, secrets masked; it goes into the manifests.
	Config map[string]any
	// Program is this program's version.
	Program string
	// Now tells how old commands are; nil is time.Now.
	Now func() time.Time
}

// Service carries out commands and publishes the jobs of runs.
type Service struct {
	Options
	kv      jetstream.KeyValue
	replies *replyMatcher
	// resultsSince is the revision up to which results of commands have been told to who asked for them, or are older than this service.
	resultsSince uint64
	// commandMu is held while a command is carried out.
	commandMu sync.Mutex
	active    *activeRuns
}

// New opens the bucket of runs.
func New(ctx context.Context, opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kv, err := opts.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("making the generator: %w", err)
	}
	bucket, err := opts.Bus.JetStream().Stream(ctx, "KV_"+contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("making the generator: %w", err)
	}
	return &Service{Options: opts, kv: kv, replies: newReplyMatcher(), active: newActiveRuns(), resultsSince: bucket.CachedInfo().State.LastSeq}, nil
}

// Run works until ctx ends, which is no error.
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

func (s *Service) startRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	batch, err := ReadStart(d.Body, s.Defaults)
	if err != nil {
		return "", err
	}
	manifest, err := s.findRun(ctx, batch)
	unknown := errors.Is(err, jetstream.ErrKeyNotFound)
	if err != nil && !unknown {
		return "", err
	}
	if err := s.checkSameSite(ctx); err != nil {
		return "", err
	}
	if err := s.active.checkLimit(manifest.RunID); err != nil {
		return "", err
	}
	if unknown {
		manifest, err = s.createRun(ctx, batch, d)
	} else if err = s.checkNotStopped(ctx, manifest.RunID, d); err == nil {
		manifest, err = s.updateSettings(ctx, manifest, batch, d)
	}
	if err != nil {
		return "", err
	}
	return manifest.RunID, s.beginRound(ctx, manifest)
}

// createRun makes a run of a batch that is none yet, or joins the one that another generator makes of it just now.
func (s *Service) createRun(ctx context.Context, batch Batch, d bus.Delivery[[]byte]) (contract.Manifest, error) {
	m, err := s.newManifest(ctx, batch, d)
	if err != nil {
		return m, err
	}
	if batch.RunID == "" {
		if m.RunID, err = s.claimBatch(ctx, m); err != nil {
			return m, err
		}
	}
	if err := s.writeManifest(ctx, m); err != nil || batch.RunID == "" {
		return m, err
	}
	// Another batch may have got the name since it was looked for.
	return s.findRun(ctx, batch)
}

// newManifest is what a batch becomes that is no run yet.
func (s *Service) newManifest(ctx context.Context, batch Batch, d bus.Delivery[[]byte]) (contract.Manifest, error) {
	run := batch.RunID
	if run == "" {
		run = newRunID(batch, d.StoredAt, d.Sequence)
	}
	m := contract.Manifest{
		Version: contract.MessageVersion, RunID: run, Prefix: batch.Prefix, Year: batch.Year,
		Range: batch.MaxRange(), Batch: batch.Identity(s.Site), Site: s.Site, Origin: s.Origin,
		RequestTimeout: batch.RequestTimeout, JobTimeout: batch.JobTimeout,
		MaxRetries: batch.MaxRetries, SafeStopNoRecords: batch.SafeStopNoRecords, SafeStopFails: batch.SafeStopFails,
		Recheck: batch.Recheck, Force: batch.Force, PersistRawHTML: batch.PersistRawHTML,
		Probe: batch.Probe, ProbeOnly: batch.ProbeOnly, ProbeBudget: batch.ProbeBudget, New: batch.New,
		RecheckBefore: d.StoredAt.UTC().Add(-s.BoundMaxAge),
		CreatedAt:     d.StoredAt.UTC(), Config: s.Config, Program: s.Program, Command: commandBody(d),
	}
	collected, err := s.storedOutcomes(ctx, contract.BucketCollected, m)
	m.RecheckAbove = lastFinalNumber(collected)
	return m, err
}

// commandBody is the body of a start; nil when it has none.
func commandBody(d bus.Delivery[[]byte]) json.RawMessage {
	if !json.Valid(d.Body) {
		return nil
	}
	return d.Body
}

// writeManifest writes a manifest unless the same command wrote it before it was cut off.
func (s *Service) writeManifest(ctx context.Context, manifest contract.Manifest) error {
	value, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("creating run %s: %w", manifest.RunID, err)
	}
	if _, err := s.kv.Create(ctx, manifest.RunID.ManifestKey(), value); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("creating run %s: %w", manifest.RunID, err)
	}
	return nil
}

// beginRound makes a run running: its consumer first, then its halt taken back, then the state that everybody follows.
func (s *Service) beginRound(ctx context.Context, manifest contract.Manifest) error {
	run := manifest.RunID
	state, revision, err := s.readState(ctx, run)
	switch {
	case err != nil:
		return err
	case revision > 0 && state.Status == contract.Running:
		return s.checkNotStopping(ctx, run) // the same batch twice is one run
	case revision > 0 && !state.Resumable():
		return nil
	}
	if err := s.supersede(ctx, manifest); err != nil {
		return err
	}
	config, err := streams.JobsConsumer(run)
	if err != nil {
		return err
	}
	if _, err := s.Bus.JetStream().CreateOrUpdateConsumer(ctx, contract.StreamJobs, config); err != nil {
		return fmt.Errorf("making the consumer of run %s: %w", run, err)
	}
	if err := s.kv.Delete(ctx, run.HaltKey()); err != nil {
		return fmt.Errorf("taking back the halt of run %s: %w", run, err)
	}
	first, err := s.updateState(ctx, run, contract.State{Status: contract.Running, At: time.Now().UTC(), Round: state.Round + 1, ElapsedSeconds: state.ElapsedSeconds}, revision)
	if err != nil || !first {
		return err
	}
	s.active.await(ctx, run)
	s.Log.Info("batch.run.start", "run_id", run, "round", state.Round+1)
	return s.publishStarted(ctx, manifest)
}

// publishStarted publishes that a run has started.
func (s *Service) publishStarted(ctx context.Context, m contract.Manifest) error {
	body, err := json.Marshal(contract.Event{RunID: m.RunID, At: time.Now().UTC(), Status: contract.Running, Range: m.Range})
	if err != nil {
		return fmt.Errorf("telling of run %s: %w", m.RunID, err)
	}
	_, err = s.Bus.Publish(ctx, &nats.Msg{Subject: m.RunID.EventSubject("started"), Data: body})
	return err
}

func (s *Service) putJSON(ctx context.Context, key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	if _, err := s.kv.Put(ctx, key, data); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}
