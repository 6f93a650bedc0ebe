package reporter

import (
	"context"
	"io"
	"maps"
	"slices"

	"fct-scraper/pkg/contract"
)

// verify is the final check: the ledger against everything that was derived from it, the keys as far as the message keyed. When the
// ledger agrees with counts and keys, files that are missing or wrong are written again from it; what is wrong after that is
// store.ErrNotWritable. It returns what is collected of the run's series and year.
func (w *worker) verify(ctx context.Context, keyed uint64) (map[int]contract.Collected, error) {
	look := w.inspect()
	collected, err := w.compare(ctx, keyed, look)
	w.results = look.results
	if err != nil || look.wrong() == "" {
		return collected, err
	}
	if lost := w.lease.held(); lost != nil {
		return nil, lost
	}
	w.Logger.Warn("reporter.files.rewritten", "run_id", w.manifest.RunID, "first", look.wrong(), "files", len(look.files), "attempts", look.lines.wrong)
	if err := w.mend(ctx, look, collected); err != nil {
		return nil, err
	}
	look = w.inspect()
	if collected, err = w.compare(ctx, keyed, look); err == nil && look.wrong() != "" {
		err = w.Store.ChangedError(look.wrong())
	}
	return collected, err
}

// mend writes again what an inspection found wrong.
func (w *worker) mend(ctx context.Context, look *inspection, collected map[int]contract.Collected) error {
	anew := &worker{Service: w.Service, lease: w.lease, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	refold := func(out io.Writer) error {
		return anew.refold(ctx, w.tally.Sequence, out,
			func(id contract.CaseID) bool { return owned(collected, id, w.manifest.RunID) },
			func(name string) bool { return look.files[name] })
	}
	if !look.lines.wrong {
		return refold(io.Discard)
	}
	return w.Store.WithFence(w.lease.held).WriteFrom(attemptsName(w.manifest.RunID), refold)
}

// owned says whether the record of a case is the run's: no other run has collected it since.
func owned(collected map[int]contract.Collected, id contract.CaseID, run contract.RunID) bool {
	value, found := collected[id.Number]
	return !found || value.RunID == run
}

// wrong is the name of a file that is missing or wrong; empty when none is.
func (i *inspection) wrong() string {
	if i.lines.wrong {
		return attemptsName(i.manifest.RunID)
	}
	for _, name := range slices.Sorted(maps.Keys(i.files)) {
		return name
	}
	return ""
}
