package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

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

// finish verifies the run, writes its files and stores its end.
func (w *worker) finish(ctx context.Context, status contract.Status, reason string) error {
	// The bound may have been found since this worker started.
	var err error
	if w.manifest, err = readManifest(ctx, w.runs, w.manifest.RunID); err != nil {
		return err
	}
	collected, err := w.verify(ctx, w.tally.Sequence)
	if err != nil {
		return err
	}
	if err := w.deleteUnconfirmedKeys(ctx, collected); err != nil {
		return err
	}
	if state, err := w.state(ctx); err != nil || state.Status != contract.Running {
		return err // another reporter has ended the run: one report is enough
	}
	if status == contract.Completed && w.manifest.Bound != nil {
		reason = joinReasons(emptyRangeReason(w.manifest), reason)
	}
	s := w.summary(status, reason)
	if s.Config, err = w.settings(ctx); err != nil {
		return err
	}
	report := s.Report()
	var next int
	report.Remaining, next = countRemaining(w.manifest, w.tally.Outcomes, collected)
	report.NextCommand = w.nextCommand(status, next)
	file, err := files.WriteSummary(w.Store.WithFence(w.lease.check), report, w.results, w.manifest.Range, next, nil)
	if err != nil {
		return err
	}
	return w.endRun(ctx, report, file)
}

// emptyRangeReason returns the reason for an empty range, which starts above the bound; it is empty
// for any other range.
func emptyRangeReason(m contract.Manifest) string {
	start := m.Range.Start
	if m.Bound.Number >= start || start == 1 {
		return ""
	}
	known := "numbers below it were not requested"
	if m.Bound.Number > 0 {
		known = fmt.Sprintf("the highest record known is number %d", m.Bound.Number)
	}
	return fmt.Sprintf("start %d lies above the upper bound: no number from there on was found to exist; %s",
		start, known)
}

// compare verifies the counts and the keys against the ledger, the keys up to message keysUpTo.
// With inspected it also inspects the files; while one is wrong it does not compare the attempts
// file. It returns the collected numbers of the run's series and year.
func (w *worker) compare(
	ctx context.Context, keysUpTo uint64, inspected *files.Inspection,
) (map[int]contract.Collected, error) {
	collected, failed, err := w.readKeys(ctx)
	if err != nil {
		return nil, err
	}
	v := verify.New(w.manifest, keysUpTo)
	err = w.ledger.ReadTo(ctx, w.tally.Sequence, func(m ledger.Message) error {
		v.Read(m)
		return inspected.Read(m, collected)
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

func (w *worker) summary(status contract.Status, reason string) files.Summary {
	s := files.Summary{
		Manifest: w.manifest, Tally: &w.tally, Status: status, Reason: reason,
		Finished: w.Now(), Elapsed: w.stopwatch.elapsed(), Version: w.Version,
	}
	for number := w.manifest.Range.Start; number <= min(w.manifest.Range.End, w.tally.Outcomes.Highest()); number++ {
		if w.tally.Outcomes.Get(number) == "" && w.collectedElsewhere.Get(number) != "" {
			s.Skipped++
		}
	}
	return s
}

// cleanupTimeout bounds the cleanup after a run.
const cleanupTimeout = 5 * time.Second

// endRun makes the run's state final, clears its jobs when it cannot be resumed, and publishes and
// logs the end.
func (w *worker) endRun(ctx context.Context, report contract.Report, file string) error {
	run := w.manifest.RunID
	final, err := w.setState(ctx, report, file)
	if err != nil || !final {
		return err
	}
	// The end is public now, and a process that waited for it may stop this service: the rest is
	// still done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if !report.Status.Resumable() && !w.resumableSearch(report) || w.tally.Vanished != nil {
		if err := w.clearJobs(ctx); err != nil {
			// The run has ended all the same; leftover jobs use space and do no harm.
			w.Logger.Warn("reporter.run.clear", "run_id", run, "error", err)
		}
	}
	w.publishEvent(ctx, "finished", w.newEvent(report.Status, &report))
	if report.TooManyHeaderOnly() {
		w.Logger.Warn("batch.run.flagged", "run_id", run, "flag", contract.FlagHeaderOnly,
			"records", report.Flags[contract.FlagHeaderOnly], "of", report.SuccessCount)
	}
	w.Logger.Info("batch.run.end", "run_id", run, "outcome", report.Status, "reason", report.Reason,
		"total", report.Total, "succeeded", report.Succeeded, "no_record", report.NoRecord, "failed", report.Failed,
		"beyond", report.Beyond, "duration_seconds", report.DurationSeconds)
	return nil
}

// resumableSearch reports whether the run can be resumed although it was safe-stopped: its search
// could not finish, and no number failed.
func (w *worker) resumableSearch(report contract.Report) bool {
	return w.manifest.Searching() && report.Status == contract.SafeStop && report.Failed == 0
}

// setState ends the run. It returns false when another component has ended it already.
func (w *worker) setState(ctx context.Context, report contract.Report, file string) (bool, error) {
	key := w.manifest.RunID.StateKey()
	return runs.Update(ctx, w.runs, key, func(state contract.State, err error) (contract.State, bool, error) {
		if err != nil || state.Status != contract.Running {
			return state, false, w.stateError(err)
		}
		state.Status, state.Reason, state.At = report.Status, report.Reason, w.Now().UTC()
		state.Report, state.File, state.ElapsedSeconds = &report, file, report.DurationSeconds
		// A new run requests the voided numbers: the jobs of this one, and perhaps its bound, rest
		// on false answers.
		state.Superseded = w.tally.Vanished != nil
		state.SearchUnfinished = w.resumableSearch(report)
		return state, true, nil
	})
}

// state reads the run's state.
func (w *worker) state(ctx context.Context) (contract.State, error) {
	state, _, err := runs.Read[contract.State](ctx, w.runs, w.manifest.RunID.StateKey())
	return state, w.stateError(err)
}

// stateError returns the error of reading the run's state, nil for nil.
func (w *worker) stateError(err error) error {
	if err != nil {
		err = fmt.Errorf("reading the state of %s: %w", w.manifest.RunID, err)
	}
	return err
}

// clearJobs deletes the run's jobs and the consumer that its fetchers shared.
func (w *worker) clearJobs(ctx context.Context) error {
	run := w.manifest.RunID
	jobs, err := w.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.Purge(ctx, jetstream.WithPurgeSubject(run.JobFilter())); err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.DeleteConsumer(ctx, run.ConsumerName()); err != nil &&
		!errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	return nil
}

// fail ends the run with the status error. It also writes the summary, as far as the folder
// permits.
func (w *worker) fail(ctx context.Context, cause error) error {
	s := w.summary(contract.Errored, strings.TrimSpace(cause.Error()))
	var settingsErr error
	if s.Config, settingsErr = w.settings(ctx); settingsErr != nil {
		w.Logger.Warn("reporter.settings.unread", "run_id", w.manifest.RunID, "error", settingsErr)
		s.Config = nil
	}
	report := s.Report()
	file := ""
	if !errors.Is(cause, store.ErrNotWritable) {
		var next int
		var err error
		report.Remaining, next = countRemaining(w.manifest, w.tally.Outcomes, nil)
		if file, err = files.WriteSummary(w.Store, report, w.readResults(ctx), w.manifest.Range, next, nil); err != nil {
			return errors.Join(err, w.endRun(ctx, report, ""))
		}
	}
	return w.endRun(ctx, report, file)
}

// readResults returns the numbers that failed, as far as the ledger can be read. A run that ends by
// an error may not have verified it.
func (w *worker) readResults(ctx context.Context) []contract.CrawlResult {
	var tally fold.Tally
	var failed []contract.CrawlResult
	err := w.ledger.ReadTo(ctx, w.tally.Sequence, func(m ledger.Message) error {
		failed = append(failed, files.Failures(w.manifest, tally.AddMessage(m, w.manifest.SafeStopFails))...)
		return nil
	})
	if err != nil {
		w.Logger.Warn("reporter.audit.incomplete", "run_id", w.manifest.RunID, "error", err)
	}
	return failed
}

func (w *worker) newEvent(status contract.Status, report *contract.Report) contract.Event {
	s := files.Summary{Manifest: w.manifest, Tally: &w.tally, Finished: w.Now(), Elapsed: w.stopwatch.elapsed()}
	now := s.Report()
	event := contract.Event{
		RunID: w.manifest.RunID, At: w.Now().UTC(), Status: status, Range: s.Numbers(),
		Succeeded: now.Succeeded, NoRecord: now.NoRecord, Failed: now.Failed, Retries: now.Retries,
		Metrics: &now.Metrics, Report: report,
	}
	if p := w.tally.Planned; p != nil {
		event.Planned = p.Jobs - len(p.Beyond)
	}
	return event
}

// publishProgress publishes a progress event when there is progress, and otherwise an event with
// the reason of the wait, once for each wait.
func (w *worker) publishProgress(ctx context.Context) {
	if w.tally.Durations.Count != w.reportedAttempts {
		w.reportedAttempts, w.waitCheckedAt = w.tally.Durations.Count, time.Now()
		w.publishEvent(ctx, "progress", w.newEvent(contract.Running, nil))
		return
	}
	if time.Since(w.waitCheckedAt) < waitInterval {
		return
	}
	w.waitCheckedAt = time.Now()
	wait, err := w.fetcherWait(ctx)
	if err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", "waiting", "error", err)
	}
	if wait != nil && (w.reportedWait == nil || wait.Reason != w.reportedWait.Reason ||
		wait.Until.Sub(w.reportedWait.Until) > waitInterval) {
		w.reportedWait = wait
		event := w.newEvent(contract.Running, nil)
		event.Wait = wait
		w.publishEvent(ctx, "waiting", event)
	}
}

// fetcherWait returns why the run's fetchers wait: the wait with the earliest end; nil when none
// waits. A fetcher without a job does not wait.
func (w *worker) fetcherWait(ctx context.Context) (wait *contract.Wait, err error) {
	err = runs.EachFetcher(ctx, w.Bus, w.manifest.RunID, func(_ string, p contract.Presence) {
		if p.Wait != nil && (wait == nil || p.Wait.Until.Before(wait.Until)) {
			wait = p.Wait
		}
	})
	return wait, err
}

// publishEvent publishes an event. Events are informational: a lost one does not stop a run.
func (w *worker) publishEvent(ctx context.Context, name string, event contract.Event) {
	data, err := json.Marshal(event)
	if err == nil {
		_, err = w.Bus.Publish(ctx, &nats.Msg{Subject: w.manifest.RunID.EventSubject(name), Data: data})
	}
	if err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", name, "error", err)
	}
}
