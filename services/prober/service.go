// Package prober searches for the bound of a run: it publishes jobs for the numbers that package
// search selects, and reads their outcomes from the ledger.
package prober

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/prober/search"

	"github.com/nats-io/nats.go/jetstream"
)

// Options configures a Service.
type Options struct {
	Bus *bus.Bus
	Log *slog.Logger
	// Parties reports that each record costs one more request.
	Parties bool
	// Now is the clock for the day of the year and the age of answers; nil means time.Now.
	Now func() time.Time
}

// Service searches for the bound of every run that needs one. Its questions are jobs like any
// other, and its answers are the outcomes of those jobs in the ledger. It is stateless: an
// interrupted search continues with its next question.
type Service struct {
	Options
	runs jetstream.KeyValue
}

// NewService opens the bucket of runs and returns a Service.
func NewService(ctx context.Context, opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	kv, err := opts.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return nil, fmt.Errorf("creating the prober: %w", err)
	}
	return &Service{Options: opts, runs: kv}, nil
}

// Run searches for bounds until ctx ends. Cancellation is not an error.
func (s *Service) Run(ctx context.Context) error {
	if err := runs.Follow(ctx, s.Bus, s.searchBound); err != nil {
		return fmt.Errorf("running the prober: %w", err)
	}
	return nil
}

// errSearchEnded ends the read of the ledger when the search has ended.
var errSearchEnded = errors.New("search ended")

func (s *Service) searchBound(ctx context.Context, m contract.Manifest) error {
	if !m.Searching() {
		return nil
	}
	run, err := s.newSearchRun(ctx, m)
	if err != nil {
		return err
	}
	last, err := s.Bus.LastSequence(ctx, contract.StreamOutcomes, m.RunID.OutcomeFilter())
	if err != nil {
		return err
	}
	if last == 0 {
		err = run.publishNext(ctx)
	}
	if err == nil {
		err = s.Bus.Tail(ctx, contract.StreamOutcomes, m.RunID.OutcomeFilter(), 0, func(msg bus.Message) error {
			return run.handle(ctx, msg, last)
		})
	}
	if errors.Is(err, errSearchEnded) {
		return s.finish(ctx, m, run.search.Result())
	}
	return err
}

// finish writes the bound to the manifest, from which the other services read the range. A search
// that could not finish has no bound and halts the run.
func (s *Service) finish(ctx context.Context, m contract.Manifest, found search.Bound) error {
	if reason := unfinishedReason(m, found); reason != "" {
		return runs.Halt(ctx, s.runs, m.RunID, contract.Halt{Status: contract.SafeStop, At: time.Now().UTC(),
			Reason: reason})
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
			"at_limit", atLimit(found, m.Range), "ending", found.Ending, "questions", found.Questions,
			"probes_used", found.Requests, "age_seconds", age.Seconds())
	}
	return nil
}

// unfinishedReason returns why a search could not finish, or "" if it did. The ending Waste is
// final: it is as certain as the search of an almost empty year can be.
func unfinishedReason(m contract.Manifest, found search.Bound) string {
	seen := "no record was found so far"
	if found.Number > 0 {
		seen = fmt.Sprintf("the highest record so far is number %d", found.Number)
	}
	switch {
	case found.Ending == search.Unreachable:
		return "the search for the highest number got only failures; " + seen
	case found.Ending == search.Budget && found.RequestsLeft >= m.ProbeBudget:
		return fmt.Sprintf("probe_budget %d is too small for a single number, which may take %d requests; %s",
			m.ProbeBudget, found.MaxRequestsPerAttempt, seen)
	case found.Ending == search.Budget:
		return fmt.Sprintf("probe_budget %d was used up before the search for the highest number had ended; %s, there may be higher ones; "+
			"the same batch started again goes on searching", m.ProbeBudget, seen)
	default:
		return ""
	}
}

// atLimit reports whether the searched range ends at or below the bound because the operator
// limited it. Numbers above the range were not requested.
func atLimit(found search.Bound, searched contract.Range) bool {
	return found.Number >= searched.End && searched.End < contract.MaxNumber
}

// writeBound ends the range of the run at the bound, once. It returns false if another prober has
// written it.
func (s *Service) writeBound(ctx context.Context, run contract.RunID, found search.Bound) (bool, error) {
	key := run.ManifestKey()
	return runs.Update(ctx, s.runs, key, func(m contract.Manifest, err error) (contract.Manifest, bool, error) {
		if err != nil || !m.Searching() {
			return m, false, err
		}
		m.Bound = &contract.Bound{
			Number: found.Number, FiledOn: found.FiledOn, Confidence: found.Confidence, Exact: found.Exact,
			Ending: string(found.Ending), NumbersProbed: found.Questions, Requests: found.Requests,
			Absences: found.Absences, KnownSince: found.KnownSince, AtLimit: atLimit(found, m.Range),
		}
		m.Range.End = min(m.Range.End, max(found.Number, m.Range.Start-1))
		if m.ProbeOnly {
			m.Range.End = m.Range.Start - 1
		}
		return m, true, nil
	})
}

// searchRun is the search for the bound of one run, driven by messages of the ledger.
type searchRun struct {
	bus      *bus.Bus
	manifest contract.Manifest
	search   *search.Search
	// maxRequestsPerAttempt is the maximum number of requests of one attempt.
	maxRequestsPerAttempt int
	// pending holds the numbers that were requested and have no outcome yet.
	pending map[int]bool
	// requests holds the number of requests of each attempt, by number.
	requests map[int]map[attemptKey]int
}

// attemptKey identifies an attempt of a number, because an attempt may be classified twice.
type attemptKey struct {
	ordinal int
	started time.Time
}

// newSearchRun loads the evidence, and the questions published before an interruption.
func (s *Service) newSearchRun(ctx context.Context, m contract.Manifest) (*searchRun, error) {
	settings, known, err := s.loadEvidence(ctx, m)
	if err != nil {
		return nil, err
	}
	settings.MaxRequestsPerAttempt = search.RequestsIfUnexpected + 1 // the docket in its other form
	if s.Parties {
		settings.MaxRequestsPerAttempt++
	}
	if m.Header {
		settings.MaxRequestsPerAttempt++
	}
	r := &searchRun{
		bus: s.Bus, manifest: m, search: search.New(settings, known),
		maxRequestsPerAttempt: settings.MaxRequestsPerAttempt, requests: make(map[int]map[attemptKey]int),
	}
	r.pending, err = runs.PublishedNumbers(ctx, s.Bus, m.RunID)
	return r, err
}

// handle processes one message of the ledger. Once all messages that existed at the start are read,
// it publishes the next question after each outcome.
func (r *searchRun) handle(ctx context.Context, msg bus.Message, last uint64) error {
	if subject := msg.Subject; subject != r.manifest.RunID.PlannedSubject() &&
		subject != r.manifest.RunID.CanarySubject() {
		pack, err := ledger.Decode[contract.EntryPack](msg.Data)
		if err != nil {
			return fmt.Errorf("reading the ledger of run %s: %w", r.manifest.RunID, err)
		}
		for _, entry := range pack.Entries {
			r.observe(entry)
		}
	}
	if msg.Sequence < last {
		return nil
	}
	if msg.Sequence == last {
		r.search.Resume()
	}
	return r.publishNext(ctx)
}

// observe counts the requests of an attempt and passes the outcome of a question to the search.
func (r *searchRun) observe(entry contract.Entry) {
	number := entry.CaseID.Number
	if r.requests[number] == nil {
		r.requests[number] = make(map[attemptKey]int)
	}
	r.requests[number][attemptKey{entry.Attempt, entry.StartedAt.UTC()}] = len(entry.Requests)
	if !r.pending[number] || entry.Outcome == "" {
		return
	}
	delete(r.pending, number)
	answer := search.Observation{Number: number}
	for _, requests := range r.requests[number] {
		answer.Requests += requests
	}
	switch entry.Outcome {
	case contract.Success:
		answer.Finding, answer.FiledOn = search.Exists, entry.FiledOn
	case contract.NoRecord:
		answer.Finding = search.Absent
		if entry.StartedAt.Before(r.manifest.RecheckBefore) { // the search was interrupted and resumed much later
			answer.KnownSince = entry.StartedAt
		}
	case contract.Failed: // not evidence
		answer.Finding = search.Unknown
	}
	r.search.Observe(answer)
}

// publishNext publishes the next question, unless one is pending. It returns errSearchEnded if
// there is none. Questions are asked one at a time, because the pause between requests, not the
// latency of the site, limits a search.
func (r *searchRun) publishNext(ctx context.Context) error {
	if len(r.pending) > 0 {
		return nil
	}
	question, more := r.search.Next()
	if !more {
		return errSearchEnded
	}
	r.pending[question.Number] = true
	err := r.bus.PublishJSON(ctx, r.manifest.RunID.JobSubject(question.Number), contract.Job{
		Version: contract.MessageVersion, RunID: r.manifest.RunID, CaseID: r.manifest.Case(question.Number),
		LikelyAbsent: question.LikelyAbsent,
		// Limits the attempts so that failures cannot exceed the budget.
		MaxAttempts: min(r.manifest.MaxRetries+1, r.search.RequestsLeft()/r.maxRequestsPerAttempt),
	})
	if err != nil && !errors.Is(err, bus.ErrExists) {
		return fmt.Errorf("publishing the job of number %d: %w", question.Number, err)
	}
	return nil
}

// loadEvidence returns the collected outcomes of the year of a run, and the settings of its search.
func (s *Service) loadEvidence(
	ctx context.Context, m contract.Manifest,
) (search.Settings, []search.Observation, error) {
	now := s.Now()
	settings := search.Settings{Year: m.Year, Range: m.Range, Budget: m.ProbeSpent + m.ProbeBudget}
	if now.Format("06") == m.Year {
		settings.DayOfYear = now.YearDay()
	}
	var known []search.Observation
	err := runs.EachOutcome(ctx, s.Bus, contract.BucketCollected, m.Site, m.Prefix, m.Year,
		func(number int, value contract.Collected) {
			switch {
			case value.Outcome == contract.Success:
				known = append(known, search.Observation{Number: number, Finding: search.Exists,
					FiledOn: value.FiledOn})
			case value.Outcome == contract.NoRecord && value.RunID != m.RunID &&
				m.Skips(number, value):
				// The outcomes of this run itself come from the ledger, see observe.
				known = append(known, search.Observation{Number: number, Finding: search.Absent, KnownSince: value.At})
			}
		})
	if err != nil {
		return settings, nil, err
	}
	err = runs.EachOutcome(ctx, s.Bus, contract.BucketCollected, m.Site, m.Prefix, previousYear(m.Year),
		func(number int, value contract.Collected) {
			if value.Outcome == contract.Success {
				settings.PreviousYearMax = max(settings.PreviousYearMax, number)
			}
		})
	return settings, known, err
}

// previousYear returns the year before a year of two digits.
func previousYear(year string) string {
	n, err := strconv.Atoi(year)
	if err != nil { // impossible for the year of a manifest
		return year
	}
	return fmt.Sprintf("%02d", (n+99)%100)
}
