package generator

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// checkSameSettings refuses a batch that names a run which is worked on, or over, and says something else of it: whoever sent that
// would take it for done. A start without a name only joins the run.
func checkSameSettings(m contract.Manifest, b Batch) error {
	if b.RunID == "" {
		return nil
	}
	var bad []contract.Problem
	for _, setting := range []struct {
		field      string
		has, given any
	}{
		{"max_retries", m.MaxRetries, b.MaxRetries},
		{"request_timeout", m.RequestTimeout, b.RequestTimeout},
		{"job_timeout", m.JobTimeout, b.JobTimeout},
		{"safe_stop_no_records", m.SafeStopNoRecords, b.SafeStopNoRecords},
		{"safe_stop_fails", m.SafeStopFails, b.SafeStopFails},
		{"persist_raw_html", m.PersistRawHTML, b.PersistRawHTML},
		{"probe_budget", m.ProbeBudget, b.ProbeBudget},
	} {
		if setting.has != setting.given {
			bad = append(bad, conflict(setting.field, setting.given, fmt.Sprintf("run %s has %v", m.RunID, setting.has), fmt.Sprintf("%v, or a new run_id", setting.has)))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return invalid(bad...)
}

// checkNotStopping refuses the start of a run that was told to stop and has not ended yet. It would join a run that ends in a moment,
// and whoever sent it would take it for one that goes on.
func (s *Service) checkNotStopping(ctx context.Context, run contract.RunID) error {
	entry, err := s.kv.Get(ctx, run.HaltKey())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading the halt of run %s: %w", run, err)
	case runs.DecodeHalt(entry).Status != contract.Stopped:
		return nil // the site or the numbers end it, and would do so again
	}
	return invalid(conflict("run_id", run, "it is being stopped", "the same start once the run's finished event has come"))
}

func conflict(field string, value any, reason, allowed string) contract.Problem {
	return contract.Problem{Field: field, Value: quote(fmt.Append(nil, value)), Reason: reason, Allowed: allowed}
}

// describeRange says which numbers a run asks for.
func describeRange(m contract.Manifest) string {
	return fmt.Sprintf("%s-%s, %d to %d", m.Prefix, m.Year, m.Range.Start, m.Range.End)
}
