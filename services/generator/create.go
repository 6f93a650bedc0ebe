package generator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// startRun executes a start: it reads, decides (decide.go) and writes. It may be repeated after a
// crash at any point.
func (s *Service) startRun(ctx context.Context, d bus.Delivery[[]byte]) (contract.RunID, error) {
	batch, err := ReadStart(d.Body, s.Defaults)
	if err != nil {
		return "", err
	}
	c := start{batch: batch, sequence: d.Sequence, at: d.StoredAt, body: d.Body, options: s.Options}
	chosen, err := s.chooseRun(ctx, c)
	if err != nil {
		return "", err
	}
	run := chosen.manifest.RunID
	state, err := readKey[contract.State](ctx, s.kv, run.StateKey())
	if err != nil {
		return "", err
	}
	halt, err := readKey[contract.Halt](ctx, s.kv, run.HaltKey())
	if err != nil {
		return "", err
	}
	action, err := decideRound(c, chosen.manifest, state, halt)
	if err != nil {
		return "", err
	}
	control := controlCommand{name: startRound, sequence: c.sequence, at: c.at}
	switch action {
	case leaveEnded:
		return run, nil
	case joinRound: // also of a process that takes up the work of a killed one
		control.name = joinRunning
		return run, s.changeControl(ctx, run, control)
	case beginRound:
	}
	if err := s.changeControl(ctx, run, control); err != nil {
		return "", err
	}
	if !chosen.create {
		if err := s.updateSettings(ctx, c, run, state.value); err != nil {
			return "", err
		}
	}
	return run, s.beginRound(ctx, chosen.manifest, state)
}

// chooseRun returns the run that a start is for, with its manifest. It creates a new run: it
// registers the run as that of its batch, then writes its manifest. It reads and decides again when
// another generator was first.
func (s *Service) chooseRun(ctx context.Context, c start) (choice, error) {
	for {
		known, err := s.readRuns(ctx, c)
		if err != nil {
			return choice{}, err
		}
		chosen, err := chooseRun(c, known)
		if err != nil || !chosen.create {
			return chosen, err
		}
		run := chosen.manifest.RunID
		collected, err := s.storedOutcomes(ctx, contract.BucketCollected, c.options.Site, c.batch.Prefix, c.batch.Year)
		if err != nil {
			return choice{}, err
		}
		chosen.manifest = c.newManifest(run, collected)
		if chosen.register {
			done, err := s.registerRun(ctx, chosen.manifest, known.registered.manifest.RunID)
			if err != nil {
				return choice{}, err
			}
			if !done {
				continue
			}
		}
		_, err = runs.PutAt(ctx, s.kv, run.ManifestKey(), chosen.manifest, 0)
		switch {
		case err == nil:
			return chosen, nil
		case !runs.IsConflict(err):
			return choice{}, fmt.Errorf("creating run %s: %w", run, err)
		case c.batch.RunID == "":
			// An earlier delivery of this start, or another generator with an equal one, has written it.
			return chosen, nil
		}
		// The run id may belong to another batch now.
	}
}

// readRuns reads what chooseRun needs to know about a start.
func (s *Service) readRuns(ctx context.Context, c start) (k knownRuns, err error) {
	if run := c.batch.RunID; run != "" {
		k.named, err = readKey[contract.Manifest](ctx, s.kv, run.ManifestKey())
	} else {
		err = s.readBatch(ctx, c, &k)
	}
	if err == nil && s.Origin != "" {
		k.storedOrigin, err = s.storedOrigin(ctx)
	}
	k.active = s.active.snapshot()
	return k, err
}

// readBatch reads the runs of the batch of a start. It reads the registered run first: if its
// manifest is not among those read later, it does not exist yet.
func (s *Service) readBatch(ctx context.Context, c start, k *knownRuns) error {
	identity := c.batch.Identity(s.Site)
	switch entry, err := s.kv.Get(ctx, contract.BatchKey(identity)); {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		return fmt.Errorf("reading the run of batch %s: %w", identity, err)
	default:
		run, err := contract.ParseRunID(string(entry.Value()))
		if err == nil { // else written by another program
			k.registered.manifest.RunID = run
			if k.registered.state, err = readKey[contract.State](ctx, s.kv, run.StateKey()); err != nil {
				return err
			}
		}
	}
	manifests, err := runs.Manifests(ctx, s.Bus)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		if m.Batch != identity {
			continue
		}
		state, err := readKey[contract.State](ctx, s.kv, m.RunID.StateKey())
		if err != nil {
			return err
		}
		k.sameBatch = append(k.sameBatch, knownRun{manifest: m, state: state})
	}
	return nil
}

// readKey reads a key of the bucket of runs. A missing or unreadable key is no error.
func readKey[T any](ctx context.Context, kv jetstream.KeyValue, key string) (found stored[T], err error) {
	found.value, found.revision, found.err = runs.Read[T](ctx, kv, key)
	if found.err != nil && !found.missing() && !found.unreadable() {
		return found, fmt.Errorf("reading %s: %w", key, found.err)
	}
	return found, nil
}

// storedOrigin returns the origin from which the first collected case with a known origin was
// fetched, or "" if there is none. Records of another site would count as collected for this one.
func (s *Service) storedOrigin(ctx context.Context) (origin string, err error) {
	seen := map[contract.RunID]bool{}
	keys := bus.Keys{Bucket: contract.BucketCollected, Filters: []string{">"}}
	err = s.Bus.Scan(ctx, keys, func(entry jetstream.KeyValueEntry) error {
		value, err := runs.Decode[contract.Collected](entry.Key(), entry.Value())
		if err != nil || seen[value.RunID] {
			return nil //nolint:nilerr // reported by the readers that need the key
		}
		seen[value.RunID] = true
		m, err := readKey[contract.Manifest](ctx, s.kv, value.RunID.ManifestKey())
		if err == nil && m.value.Origin != "" {
			origin, err = m.value.Origin, bus.ErrStop
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the site of the store: %w", err)
	}
	return origin, nil
}

// registerRun registers the run of a manifest as the one that its batch became, in place of another
// one that may be empty. It returns false if the other one is not registered any more. Without it,
// two generators could create two runs for equal starts.
func (s *Service) registerRun(
	ctx context.Context, m contract.Manifest, inPlaceOf contract.RunID,
) (registered bool, err error) {
	registered, err = runs.UpdateBytes(ctx, s.kv, contract.BatchKey(m.Batch),
		func(value []byte, err error) ([]byte, bool, error) {
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				err = nil
			}
			before, _ := contract.ParseRunID(string(value)) // "" was written by another program
			return []byte(m.RunID), before == inPlaceOf, err
		})
	if err != nil {
		return false, fmt.Errorf("registering the run of batch %s: %w", m.Batch, err)
	}
	return registered, nil
}

// updateSettings writes the settings of a start to the manifest of the run that it resumes.
func (s *Service) updateSettings(ctx context.Context, c start, run contract.RunID, state contract.State) error {
	_, err := runs.Update(ctx, s.kv, run.ManifestKey(),
		func(m contract.Manifest, err error) (contract.Manifest, bool, error) {
			return c.withSettings(m, state), err == nil, err
		})
	if err != nil {
		return fmt.Errorf("updating the settings of run %s: %w", run, err)
	}
	return nil
}

// beginRound begins a round of a run whose last state is given. It creates the consumer first, then
// removes the halt, then writes the state that all services follow. If the state has changed,
// another generator has begun the round.
func (s *Service) beginRound(ctx context.Context, m contract.Manifest, last stored[contract.State]) error {
	run := m.RunID
	if err := s.supersede(ctx, m); err != nil {
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
	next := contract.State{Status: contract.Running, At: time.Now().UTC(), Round: last.value.Round + 1,
		ElapsedSeconds: last.value.ElapsedSeconds, Requests: last.value.Requests}
	if last.value.Report != nil {
		next.Requests = last.value.Report.Requests
	}
	_, err = runs.PutAt(ctx, s.kv, run.StateKey(), next, last.revision)
	if runs.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the state of run %s: %w", run, err)
	}
	s.active.await(ctx, run)
	s.Log.Info("batch.run.start", "run_id", run, "round", last.value.Round+1)
	return s.Bus.PublishJSON(ctx, run.EventSubject("started"), contract.Event{RunID: run, At: time.Now().UTC(),
		Status: contract.Running, Range: m.Range, Listed: m.IDs.Size(), Progress: contract.StartingProgress(m)})
}

// supersede marks stopped runs of other batches with the same site, series and year as superseded,
// because their jobs would request numbers that this run collects. A later start of such a batch
// becomes a new run, which skips everything collected.
func (s *Service) supersede(ctx context.Context, by contract.Manifest) error {
	manifests, err := runs.Manifests(ctx, s.Bus)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		if m.RunID == by.RunID || m.Site != by.Site || m.Prefix != by.Prefix || m.Year != by.Year {
			continue
		}
		key := m.RunID.StateKey()
		written, err := runs.Update(ctx, s.kv, key, func(state contract.State, err error) (contract.State, bool, error) {
			if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, runs.ErrUnreadable) {
				return state, false, nil
			}
			stopped := state.Status != contract.Running && state.Resumable()
			state.Superseded = true
			return state, stopped, err
		})
		if err != nil {
			return fmt.Errorf("superseding %s: %w", m.RunID, err)
		}
		if written {
			s.Log.Info("batch.run.superseded", "run_id", m.RunID, "by", by.RunID)
		}
	}
	return nil
}
