package reporter

import (
	"context"
	"errors"
	"io"

	"fct-scraper/pkg/contract"
)

// verified is verify at the end of a run. Where several reporters may write into one folder, one that lost its lease may have
// been in the middle of a line: the files are then written again from the ledger, and what does not agree after that is a
// mismatch.
func (w *worker) verified(ctx context.Context) (map[int]contract.Collected, error) {
	collected, err := w.verify(ctx, w.tally.Sequence)
	if !w.Shared || !errors.Is(err, ErrLedger) {
		return collected, err
	}
	if lost := w.lease.held(); lost != nil {
		return nil, lost
	}
	w.Logger.Warn("reporter.files.rewritten", "run_id", w.manifest.RunID, "error", err)
	anew := &worker{Service: w.Service, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	err = w.Store.While(w.lease.held).WriteFrom(attemptsName(w.manifest.RunID), func(out io.Writer) error {
		return anew.refold(ctx, w.tally.Sequence, out, func(contract.CaseID) bool { return true })
	})
	if err != nil {
		return nil, err
	}
	return w.verify(ctx, w.tally.Sequence)
}
