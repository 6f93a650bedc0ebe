package generator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// newRunID derives the id of a run from its batch and the command that started it, so that a
// redelivered command yields the same id and a new store does not reuse the ids of an earlier one.
func newRunID(batch contract.Batch, at time.Time, sequence uint64) contract.RunID {
	return contract.RunID(strings.ToLower(batch.Prefix) + "-" + batch.Year + "-" +
		at.UTC().Format("20060102t150405z") + "-" +
		strconv.FormatUint(sequence, 10) + "-" + strconv.FormatInt(int64(at.Nanosecond()), 36))
}

// findRun returns the run that a batch continues: the run that it names, else the newest resumable
// run of the same batch. Its error is jetstream.ErrKeyNotFound if there is none, and wraps
// ErrCommand if the named run belongs to another batch.
func (s *Service) findRun(ctx context.Context, batch contract.Batch) (contract.Manifest, error) {
	identity := batch.Identity(s.Site)
	if batch.RunID != "" {
		manifest, err := runs.Manifest(ctx, s.kv, batch.RunID)
		if errors.Is(err, runs.ErrUnreadable) {
			return manifest, invalid(conflict("run_id", batch.RunID, err.Error(), "a new id"))
		}
		if err == nil && (manifest.Batch != identity || s.usesOtherSite(manifest)) {
			return manifest, invalid(conflict("run_id", batch.RunID,
				"it is a run of another batch ("+describeRange(manifest)+")", "a new id, or the same batch"))
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
		resumable, err := s.resumable(ctx, manifest.RunID)
		if err != nil {
			return manifest, err
		}
		if resumable {
			found = manifest
		}
	}
	if found.RunID == "" {
		return found, jetstream.ErrKeyNotFound
	}
	return found, nil
}

// resumable reports whether a run can be resumed. This includes a run whose start was interrupted
// before its state was written.
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

// updateSettings applies the settings of a start to the run that it resumes. Those that identify the
// batch are equal. For a running or ended run it only checks that the settings agree.
func (s *Service) updateSettings(
	ctx context.Context, m contract.Manifest, batch contract.Batch, d bus.Delivery[[]byte],
) (contract.Manifest, error) {
	state, err := runs.Get[contract.State](ctx, s.kv, m.RunID.StateKey())
	if err == nil && !state.Resumable() || err == nil && state.Status == contract.Running {
		return m, checkSameSettings(m, batch)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, runs.ErrUnreadable) {
		return m, err
	}
	m.RunSettings, m.Config, m.Program = batch.RunSettings, s.Config, s.Program
	m.Command = commandBody(d)
	if m.Searching() { // once the bound is known, the jobs that depend on these fields must not change
		m.RecheckBefore = d.StoredAt.UTC().Add(-s.BoundMaxAge)
		if state.SearchUnfinished && state.Report != nil {
			m.ProbeSpent = state.Report.ProbesUsed
		}
	}
	return m, runs.Put(ctx, s.kv, m.RunID.ManifestKey(), m)
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
			stopped := err == nil && state.Status != contract.Running && state.Resumable()
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

// checkSameSettings rejects a batch that names a running or ended run but has different settings.
// Without the error, the sender would assume that its settings apply. A start without a run id just
// joins the run.
func checkSameSettings(m contract.Manifest, b contract.Batch) error {
	if b.RunID == "" {
		return nil
	}
	running := b
	running.RunSettings = m.RunSettings
	var problems []contract.Problem
	for _, f := range contract.BatchFields() {
		if has, given := f.Value(running), f.Value(b); has != given {
			problems = append(problems, conflict(f.Name, given,
				fmt.Sprintf("run %s has %v", m.RunID, has), fmt.Sprintf("%v, or a new run_id", has)))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return invalid(problems...)
}

// checkNotStopping rejects the start of a run that was stopped but has not ended yet. The start
// would join a run that ends in a moment, while its sender expects a running one.
func (s *Service) checkNotStopping(ctx context.Context, run contract.RunID) error {
	entry, err := s.kv.Get(ctx, run.HaltKey())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading the halt of run %s: %w", run, err)
	case runs.DecodeHalt(entry).Status != contract.Stopped:
		return nil // halted by the site or by a safe stop, which would happen again
	}
	return invalid(conflict("run_id", run, "it is being stopped", "the same start after the finished event of the run"))
}

func conflict(field string, value any, reason, allowed string) contract.Problem {
	return contract.Problem{Field: field, Value: quote(fmt.Append(nil, value)), Reason: reason, Allowed: allowed}
}

// describeRange describes the numbers of a run.
func describeRange(m contract.Manifest) string {
	return fmt.Sprintf("%s-%s, %d to %d", m.Prefix, m.Year, m.Range.Start, m.Range.End)
}
