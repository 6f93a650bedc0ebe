package generator

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// newRunID names a run after its batch and the command that started it, so that a command delivered twice names the
// same run, and a store that was begun anew does not name it like a run of the one before.
func newRunID(batch Batch, at time.Time, sequence uint64) contract.RunID {
	return contract.RunID(strings.ToLower(batch.Prefix) + "-" + batch.Year + "-" +
		at.UTC().Format("20060102t150405z") + "-" + strconv.FormatUint(sequence, 10) + "-" + strconv.FormatInt(int64(at.Nanosecond()), 36))
}

// findRun is the run that the batch goes on with: the one it names, else one of the same batch that was not finished.
// None is jetstream.ErrKeyNotFound; a name that another batch has is ErrCommand.
func (s *Service) findRun(ctx context.Context, batch Batch) (contract.Manifest, error) {
	identity := batch.Identity(s.Site)
	if batch.RunID != "" {
		manifest, err := runs.Manifest(ctx, s.kv, batch.RunID)
		if errors.Is(err, runs.ErrUnreadable) {
			return manifest, invalid(conflict("run_id", batch.RunID, err.Error(), "a new id"))
		}
		if err == nil && (manifest.Batch != identity || s.usesOtherSite(manifest)) {
			return manifest, invalid(conflict("run_id", batch.RunID, "it is a run of another batch ("+describeRange(manifest)+")", "a new id, or the same batch"))
		}
		return manifest, err
	}
	manifests, err := runs.Manifests(ctx, s.Bus)
	if err != nil {
		return contract.Manifest{}, err
	}
	var found contract.Manifest
	for _, manifest := range manifests {
		if manifest.Batch != identity || s.usesOtherSite(manifest) || manifest.CreatedAt.Before(found.CreatedAt) {
			continue
		}
		open, err := s.resumable(ctx, manifest.RunID)
		if err != nil {
			return manifest, err
		}
		if open {
			found = manifest
		}
	}
	if found.RunID == "" {
		return found, jetstream.ErrKeyNotFound
	}
	return found, nil
}

// resumable says whether a run can be gone on with; one whose start was cut off before its state was written can.
func (s *Service) resumable(ctx context.Context, run contract.RunID) (bool, error) {
	state, err := runs.Get[contract.State](ctx, s.kv, run.StateKey())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return true, nil
	case errors.Is(err, runs.ErrUnreadable):
		return false, nil // its reporter ends it
	}
	return err == nil && state.Resumable(), err
}

// updateSettings gives a run that is gone on with the settings of the batch as it is started now. What makes it that batch stays.
func (s *Service) updateSettings(ctx context.Context, m contract.Manifest, batch Batch, d bus.Delivery[[]byte]) (contract.Manifest, error) {
	state, err := runs.Get[contract.State](ctx, s.kv, m.RunID.StateKey())
	if err == nil && !state.Resumable() || err == nil && state.Status == contract.Running {
		return m, checkSameSettings(m, batch)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, runs.ErrUnreadable) {
		return m, err
	}
	m.MaxRetries, m.SafeStopNoRecords, m.SafeStopFails = batch.MaxRetries, batch.SafeStopNoRecords, batch.SafeStopFails
	m.RequestTimeout, m.JobTimeout = batch.RequestTimeout, batch.JobTimeout
	m.PersistRawHTML, m.ProbeBudget, m.Config, m.Program = batch.PersistRawHTML, batch.ProbeBudget, s.Config, s.Program
	m.Command = commandBody(d)
	if m.Searching() { // once the bound is known, the jobs that follow from it stay the same
		m.RecheckBefore = d.StoredAt.UTC().Add(-s.BoundMaxAge)
		if state.SearchUnfinished && state.Report != nil {
			m.ProbeSpent = state.Report.ProbesUsed
		}
	}
	return m, s.putJSON(ctx, m.RunID.ManifestKey(), m)
}

// supersede closes the runs of other batches that were stopped and ask for the same series and year: their jobs would ask
// for what this run collects. Started again, such a batch becomes a new run, which leaves out all that is collected.
func (s *Service) supersede(ctx context.Context, by contract.Manifest) error {
	manifests, err := runs.Manifests(ctx, s.Bus)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		if m.RunID == by.RunID || m.Site != by.Site || m.Prefix != by.Prefix || m.Year != by.Year {
			continue
		}
		state, err := runs.Get[contract.State](ctx, s.kv, m.RunID.StateKey())
		if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, runs.ErrUnreadable) {
			continue
		}
		if err != nil {
			return err
		}
		if state.Status == contract.Running || !state.Resumable() {
			continue
		}
		state.Superseded = true
		if err := s.putJSON(ctx, m.RunID.StateKey(), state); err != nil {
			return err
		}
		s.Log.Info("batch.run.superseded", "run_id", m.RunID, "by", by.RunID)
	}
	return nil
}
