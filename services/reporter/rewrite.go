package reporter

import (
	"context"
	"fmt"
	"io"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
)

// Rewrite rewrites every file of a run from its ledger: records, raw answers, attempts, audit and
// report. It leaves alone a record that another run has collected since. It returns the report and
// the name of its file. A running run is ErrRunning. If the ledger and what was derived from it do
// not agree it writes nothing and returns ledger.ErrMismatch.
func Rewrite(ctx context.Context, options Options, run contract.RunID) (contract.Report, string, error) {
	w := &worker{Service: New(options), stopwatch: &stopwatch{}}
	state, err := w.loadEnded(ctx, run)
	if err != nil {
		return contract.Report{}, "", err
	}
	release, err := Claim(ctx, w.Options, w.manifest.Prefix, w.manifest.Year)
	if err != nil {
		return contract.Report{}, "", err
	}
	defer func() { _ = release() }()
	last, err := w.ledger.Last(ctx)
	if err != nil {
		return contract.Report{}, "", err
	}
	// Outcomes that came after the run had stopped, or that could not be written, get their keys
	// when the run resumes.
	point, err := w.loadCheckpoint(ctx)
	if err != nil {
		return contract.Report{}, "", err
	}
	collected, err := w.verifyStore(ctx, last, point.Tally.Sequence, state.Report)
	if err != nil {
		return contract.Report{}, "", fmt.Errorf("nothing was written: %w", err)
	}
	ours := func(id contract.CaseID) bool { return files.OwnsRecord(collected, id, run) }
	err = w.Store.WriteFrom(files.AttemptsName(run), func(out io.Writer) error {
		return w.refold(ctx, last, out, ours, func(string) bool { return true })
	})
	if err != nil {
		return contract.Report{}, "", err
	}
	if collected, err = w.verify(ctx, point.Tally.Sequence); err != nil {
		return contract.Report{}, "", err
	}
	s := w.summary(state.Status, state.Reason)
	if s.Config, err = w.settings(ctx); err != nil {
		return contract.Report{}, "", err
	}
	s.Finished, s.Elapsed = w.tally.Last, seconds(max(point.Elapsed, state.ElapsedSeconds))
	if state.Report != nil {
		s.Finished, s.Elapsed = state.Report.FinishedAt, seconds(state.Report.DurationSeconds)
	}
	report := s.Report()
	remaining, next := countRemaining(w.manifest, w.tally.Outcomes, collected)
	if report.Remaining = remaining; state.Report != nil {
		report.NextCommand = state.Report.NextCommand
	}
	file, err := files.WriteSummary(w.Store, report, w.results, w.manifest.Range, next, &state)
	return report, file, err
}

// verifyStore folds the ledger and compares it with everything else that the store holds of the
// run, and with the run's last report: a ledger that lost messages must not remove lines from a
// file that still has them. It writes nothing, and returns the collected numbers of the run's
// series and year.
func (w *worker) verifyStore(
	ctx context.Context, last, keysUpTo uint64, previous *contract.Report,
) (map[int]contract.Collected, error) {
	if err := w.ledger.CheckEnd(ctx, keysUpTo); err != nil {
		return nil, err
	}
	folded := &worker{Service: w.Service, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	err := folded.ledger.ReadTo(ctx, last, func(m ledger.Message) error {
		folded.tally.AddMessage(m, w.manifest.SafeStopFails)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t := folded.tally; previous != nil && (t.Total() < previous.TotalAttempted || t.Requests < previous.Requests) {
		return nil, fmt.Errorf("%w: stream %s holds %d outcomes and %d requests of the run, its report says %d and %d",
			ledger.ErrMismatch, contract.StreamOutcomes, t.Total(), t.Requests, previous.TotalAttempted, previous.Requests)
	}
	return folded.compare(ctx, keysUpTo, nil)
}

// loadEnded reads a run that has ended.
func (w *worker) loadEnded(ctx context.Context, run contract.RunID) (contract.State, error) {
	var state contract.State
	var err error
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return state, err
	}
	entry, err := w.runs.Get(ctx, run.StateKey())
	if err == nil {
		state, err = runs.Decode[contract.State](entry.Key(), entry.Value())
	}
	if err != nil {
		return state, fmt.Errorf("reading the state of %s: %w", run, err)
	}
	if state.Status == contract.Running {
		return state, fmt.Errorf("writing the report of %s: %w", run, ErrRunning)
	}
	if w.manifest, err = readManifest(ctx, w.runs, run); err != nil {
		return state, err
	}
	w.ledger = ledger.Reader{Bus: w.Bus, Manifest: w.manifest}
	return state, w.loadKeys(ctx)
}

// refold folds the complete ledger. It writes the files that wanted selects, records only if ours
// reports true, and all lines of the attempts file to out.
func (w *worker) refold(
	ctx context.Context, last uint64, out io.Writer, ours func(contract.CaseID) bool, wanted func(name string) bool,
) error {
	var fresh []fold.Counted
	size := 0
	flush := func() error {
		d, err := files.Derive(w.manifest, fresh, ours)
		if err != nil {
			return err
		}
		fresh, size = nil, 0
		d.Files = slices.DeleteFunc(d.Files, func(f store.File) bool { return !wanted(f.Name) })
		if err := w.Store.WithFence(w.lease.check).WriteAll(d.Files); err != nil {
			return err
		}
		_, err = out.Write(d.Lines)
		return err
	}
	err := w.ledger.ReadTo(ctx, last, func(m ledger.Message) error {
		fresh = append(fresh, w.tally.AddMessage(m, w.manifest.SafeStopFails)...)
		if size += m.Size; size >= maxBatchBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
