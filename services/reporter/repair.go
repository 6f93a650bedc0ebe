package reporter

import (
	"context"
	"io"
	"maps"
	"slices"

	"fct-scraper/pkg/contract"
)

// verify is the final check of the ledger against everything that was derived from it, the keys up
// to message keysUpTo. If counts and keys agree, missing or wrong files are rewritten; a file that
// is wrong after that is store.ErrNotWritable. It returns the collected numbers of the run's series
// and year.
func (w *worker) verify(ctx context.Context, keysUpTo uint64) (map[int]contract.Collected, error) {
	inspected := w.inspect()
	collected, err := w.compare(ctx, keysUpTo, inspected)
	w.results = inspected.failed
	if err != nil || inspected.firstWrong() == "" {
		return collected, err
	}
	if err := w.lease.check(); err != nil {
		return nil, err
	}
	w.Logger.Warn("reporter.files.rewritten", "run_id", w.manifest.RunID, "first", inspected.firstWrong(),
		"files", len(inspected.wrongFiles), "attempts", inspected.lines.wrong)
	if err := w.repair(ctx, inspected, collected); err != nil {
		return nil, err
	}
	inspected = w.inspect()
	if collected, err = w.compare(ctx, keysUpTo, inspected); err == nil && inspected.firstWrong() != "" {
		err = w.Store.ChangedError(inspected.firstWrong())
	}
	return collected, err
}

// repair rewrites the files that an inspection found wrong.
func (w *worker) repair(ctx context.Context, inspected *inspection, collected map[int]contract.Collected) error {
	refolder := &worker{Service: w.Service, lease: w.lease, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	refold := func(out io.Writer) error {
		return refolder.refold(ctx, w.tally.Sequence, out,
			func(id contract.CaseID) bool { return ownsRecord(collected, id, w.manifest.RunID) },
			func(name string) bool { return inspected.wrongFiles[name] })
	}
	if !inspected.lines.wrong {
		return refold(io.Discard)
	}
	return w.Store.WithFence(w.lease.check).WriteFrom(attemptsName(w.manifest.RunID), refold)
}

// ownsRecord reports whether the record of a case belongs to the run: no other run has collected it
// since.
func ownsRecord(collected map[int]contract.Collected, id contract.CaseID, run contract.RunID) bool {
	value, found := collected[id.Number]
	return !found || value.RunID == run
}

// firstWrong returns the name of a file that is missing or wrong; empty when there is none.
func (i *inspection) firstWrong() string {
	if i.lines.wrong {
		return attemptsName(i.manifest.RunID)
	}
	for _, name := range slices.Sorted(maps.Keys(i.wrongFiles)) {
		return name
	}
	return ""
}
