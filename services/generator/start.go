package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func (s *Service) startRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	batch, err := ReadStart(d.Body, s.Defaults)
	if err != nil {
		return "", err
	}
	manifest, err := s.findRun(ctx, batch)
	isNew := errors.Is(err, jetstream.ErrKeyNotFound)
	if err != nil && !isNew {
		return "", err
	}
	if err := s.checkSameSite(ctx); err != nil {
		return "", err
	}
	if err := s.active.checkLimit(manifest.RunID); err != nil {
		return "", err
	}
	if isNew {
		manifest, err = s.createRun(ctx, batch, d)
	} else if err = s.checkNotStopped(ctx, manifest.RunID, d); err == nil {
		manifest, err = s.updateSettings(ctx, manifest, batch, d)
	}
	if err != nil {
		return "", err
	}
	return manifest.RunID, s.beginRound(ctx, manifest)
}

// createRun creates a run for a batch that has none, or joins the run that another generator
// creates for it concurrently.
func (s *Service) createRun(ctx context.Context, batch contract.Batch, d bus.Delivery[[]byte]) (contract.Manifest, error) {
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
	// Another batch may have taken the run id since findRun was called.
	return s.findRun(ctx, batch)
}

// newManifest returns the manifest of a new run of batch.
func (s *Service) newManifest(ctx context.Context, batch contract.Batch, d bus.Delivery[[]byte]) (contract.Manifest, error) {
	run := batch.RunID
	if run == "" {
		run = newRunID(batch, d.StoredAt, d.Sequence)
	}
	m := contract.Manifest{
		Version: contract.MessageVersion, RunID: run, Prefix: batch.Prefix, Year: batch.Year,
		Range: batch.MaxRange(), Batch: batch.Identity(s.Site), Site: s.Site, Origin: s.Origin,
		RunSettings: batch.RunSettings, RecheckBefore: d.StoredAt.UTC().Add(-s.BoundMaxAge),
		CreatedAt: d.StoredAt.UTC(), Config: s.Config, Program: s.Program, Command: commandBody(d),
	}
	collected, err := s.storedOutcomes(ctx, contract.BucketCollected, m)
	m.RecheckAbove = lastFinalNumber(collected)
	return m, err
}

// commandBody returns the body of a command, or nil if it is not valid JSON.
func commandBody(d bus.Delivery[[]byte]) json.RawMessage {
	if !json.Valid(d.Body) {
		return nil
	}
	return d.Body
}

// writeManifest stores a manifest. A manifest that exists was written by an earlier delivery of the
// same command and is left unchanged.
func (s *Service) writeManifest(ctx context.Context, manifest contract.Manifest) error {
	if _, err := runs.PutAt(ctx, s.kv, manifest.RunID.ManifestKey(), manifest, 0); err != nil && !runs.IsConflict(err) {
		return fmt.Errorf("creating run %s: %w", manifest.RunID, err)
	}
	return nil
}

// beginRound starts a round of a run. It creates the consumer first, then removes the halt, then
// writes the state that all services follow.
func (s *Service) beginRound(ctx context.Context, manifest contract.Manifest) error {
	run := manifest.RunID
	state, revision, err := s.readState(ctx, run)
	switch {
	case err != nil:
		return err
	case revision > 0 && state.Status == contract.Running:
		return s.checkNotStopping(ctx, run) // an equal start joins the run
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
		return fmt.Errorf("creating the consumer of run %s: %w", run, err)
	}
	if err := s.kv.Delete(ctx, run.HaltKey()); err != nil {
		return fmt.Errorf("removing the halt of run %s: %w", run, err)
	}
	written, err := s.updateState(ctx, run, contract.State{Status: contract.Running, At: time.Now().UTC(),
		Round: state.Round + 1, ElapsedSeconds: state.ElapsedSeconds}, revision)
	if err != nil || !written {
		return err
	}
	s.active.await(ctx, run)
	s.Log.Info("batch.run.start", "run_id", run, "round", state.Round+1)
	return s.publishStarted(ctx, manifest)
}

// publishStarted publishes the started event of a run.
func (s *Service) publishStarted(ctx context.Context, m contract.Manifest) error {
	body, err := json.Marshal(contract.Event{RunID: m.RunID, At: time.Now().UTC(), Status: contract.Running,
		Range: m.Range})
	if err != nil {
		return fmt.Errorf("publishing the start of run %s: %w", m.RunID, err)
	}
	_, err = s.Bus.Publish(ctx, &nats.Msg{Subject: m.RunID.EventSubject("started"), Data: body})
	return err
}

// claimBatch registers the run of a manifest as the run of its batch and returns its id, or the id
// of the run that another generator registered first. Finding a run and creating one are two steps;
// without the registration, two generators could create two runs for equal starts.
func (s *Service) claimBatch(ctx context.Context, m contract.Manifest) (contract.RunID, error) {
	owner := m.RunID
	key := contract.BatchKey(m.Batch)
	_, err := runs.UpdateBytes(ctx, s.kv, key, func(value []byte, err error) ([]byte, bool, error) {
		owner = m.RunID
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return []byte(owner), true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if run, parseErr := contract.ParseRunID(string(value)); parseErr == nil { // else written by another program
			resumable, err := s.resumable(ctx, run)
			if err != nil || resumable {
				owner = run
				return nil, false, err
			}
		}
		return []byte(owner), true, nil
	})
	if err != nil {
		return "", fmt.Errorf("claiming batch %s: %w", m.Batch, err)
	}
	return owner, nil
}

// readState returns the state of a run and its revision, which is 0 if the run has no state yet.
func (s *Service) readState(
	ctx context.Context, run contract.RunID,
) (state contract.State, revision uint64, err error) {
	state, revision, err = runs.Read[contract.State](ctx, s.kv, run.StateKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return state, 0, nil
	}
	if errors.Is(err, runs.ErrUnreadable) {
		return state, 0, invalid(conflict("run_id", run, err.Error(),
			"a new id, or the same once nats kv del runs "+run.StateKey()+" has removed it"))
	}
	if err != nil {
		return state, 0, fmt.Errorf("reading the state of run %s: %w", run, err)
	}
	return state, revision, nil
}

// updateState replaces the state of a run at a revision. It returns false if the state has changed
// since.
func (s *Service) updateState(
	ctx context.Context, run contract.RunID, state contract.State, revision uint64,
) (written bool, err error) {
	_, err = runs.PutAt(ctx, s.kv, run.StateKey(), state, revision)
	if err != nil && !runs.IsConflict(err) {
		return false, fmt.Errorf("writing the state of run %s: %w", run, err)
	}
	return err == nil, nil
}
