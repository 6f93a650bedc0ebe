package reporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

// restore rewrites the records of the run's series and year, collected by any run, whose file is
// missing or has another size than recorded. It does so once each time the work on a run begins.
// Records whose ledger is gone are logged.
func (w *worker) restore(ctx context.Context) error {
	if *w.restored {
		return nil
	}
	missing, err := w.missingRecords(ctx)
	if err != nil {
		return err
	}
	for run, numbers := range missing {
		wanted := len(numbers)
		err := w.restoreFrom(ctx, run, numbers)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, runs.ErrUnreadable) &&
			!errors.Is(err, ledger.ErrMismatch) {
			return err
		}
		if written := wanted - len(numbers); written > 0 {
			w.Logger.Warn("reporter.records.restored", "run_id", w.manifest.RunID, "of", run, "records", written)
		}
		if len(numbers) > 0 {
			first := w.manifest.Case(slices.Min(slices.Collect(maps.Keys(numbers))))
			w.Logger.Error("reporter.records.lost", "run_id", w.manifest.RunID, "of", run, "records", len(numbers),
				"first", first, "error", err)
		}
	}
	*w.restored = true
	return nil
}

// missingRecords returns the numbers whose records must be rewritten, by the run that collected
// them.
func (w *worker) missingRecords(ctx context.Context) (map[contract.RunID]map[int]bool, error) {
	sizes, err := w.Store.Sizes(files.CasesFolder(w.manifest.Prefix, w.manifest.Year))
	if err != nil {
		return nil, err
	}
	missing := map[contract.RunID]map[int]bool{}
	err = w.eachKey(ctx, contract.BucketCollected, func(number int, value contract.Collected) {
		size, found := sizes[path.Base(files.CaseName(w.manifest.Case(number)))]
		switch {
		case value.Outcome != contract.Success:
			return
		case value.Size == 0 && size > 0: // collected by a version that did not store the size
			return
		case found && size == int64(value.Size):
			return
		}
		if missing[value.RunID] == nil {
			missing[value.RunID] = map[int]bool{}
		}
		missing[value.RunID][number] = true
	})
	return missing, err
}

// restoreFrom writes records from the ledger of a run, and deletes the numbers that it wrote from
// numbers.
func (w *worker) restoreFrom(ctx context.Context, run contract.RunID, numbers map[int]bool) error {
	manifest, err := readManifest(ctx, w.runs, run)
	if err != nil {
		return err
	}
	from := ledger.Reader{Bus: w.Bus, Manifest: manifest}
	last, err := from.Last(ctx)
	if err != nil {
		return err
	}
	var folded fold.Tally
	var records []store.File
	var written []int
	size := 0
	flush := func() error {
		if err := w.Store.WithFence(w.lease.check).WriteAll(records); err != nil {
			return err
		}
		for _, number := range written {
			delete(numbers, number)
		}
		records, written, size = nil, nil, 0
		return nil
	}
	err = from.ReadTo(ctx, last, func(m ledger.Message) error {
		for _, entry := range folded.AddMessage(m, manifest.SafeStopFails) {
			number := entry.CaseID.Number
			record, found := files.CaseFile(entry.Entry)
			if !found || !numbers[number] || entry.CaseID != w.manifest.Case(number) {
				continue
			}
			records, written = append(records, record), append(written, number)
			size += len(record.Data)
		}
		if size >= maxBatchBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("restoring records of %s: %w", run, err)
	}
	return flush()
}
