package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// finish lets the second reader check the run, writes its files and says that it has ended.
func (w *worker) finish(ctx context.Context, status contract.Status, reason string) error {
	// The bound may have been found since this worker began.
	var err error
	if w.manifest, err = readManifest(ctx, w.runs, w.manifest.RunID); err != nil {
		return err
	}
	collected, err := w.verify(ctx, w.tally.Sequence)
	if err != nil {
		return err
	}
	if err := w.retract(ctx, collected); err != nil {
		return err
	}
	if state, _, err := w.state(ctx); err != nil || state.Status != contract.Running {
		return err // another reporter was faster: one report is enough
	}
	if status == contract.Completed && w.manifest.Bound != nil {
		reason = joined(emptyRange(w.manifest), reason)
	}
	s := w.summary(status, reason)
	if s.config, err = w.settings(ctx); err != nil {
		return err
	}
	report := s.report()
	var next int
	report.Remaining, next = unsettled(w.manifest, w.tally.Outcomes, collected)
	report.NextCommand = w.nextCommand(status, next)
	file, err := writeSummary(w.Store.WithFence(w.lease.held), report, w.results, w.manifest.Range, next, nil)
	if err != nil {
		return err
	}
	return w.end(ctx, report, file)
}

// emptyRange says that the run's range has no number because it starts above the bound; empty when that is not so.
func emptyRange(m contract.Manifest) string {
	start := m.Range.Start
	if m.Bound.Number >= start || start == 1 {
		return ""
	}
	known := "numbers below it were not asked for"
	if m.Bound.Number > 0 {
		known = fmt.Sprintf("the highest record known is number %d", m.Bound.Number)
	}
	return fmt.Sprintf("start %d lies above the upper bound: no number from there on was found to exist; %s", start, known)
}

// compare holds the ledger against the counts and the keys that were derived from it, the keys as far as the message keyed. With
// look it also inspects the files, of which it judges nothing while one is wrong. It returns what is collected of the run's
// series and year.
func (w *worker) compare(ctx context.Context, keyed uint64, look *inspection) (map[int]contract.Collected, error) {
	collected, failed, err := keysOf(ctx, w)
	if err != nil {
		return nil, err
	}
	c := newCheck(w.manifest, keyed)
	err = w.ledger.readTo(ctx, w.tally.Sequence, func(m message) error {
		return errors.Join(c.read(m), look.read(m, collected))
	})
	if err := errors.Join(err, look.end()); err != nil {
		return nil, err
	}
	c.tally(&w.tally)
	c.keys(collected, failed)
	if w.tally.complete() {
		c.whole(collected)
	}
	if look != nil && !look.lines.wrong {
		file, err := w.Store.Reader(attemptsName(w.manifest.RunID))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrLedger, err)
		}
		if err := errors.Join(c.attempts(file, w.tally.Durations.Count), file.Close()); err != nil {
			return nil, err
		}
	}
	return collected, c.result()
}

func (w *worker) summary(status contract.Status, reason string) summary {
	s := summary{
		manifest: w.manifest, tally: &w.tally, status: status, reason: reason,
		finished: w.Now(), elapsed: w.watch.elapsed(), version: w.Version,
	}
	for number := w.manifest.Range.Start; number <= min(w.manifest.Range.End, w.tally.Outcomes.highest()); number++ {
		if w.tally.Outcomes.get(number) == "" && w.known.get(number) != "" {
			s.skipped++
		}
	}
	return s
}

// writeSummary writes the files that sum a run up, removes the checkpoint of a run that completed, and returns the report's name.
// Was is the state that the run ended with before, when its files are written again; else nil. The files are there when it
// returns without an error.
func writeSummary(
	output *store.Store, r contract.Report, failed []contract.CrawlResult, numbers contract.Range, next int, was *contract.State,
) (string, error) {
	audit, err := indented(auditName(r.RunID), auditOf(r, failed))
	if err != nil {
		return "", err
	}
	files := []store.File{audit}
	if r.Status == contract.Completed {
		err = output.Remove(checkpointName(r.RunID))
	} else {
		var checkpoint store.File
		checkpoint, err = indented(checkpointName(r.RunID), checkpointOf(r, numbers, next))
		files = append(files, checkpoint)
	}
	if err != nil {
		return "", err
	}
	if err := output.WriteAll(files); err != nil {
		return "", err
	}
	report, err := writeReport(output, r, was)
	if err != nil {
		return "", err
	}
	sizes, err := output.Sizes(".")
	if err != nil {
		return "", err
	}
	for _, file := range append(files, report...) {
		if size, found := sizes[file.Name]; !found || size != int64(len(file.Data)) {
			return "", output.ChangedError(file.Name)
		}
	}
	return report[0].Name, output.Check()
}

// afterwards is how long tidying up after a run may take.
const afterwards = 5 * time.Second

// end makes the run's state final, clears its jobs away when nobody will go on with it, and tells everybody.
func (w *worker) end(ctx context.Context, report contract.Report, file string) error {
	run := w.manifest.RunID
	final, err := w.setState(ctx, report, file)
	if err != nil || !final {
		return err
	}
	// The end is known to all now, and who waited for it may end this service: what is left to do is still done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	if !report.Status.Resumable() && !w.unfinished(report) || w.tally.Gone != nil {
		if err := w.clear(ctx); err != nil {
			// The run has ended all the same; what is left takes room and does no harm.
			w.Logger.Warn("reporter.run.clear", "run_id", run, "error", err)
		}
	}
	w.tell(ctx, "finished", w.event(report.Status, &report))
	if report.TooManyHeaderOnly() {
		w.Logger.Warn("batch.run.flagged", "run_id", run, "flag", contract.FlagHeaderOnly, "records", report.Flags[contract.FlagHeaderOnly],
			"of", report.SuccessCount)
	}
	w.Logger.Info("batch.run.end", "run_id", run, "outcome", report.Status, "reason", report.Reason,
		"total", report.Total, "succeeded", report.Succeeded, "no_record", report.NoRecord, "failed", report.Failed,
		"beyond", report.Beyond, "duration_seconds", report.DurationSeconds)
	return nil
}

// unfinished says that the run can be gone on with although it was safe-stopped: its search could not finish, and no number failed.
func (w *worker) unfinished(report contract.Report) bool {
	return w.manifest.Searching() && report.Status == contract.SafeStop && report.Failed == 0
}

// setState ends the run unless somebody else has done so already; then it is false.
func (w *worker) setState(ctx context.Context, report contract.Report, file string) (bool, error) {
	for {
		state, revision, err := w.state(ctx)
		if err != nil {
			return false, err
		}
		if state.Status != contract.Running {
			return false, nil
		}
		state.Status, state.Reason, state.At = report.Status, report.Reason, w.Now().UTC()
		state.Report, state.File, state.ElapsedSeconds = &report, file, report.DurationSeconds
		// What was taken back is asked for by a new run: this one has its jobs, and perhaps its bound, by what was not true.
		state.Superseded = w.tally.Gone != nil
		state.SearchUnfinished = w.unfinished(report)
		data, err := json.Marshal(state)
		if err != nil {
			return false, fmt.Errorf("ending %s: %w", w.manifest.RunID, err)
		}
		_, err = w.runs.Update(ctx, w.manifest.RunID.StateKey(), data, revision)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err == nil, err
		}
	}
}

// state reads how the run stands, and the revision of that.
func (w *worker) state(ctx context.Context) (state contract.State, revision uint64, err error) {
	entry, err := w.runs.Get(ctx, w.manifest.RunID.StateKey())
	if err == nil {
		revision = entry.Revision()
		state, err = runs.Decode[contract.State](entry.Key(), entry.Value())
	}
	if err != nil {
		err = fmt.Errorf("reading the state of %s: %w", w.manifest.RunID, err)
	}
	return state, revision, err
}

// clear removes the run's jobs and the consumer that its fetchers shared.
func (w *worker) clear(ctx context.Context) error {
	run := w.manifest.RunID
	jobs, err := w.Bus.JetStream().Stream(ctx, contract.StreamJobs)
	if err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.Purge(ctx, jetstream.WithPurgeSubject(run.JobFilter())); err != nil {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	if err := jobs.DeleteConsumer(ctx, run.ConsumerName()); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("clearing the jobs of %s: %w", run, err)
	}
	return nil
}

// fail ends the run with the status error. The summary is written too, as far as the folder lets it: a run
// never ends without a word.
func (w *worker) fail(ctx context.Context, cause error) error {
	s := w.summary(contract.Errored, strings.TrimSpace(cause.Error()))
	var wrong error
	if s.config, wrong = w.settings(ctx); wrong != nil {
		w.Logger.Warn("reporter.settings.unread", "run_id", w.manifest.RunID, "error", wrong)
		s.config = nil
	}
	report := s.report()
	file := ""
	if !errors.Is(cause, store.ErrNotWritable) {
		var next int
		var err error
		report.Remaining, next = unsettled(w.manifest, w.tally.Outcomes, nil)
		if file, err = writeSummary(w.Store, report, w.readResults(ctx), w.manifest.Range, next, nil); err != nil {
			return errors.Join(err, w.end(ctx, report, ""))
		}
	}
	return w.end(ctx, report, file)
}

// readResults are the numbers that failed, as far as the ledger can be read: a run that ends by an error has not read it for its files.
func (w *worker) readResults(ctx context.Context) []contract.CrawlResult {
	i := inspection{manifest: w.manifest}
	err := w.ledger.readTo(ctx, w.tally.Sequence, func(m message) error {
		i.fold(m)
		return nil
	})
	if err != nil {
		w.Logger.Warn("reporter.audit.incomplete", "run_id", w.manifest.RunID, "error", err)
	}
	return i.results
}

func (w *worker) event(status contract.Status, report *contract.Report) contract.Event {
	s := summary{manifest: w.manifest, tally: &w.tally, finished: w.Now(), elapsed: w.watch.elapsed()}
	now := s.report()
	event := contract.Event{
		RunID: w.manifest.RunID, At: w.Now().UTC(), Status: status, Range: s.numbers(),
		Succeeded: now.Succeeded, NoRecord: now.NoRecord, Failed: now.Failed, Retries: now.Retries, Metrics: &now.Metrics, Report: report,
	}
	if p := w.tally.Planned; p != nil {
		event.Planned = p.Jobs - len(p.Beyond)
	}
	return event
}

// tellProgress tells how far the run is when that has changed, and else why it waits, once for each wait.
func (w *worker) tellProgress(ctx context.Context) {
	if w.tally.Durations.Count != w.told {
		w.told, w.stood = w.tally.Durations.Count, time.Now()
		w.tell(ctx, "progress", w.event(contract.Running, nil))
		return
	}
	if time.Since(w.stood) < waitInterval {
		return
	}
	w.stood = time.Now()
	wait, err := w.standstill(ctx)
	if err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", "waiting", "error", err)
	}
	if wait != nil && (w.wait == nil || wait.Reason != w.wait.Reason || wait.Until.Sub(w.wait.Until) > waitInterval) {
		w.wait = wait
		event := w.event(contract.Running, nil)
		event.Wait = wait
		w.tell(ctx, "waiting", event)
	}
}

// standstill is why fetchers of the run that makes no progress wait, with the earliest end; nil when none waits. One that holds no
// job does not.
func (w *worker) standstill(ctx context.Context) (wait *contract.Wait, err error) {
	err = runs.EachFetcher(ctx, w.Bus, w.manifest.RunID, func(_ string, p contract.Presence) {
		if p.Wait != nil && (wait == nil || p.Wait.Until.Before(wait.Until)) {
			wait = p.Wait
		}
	})
	return wait, err
}

// tell publishes an event. Events are news for people: one that is lost must not stop a run.
func (w *worker) tell(ctx context.Context, name string, event contract.Event) {
	data, err := json.Marshal(event)
	if err == nil {
		_, err = w.Bus.Publish(ctx, &nats.Msg{Subject: w.manifest.RunID.EventSubject(name), Data: data})
	}
	if err != nil {
		w.Logger.Warn("reporter.event.lost", "run_id", w.manifest.RunID, "event", name, "error", err)
	}
}
