package generator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// claimBatch makes the manifest's run the one of its batch and returns its id, or that of the run that another generator was first
// with. Looking for a run and making one are two steps; without this, two generators made two runs of equal starts.
func (s *Service) claimBatch(ctx context.Context, m contract.Manifest) (contract.RunID, error) {
	key := contract.BatchKey(m.Batch)
	for {
		entry, err := s.kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			_, err = s.kv.Create(ctx, key, []byte(m.RunID))
		case err == nil:
			var open bool
			run, wrong := contract.ParseRunID(string(entry.Value()))
			if wrong == nil { // else not written by this program
				if open, err = s.resumable(ctx, run); err != nil || open {
					return run, err
				}
			}
			_, err = s.kv.Update(ctx, key, []byte(m.RunID), entry.Revision())
		}
		if err == nil {
			return m.RunID, nil
		}
		if !lostRace(err) {
			return "", fmt.Errorf("claiming batch %s: %w", m.Batch, err)
		}
	}
}

// lostRace says that somebody else has written first.
func lostRace(err error) bool {
	var refused *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// readState is how a run stands and the revision that says so; 0 when nothing does yet.
func (s *Service) readState(ctx context.Context, run contract.RunID) (state contract.State, revision uint64, err error) {
	entry, err := s.kv.Get(ctx, run.StateKey())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return state, 0, nil
	}
	if err == nil {
		revision = entry.Revision()
		state, err = runs.Decode[contract.State](entry.Key(), entry.Value())
	}
	if errors.Is(err, runs.ErrUnreadable) {
		return state, 0, invalid(conflict("run_id", run, err.Error(), "a new id, or the same once nats kv del runs "+run.StateKey()+" has removed it"))
	}
	if err != nil {
		return state, 0, fmt.Errorf("reading the state of run %s: %w", run, err)
	}
	return state, revision, nil
}

// updateState writes a state over the one of a revision; first is false when somebody else has written since.
func (s *Service) updateState(ctx context.Context, run contract.RunID, state contract.State, over uint64) (first bool, err error) {
	value, err := json.Marshal(state)
	if err != nil {
		return false, fmt.Errorf("writing the state of run %s: %w", run, err)
	}
	if over == 0 {
		_, err = s.kv.Create(ctx, run.StateKey(), value)
	} else {
		_, err = s.kv.Update(ctx, run.StateKey(), value, over)
	}
	switch {
	case err == nil:
		return true, nil
	case lostRace(err):
		return false, nil
	default:
		return false, fmt.Errorf("writing the state of run %s: %w", run, err)
	}
}
