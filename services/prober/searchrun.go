package prober

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/prober/search"

	"github.com/nats-io/nats.go"
)

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
	body, err := json.Marshal(contract.Job{
		Version: contract.MessageVersion, RunID: r.manifest.RunID, CaseID: r.manifest.Case(question.Number),
		LikelyAbsent: question.LikelyAbsent,
		// Limits the attempts so that failures cannot exceed the budget.
		MaxAttempts: min(r.manifest.MaxRetries+1, r.search.RequestsLeft()/r.maxRequestsPerAttempt),
	})
	if err == nil {
		_, err = r.bus.Publish(ctx, &nats.Msg{Subject: r.manifest.RunID.JobSubject(question.Number), Data: body})
	}
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
				known = append(known, search.Observation{Number: number, Finding: search.Exists, FiledOn: value.FiledOn})
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
