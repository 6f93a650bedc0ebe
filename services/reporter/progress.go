package reporter

import (
	"context"
	"encoding/json"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/files"

	"github.com/nats-io/nats.go"
)

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
