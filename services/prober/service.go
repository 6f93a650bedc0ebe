package prober

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go/jetstream"
)

// Options of a prober.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Parties says that each record costs one more request.
	Parties bool
	// Now tells which day it is; nil is time.Now.
	Now func() time.Time
}

// Service searches for the bound of every run that wants one. Its questions are jobs like any other, and its answers the
// outcomes of those jobs in the ledger: it keeps nothing, and a search that was cut off goes on with the next question.
type Service struct {
	Options
	runs jetstream.KeyValue
}

// NewService opens the bucket of runs.
func NewService(ctx context.Context, opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kv, err := opts.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("making the prober: %w", err)
	}
	return &Service{Options: opts, runs: kv}, nil
}

// Run works until ctx ends, which is no error.
func (s *Service) Run(ctx context.Context) error {
	if err := runs.Follow(ctx, s.Bus, s.searchBound); err != nil {
		return fmt.Errorf("running the prober: %w", err)
	}
	return nil
}

// errSearchEnded ends the reading of the ledger when the search has ended.
var errSearchEnded = errors.New("search ended")

// searchBound searches for the bound of one run.
func (s *Service) searchBound(ctx context.Context, m contract.Manifest) error {
	if !m.Searching() {
		return nil
	}
	hunt, err := s.newSearchRun(ctx, m)
	if err != nil {
		return err
	}
	last, err := s.Bus.LastSequence(ctx, contract.StreamOutcomes, m.RunID.OutcomeFilter())
	if err != nil {
		return err
	}
	if last == 0 {
		err = hunt.publishNext(ctx)
	}
	if err == nil {
		err = s.Bus.Tail(ctx, contract.StreamOutcomes, m.RunID.OutcomeFilter(), 0, func(msg bus.Message) error {
			return hunt.handle(ctx, msg, last)
		})
	}
	if errors.Is(err, errSearchEnded) {
		return s.finish(ctx, m, hunt.search.Result())
	}
	return err
}

// finish writes the bound into the manifest, which everybody who waits for the range reads. A search that could not finish has
// no bound: it stops the run.
func (s *Service) finish(ctx context.Context, m contract.Manifest, found Bound) error {
	if reason := unfinishedReason(m, found); reason != "" {
		return runs.Halt(ctx, s.runs, m.RunID, contract.Halt{Status: contract.SafeStop, At: time.Now().UTC(), Reason: reason})
	}
	written, err := s.writeBound(ctx, m.RunID, found)
	if err != nil {
		return fmt.Errorf("writing the bound: %w", err)
	}
	if written {
		age := time.Duration(0)
		if !found.KnownSince.IsZero() {
			age = max(0, s.Now().Sub(found.KnownSince))
		}
		s.Log.Info("batch.run.bound", "run_id", m.RunID, "upper_bound", found.Number, "confidence", found.Confidence,
			"at_limit", atLimit(found, m.Range), "ending", found.Ending, "questions", found.Questions, "probes_used", found.Requests, "age_seconds", age.Seconds())
	}
	return nil
}

// unfinishedReason is why a search could not finish; empty when it did. A year with next to no files ends by waste, which is as sure
// as it gets.
func unfinishedReason(m contract.Manifest, found Bound) string {
	seen := "no record was seen so far"
	if found.Number > 0 {
		seen = fmt.Sprintf("the highest record so far is number %d", found.Number)
	}
	switch {
	case found.Ending == Unreachable:
		return "the search for the highest number met only failures; " + seen
	case found.Ending == Budget && found.RequestsLeft >= m.ProbeBudget:
		return fmt.Sprintf("probe_budget %d is too small to ask for a single number, which may take %d requests; %s", m.ProbeBudget, found.MaxRequestsPerAttempt, seen)
	case found.Ending == Budget:
		return fmt.Sprintf("probe_budget %d was used up before the search for the highest number had ended; %s, there may be higher ones; "+
			"the same batch started again goes on searching", m.ProbeBudget, seen)
	default:
		return ""
	}
}

// atLimit says that the searched range ends at the bound or below it, by the wish of whoever started the run: numbers above it
// were not looked for.
func atLimit(found Bound, searched contract.Range) bool {
	return found.Number >= searched.End && searched.End < contract.MaxNumber
}

// writeBound ends the run's range by the bound, once: false means that another prober has written it.
func (s *Service) writeBound(ctx context.Context, run contract.RunID, found Bound) (bool, error) {
	entry, err := s.runs.Get(ctx, run.ManifestKey())
	if err != nil {
		return false, err
	}
	m, err := runs.Decode[contract.Manifest](entry.Key(), entry.Value())
	if err != nil || !m.Searching() {
		return false, err
	}
	m.Bound = &contract.Bound{
		Number: found.Number, FiledOn: found.FiledOn, Confidence: found.Confidence, Exact: found.Exact, Ending: string(found.Ending),
		NumbersProbed: found.Questions, Requests: found.Requests, Absences: found.Absences, KnownSince: found.KnownSince,
		AtLimit: atLimit(found, m.Range),
	}
	m.Range.End = min(m.Range.End, max(found.Number, m.Range.Start-1))
	if m.ProbeOnly {
		m.Range.End = m.Range.Start - 1
	}
	value, err := json.Marshal(m)
	if err == nil {
		_, err = s.runs.Update(ctx, run.ManifestKey(), value, entry.Revision())
	}
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return false, nil // a manifest changes by its bound alone
	}
	return err == nil, err
}
