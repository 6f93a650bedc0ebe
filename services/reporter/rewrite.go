package reporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"
	"fct-scraper/services/reporter/verify"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
	ours := func(id contract.CaseID) bool { return collected.Belongs(id.Number) }
	err = w.Store.WriteFrom(files.AttemptsName(run), func(out io.Writer) error {
		return w.refold(ctx, last, out, ours, func(string) bool { return true })
	})
	if err != nil {
		return contract.Report{}, "", err
	}
	if collected, err = w.verify(ctx, point.Tally.Sequence); err != nil {
		return contract.Report{}, "", err
	}
	if w.announced, err = w.readAnnounced(ctx); err != nil {
		return contract.Report{}, "", err
	}
	s := w.summary(state.Status, state.Reason, collected)
	if err := w.setSettings(ctx, &s); err != nil {
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
	file, err := files.WriteSummary(w.Store, s, report, next, &state)
	return report, file, err
}

// verifyStore folds the ledger and compares it with everything else that the store holds of the
// run, and with the run's last report: a ledger that lost messages must not remove lines from a
// file that still has them. It writes nothing, and returns the collected numbers of the run's
// series and year.
func (w *worker) verifyStore(
	ctx context.Context, last, keysUpTo uint64, previous *contract.Report,
) (verify.Keys, error) {
	if err := w.ledger.CheckEnd(ctx, keysUpTo); err != nil {
		return nil, err
	}
	folded := &worker{Service: w.Service, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	err := folded.ledger.ReadTo(ctx, last, func(m ledger.Message) error {
		defer m.Release()
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

func (w *worker) loadEnded(ctx context.Context, run contract.RunID) (contract.State, error) {
	var state contract.State
	var err error
	if w.buckets, err = openBuckets(ctx, w.Bus); err != nil {
		return state, err
	}
	if state, err = runs.Get[contract.State](ctx, w.runs, run.StateKey()); err != nil {
		return state, err
	}
	if state.Status == contract.Running {
		return state, fmt.Errorf("writing the report of %s: %w", run, ErrRunning)
	}
	if w.manifest, err = runs.Manifest(ctx, w.runs, run); err != nil {
		return state, err
	}
	w.ledger = ledger.Reader{Bus: w.Bus, Manifest: w.manifest, Memory: new(ledger.Memory)}
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
		if err := w.Store.WithFence(w.lease.check).WriteAll(files.Current(d.Files)); err != nil {
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

// verify is the final check of the ledger against everything that was derived from it, the keys up
// to message keysUpTo. If counts and keys agree, missing or wrong files are rewritten; a file that
// is wrong after that is store.ErrNotWritable. It returns the collected numbers of the run's series
// and year.
func (w *worker) verify(ctx context.Context, keysUpTo uint64) (verify.Keys, error) {
	inspected := files.Inspect(w.Store, w.manifest)
	collected, err := w.compare(ctx, keysUpTo, inspected)
	w.details = inspected.Details
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
func (w *worker) repair(ctx context.Context, inspected *files.Inspection, collected verify.Keys) error {
	refolder := &worker{Service: w.Service, lease: w.lease, manifest: w.manifest, ledger: w.ledger, buckets: w.buckets}
	refold := func(out io.Writer) error {
		return refolder.refold(ctx, w.tally.Sequence, out,
			func(id contract.CaseID) bool { return collected.Belongs(id.Number) },
			func(name string) bool { return inspected.WrongFiles[name] })
	}
	if !inspected.LinesWrong() {
		return refold(io.Discard)
	}
	return w.Store.WithFence(w.lease.check).WriteFrom(files.AttemptsName(w.manifest.RunID), refold)
}

// compare verifies the counts and the keys against the ledger, the keys up to message keysUpTo.
// With inspected it also inspects the files; while one is wrong it does not compare the attempts
// file. It returns the collected numbers of the run's series and year.
func (w *worker) compare(
	ctx context.Context, keysUpTo uint64, inspected *files.Inspection,
) (verify.Keys, error) {
	collected, failed, err := w.readKeys(ctx)
	if err != nil {
		return nil, err
	}
	v := verify.New(w.manifest, keysUpTo)
	err = w.ledger.ReadTo(ctx, w.tally.Sequence, func(m ledger.Message) error {
		defer m.Release()
		v.Read(m)
		return inspected.Read(m, func(id contract.CaseID) bool { return collected.Belongs(id.Number) })
	})
	if err := errors.Join(err, inspected.End()); err != nil {
		return nil, err
	}
	v.CompareCounts(countsOf(&w.tally))
	v.CompareKeys(collected, failed)
	if w.tally.Complete() {
		v.CompareRange(collected)
	}
	if inspected != nil && !inspected.LinesWrong() {
		file, err := w.Store.Reader(files.AttemptsName(w.manifest.RunID))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ledger.ErrMismatch, err)
		}
		if err := errors.Join(v.CompareAttempts(file, w.tally.Durations.Count), file.Close()); err != nil {
			return nil, err
		}
	}
	return collected, v.Result()
}

// countsOf returns what the verifier compares of a tally.
func countsOf(t *fold.Tally) verify.Counts {
	return verify.Counts{Succeeded: t.Succeeded, NoRecord: t.NoRecord, Failed: t.Failed, Retries: t.Retries,
		Requests: t.Requests, UnconfirmedCount: t.UnconfirmedCount(), Unconfirmed: t.UnconfirmedNumbers(),
		Outcomes: t.Outcomes}
}

// restore rewrites the records of the run's series and year, collected by any run, whose file is
// missing or has another size than recorded. It does so once each time the work on a run begins.
// Records whose ledger is gone are logged.
func (w *worker) restore(ctx context.Context) error {
	if *w.restored {
		return nil
	}
	wrong, err := w.wrongRecords(ctx)
	if err != nil {
		return err
	}
	for run, sizes := range wrong {
		written, err := w.restoreFrom(ctx, run, sizes)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, runs.ErrUnreadable) &&
			!errors.Is(err, ledger.ErrMismatch) {
			return err
		}
		if written > 0 {
			w.Logger.Warn("reporter.records.restored", "run_id", w.manifest.RunID, "of", run, "records", written)
		}
		if len(sizes) > 0 {
			first := w.manifest.Case(slices.Min(slices.Collect(maps.Keys(sizes))))
			w.Logger.Error("reporter.records.lost", "run_id", w.manifest.RunID, "of", run, "records", len(sizes),
				"first", first, "error", err)
		}
	}
	*w.restored = true
	return nil
}

// noFile stands for the size of a file that does not exist.
const noFile = -1

// wrongRecords returns the numbers whose file has another size than recorded, by the run that
// collected them, with the size of the file.
func (w *worker) wrongRecords(ctx context.Context) (map[contract.RunID]map[int]int64, error) {
	sizes := w.Store.Sizes()
	wrong := map[contract.RunID]map[int]int64{}
	var sizeErr error
	err := w.eachKey(ctx, contract.BucketCollected, func(number int, value contract.Collected) {
		if value.Outcome != contract.Success || sizeErr != nil {
			return
		}
		size, found, err := sizes.Of(files.CaseName(w.manifest.Case(number)))
		switch {
		case err != nil:
			sizeErr = err
			return
		case value.Size == 0 && size > 0: // collected by a version that did not store the size
			return
		case found && size == int64(value.Size):
			return
		case !found:
			size = noFile
		}
		if wrong[value.RunID] == nil {
			wrong[value.RunID] = map[int]int64{}
		}
		wrong[value.RunID][number] = size
	})
	return wrong, errors.Join(sizeErr, err, sizes.Close())
}

// restoreFrom writes records from the ledger of a run and returns how many. It deletes their numbers
// from sizes, which holds the sizes of their files. A file of the current version of a record that
// was collected as version 1 is right: only its key gets the new size.
func (w *worker) restoreFrom(ctx context.Context, run contract.RunID, sizes map[int]int64) (written int, err error) {
	manifest, err := runs.Manifest(ctx, w.runs, run)
	if err != nil {
		return 0, err
	}
	from := ledger.Reader{Bus: w.Bus, Manifest: manifest}
	last, err := from.Last(ctx)
	if err != nil {
		return 0, err
	}
	var folded fold.Tally
	var records []store.File
	var keys []*nats.Msg
	var done []int
	size := 0
	flush := func() error {
		if err := w.Store.WithFence(w.lease.check).WriteAll(records); err != nil {
			return err
		}
		if err := w.Bus.PublishBatch(ctx, keys); err != nil {
			return fmt.Errorf("writing the bucket collected: %w", err)
		}
		for _, number := range done {
			delete(sizes, number)
		}
		written += len(records)
		records, keys, done, size = nil, nil, nil, 0
		return nil
	}
	err = from.ReadTo(ctx, last, func(m ledger.Message) error {
		for _, entry := range folded.AddMessage(m, manifest.SafeStopFails) {
			number := entry.CaseID.Number
			found, wrong := sizes[number]
			record, success := files.CaseFile(entry.Entry)
			if !success || !wrong || entry.CaseID != w.manifest.Case(number) {
				continue
			}
			if current := contract.CurrentRecord(record.Data); len(current) != len(record.Data) {
				record.Data = current
				key, err := keyMessage(contract.BucketCollected, entry.CaseID.Key(), keyValue(manifest, entry))
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			if found != int64(len(record.Data)) {
				records = append(records, record)
			}
			done = append(done, number)
			size += len(record.Data)
		}
		if size >= maxBatchBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return written, fmt.Errorf("restoring records of %s: %w", run, err)
	}
	return written, flush()
}
