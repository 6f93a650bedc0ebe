package fetcher

import (
	"context"
	"errors"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher/limit"
)

// errNotReached is the reason of returning a job at once: no request was sent for it.
var errNotReached = errors.New("the site was not reached")

// recordConnection records what an attempt shows about the connection to the site, and reports
// whether the attempt does not count because the site was not reached so far. It ends the run if no
// fetcher of the run has reached the site and the time for tries is over. In the first exchange
// after failures it fills in for how long they held it.
func (w *runWorker) recordConnection(id contract.CaseID, exchanges []contract.Exchange, aborted bool) bool {
	result := w.reachability.Record(id.Number, exchanges, aborted)
	switch {
	case result.IsFirstFailure:
		w.Log.Warn("site.unreachable", "run_id", w.manifest.RunID, "site", w.SiteName, "reason", result.Cause,
			"tried_until", result.FirstFailure.Add(w.Backoff.Max).UTC().Round(time.Second))
	case result.Reached:
		if !result.FirstFailure.IsZero() {
			held := exchanges[0].StartedAt.Sub(result.FirstFailure).Seconds()
			exchanges[0].WaitedSeconds = max(exchanges[0].WaitedSeconds, held)
			exchanges[0].SlowedSeconds = max(exchanges[0].SlowedSeconds, held)
			w.Log.Info("site.reached", "run_id", w.manifest.RunID, "site", w.SiteName, "after_seconds", held)
		}
		if w.Shared {
			w.refreshPresence()
		}
	}
	if result.TimeUp {
		w.endUnreachableRun(result.Cause)
	}
	return result.Unsent
}

// endUnreachableRun ends the run with a safe stop, unless another fetcher of the run has reached
// the site.
func (w *runWorker) endUnreachableRun(cause string) {
	ctx := context.WithoutCancel(w.finishCtx)
	reachedByOther, err := w.reachedByOther(ctx)
	if err != nil {
		w.Log.Warn("fetcher.presence.failed", "run_id", w.manifest.RunID, "error", err)
		return // the next try decides
	}
	if reachedByOther || w.startCtx.Err() != nil {
		return
	}
	halt := contract.Halt{Status: contract.SafeStop, Reason: limit.UnreachableReason(cause), At: time.Now().UTC()}
	w.stop(runs.Halted{Halt: halt})
	if err := runs.Halt(ctx, w.runs, w.manifest.RunID, halt); err != nil {
		w.fail(err)
	}
}

// reachedByOther reports whether another fetcher of the run has reached the site.
func (w *runWorker) reachedByOther(ctx context.Context) (reached bool, err error) {
	if !w.Shared {
		return false, nil
	}
	runID := w.manifest.RunID
	err = runs.EachFetcher(ctx, w.Bus, runID, func(key string, p contract.Presence) {
		reached = reached || p.Reached && key != runID.FetcherKey(w.ID)
	})
	return reached, err
}
