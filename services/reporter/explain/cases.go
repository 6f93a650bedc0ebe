package explain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/reporter/fold"

	"github.com/nats-io/nats.go/jetstream"
)

// CaseResult is what the store holds of one case after a run.
type CaseResult struct {
	CaseID contract.CaseID
	// Outcome is that of the run, or of an earlier one if the run skipped the case; empty if the case
	// is pending.
	Outcome contract.Outcome
	// Reason is why there is no record; empty if there is one.
	Reason string
	// Record is the content of the record's file; nil without one.
	Record []byte
}

// Cases returns what the store holds of the cases of a run that has ended with a state, in number
// order. A ledger that cannot be decoded is ledger.ErrMismatch.
func Cases(ctx context.Context, b *bus.Bus, m contract.Manifest, state contract.State) ([]CaseResult, error) {
	var tally fold.Tally
	own := make(map[int]contract.Entry)
	reader := ledger.Reader{Bus: b, Manifest: m}
	last, err := reader.Last(ctx)
	if err == nil {
		err = reader.ReadTo(ctx, last, func(msg ledger.Message) error {
			for _, counted := range tally.AddMessage(msg, m.SafeStopFails) {
				if counted.Outcome != "" {
					own[counted.CaseID.Number] = counted.Entry
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("reading the outcomes of %s: %w", m.RunID, err)
	}
	collected, err := storedOutcomes(ctx, b, contract.BucketCollected, m)
	if err != nil {
		return nil, err
	}
	failed, err := storedOutcomes(ctx, b, contract.BucketFailed, m)
	if err != nil {
		return nil, err
	}
	var results []CaseResult
	for number := range m.Numbers() {
		result := CaseResult{CaseID: m.Case(number)}
		known, isCollected := collected[number]
		switch outcome := tally.Outcomes.Get(number); {
		case outcome != "":
			result.Outcome, result.Record = outcome, own[number].Record
			result.Reason = ownReason(own[number], outcome, isCollected)
		case isCollected:
			result.Outcome = known.Outcome
			result.Reason = "the site had no record of it at " + known.At.UTC().Format(time.RFC3339)
			if known.Outcome == contract.Success {
				result.Reason = ""
				if result.Record, err = storedRecord(ctx, b, result.CaseID, known.RunID); err != nil {
					return nil, err
				}
			}
		default:
			result.Reason = pendingReason(state)
			if _, before := failed[number]; before {
				result.Reason += "; it failed before"
			}
		}
		results = append(results, result)
	}
	return results, nil
}

// ownReason is why a case with an outcome in the run has no record.
func ownReason(entry contract.Entry, outcome contract.Outcome, collected bool) string {
	switch {
	case outcome == contract.Failed:
		return entry.Error
	case outcome == contract.NoRecord && !collected:
		return "the site has no record of it; this is unconfirmed, because it showed no record after it"
	case outcome == contract.NoRecord:
		return "the site has no record of it"
	default:
		return ""
	}
}

func pendingReason(state contract.State) string {
	reason := "not requested: the run is " + string(state.Status)
	if state.Reason != "" {
		reason += ": " + state.Reason
	}
	return reason
}

// storedOutcomes returns the values of a bucket for the cases of a run.
func storedOutcomes(
	ctx context.Context, b *bus.Bus, bucket string, m contract.Manifest,
) (map[int]contract.Collected, error) {
	values := make(map[int]contract.Collected)
	err := runs.EachOutcome(ctx, b, bucket, m.Site, m.Prefix, m.Year, func(number int, value contract.Collected) {
		if m.Selects(number) {
			values[number] = value
		}
	})
	return values, err
}

// storedRecord returns the record of a case from the ledger of the run that collected it.
func storedRecord(ctx context.Context, b *bus.Bus, id contract.CaseID, run contract.RunID) (record []byte, err error) {
	kv, err := b.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, err
	}
	m, err := runs.Manifest(ctx, kv, run)
	if err != nil {
		return nil, fmt.Errorf("reading the record of %s: %w", id, err)
	}
	e := explainer{bus: b, history: History{CaseID: id}}
	reader := ledger.Reader{Bus: b, Manifest: m}
	err = e.eachMessage(ctx, contract.StreamOutcomes, run.OutcomeSubject(contract.Chunk(id.Number)),
		func(msg bus.Message) error {
			decoded, err := reader.Decode(msg)
			if err != nil {
				return err
			}
			for _, entry := range decoded.Entries {
				if entry.CaseID == id && entry.Outcome == contract.Success && record == nil {
					record = entry.Record
				}
			}
			return nil
		})
	switch {
	case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, fmt.Errorf("reading the record of %s: %w", id, err)
	case record == nil:
		return nil, fmt.Errorf("%w: run %s collected %s, but its ledger has no record of it", ledger.ErrMismatch, run,
			id)
	}
	return record, nil
}
