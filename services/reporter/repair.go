package reporter

import (
	"context"
	"io"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/reporter/files"
)

// verify is the final check of the ledger against everything that was derived from it, the keys up
// to message keysUpTo. If counts and keys agree, missing or wrong files are rewritten; a file that
// is wrong after that is store.ErrNotWritable. It returns the collected numbers of the run's series
// and year.
func (w *worker) verify(ctx context.Context, keysUpTo uint64) (map[int]contract.Collected, error) {
	inspected := files.Inspect(w.Store, w.manifest)
	collected, err := w.compare(ctx, keysUpTo, inspected)
	w.results = inspected.Failed
	if err != nil || inspected.FirstWrong() == "" {
		return collected, err
	}
	if err := w.lease.check(); err != nil {
		return nil, err
	}
	w.Logger.Warn("reporter.files.rewritten", "run_id", w.manifest.RunID, "first", inspected.FirstWrong(),
		"files", len(inspected.WrongFiles), "attempts", inspected.LinesWrong())
	if err := w.repair(ctx, inspected, collected); err != nil {
		return nil, err
	}
	inspected = files.Inspect(w.Store, w.manifest)
	if collected, err = w.compare(ctx, keysUpTo, inspected); err == nil && inspected.FirstWrong() != "" {
		err = w.Store.ChangedError(inspected.FirstWrong())
	}
	return collected, err
}

// repair rewrites the files that an inspection found wrong.
func (w *worker) repair(ctx context.Context, inspected *files.Inspection, collected map[int]contract.Collected) error {
	refolder := &worker{Service: w.Service, lease: w.lease, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	refold := func(out io.Writer) error {
		return refolder.refold(ctx, w.tally.Sequence, out,
			func(id contract.CaseID) bool { return files.OwnsRecord(collected, id, w.manifest.RunID) },
			func(name string) bool { return inspected.WrongFiles[name] })
	}
	if !inspected.LinesWrong() {
		return refold(io.Discard)
	}
	return w.Store.WithFence(w.lease.check).WriteFrom(files.AttemptsName(w.manifest.RunID), refold)
}
