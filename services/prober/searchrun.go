package prober

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
)

// searchRun is the search for one run's bound as it goes on over the streams.
type searchRun struct {
	bus      *bus.Bus
	manifest contract.Manifest
	search   *Search
	// maxRequestsPerAttempt is how many requests one attempt may take.
	maxRequestsPerAttempt int
	// pending are the numbers that were asked for and have no outcome yet.
	pending map[int]bool
	// requests are the requests of each number's attempts.
	requests map[int]map[attemptKey]int
}

// attemptKey tells the attempts of a number apart: one may be classified twice.
type attemptKey struct {
	ordinal int
	started time.Time
}

// newSearchRun knows what is collected, and which questions were asked before the search was cut off.
func (s *Service) newSearchRun(ctx context.Context, m contract.Manifest) (*searchRun, error) {
	settings, known, err := s.loadEvidence(ctx, m)
	if err != nil {
		return nil, err
	}
	settings.MaxRequestsPerAttempt = RequestsIfUnexpected + 1 // the docket in its other form
	if s.Parties {
		settings.MaxRequestsPerAttempt++
	}
	h := &searchRun{
		bus: s.Bus, manifest: m, search: New(settings, known), maxRequestsPerAttempt: settings.MaxRequestsPerAttempt, requests: make(map[int]map[attemptKey]int),
	}
	h.pending, err = runs.PublishedNumbers(ctx, s.Bus, m.RunID)
	return h, err
}

// handle takes in a message of the ledger. Once all that was there at the start is read, each answer leads to the next
// question.
func (h *searchRun) handle(ctx context.Context, msg bus.Message, last uint64) error {
	if subject := msg.Subject; subject != h.manifest.RunID.PlannedSubject() && subject != h.manifest.RunID.CanarySubject() {
		data, err := bus.Decompress(msg.Data)
		if err != nil {
			return fmt.Errorf("reading the ledger of %s: %w", h.manifest.RunID, err)
		}
		pack, err := contract.DecodeEntries(data)
		if err != nil {
			return fmt.Errorf("reading the ledger of %s: %w", h.manifest.RunID, err)
		}
		for _, entry := range pack.Entries {
			h.observe(entry)
		}
	}
	if msg.Sequence < last {
		return nil
	}
	if msg.Sequence == last {
		h.search.Resume()
	}
	return h.publishNext(ctx)
}

// observe counts the requests of an attempt, and believes the outcome of a question.
func (h *searchRun) observe(entry contract.Entry) {
	number := entry.CaseID.Number
	if h.requests[number] == nil {
		h.requests[number] = make(map[attemptKey]int)
	}
	h.requests[number][attemptKey{entry.Attempt, entry.StartedAt.UTC()}] = len(entry.Requests)
	if !h.pending[number] || entry.Outcome == "" {
		return
	}
	delete(h.pending, number)
	answer := Observation{Number: number}
	for _, requests := range h.requests[number] {
		answer.Requests += requests
	}
	switch entry.Outcome {
	case contract.Success:
		answer.Finding, answer.FiledOn = Exists, entry.FiledOn
	case contract.NoRecord:
		answer.Finding = Absent
		if entry.StartedAt.Before(h.manifest.RecheckBefore) { // the search was stopped, and goes on much later
			answer.KnownSince = entry.StartedAt
		}
	case contract.Failed: // no evidence at all
		answer.Finding = Unknown
	}
	h.search.Observe(answer)
}

// publishNext publishes the next question; errFound when there is none. It waits for those that are pending: one at a time, because
// the pace, not the distance to the site, is what a search waits for.
func (h *searchRun) publishNext(ctx context.Context) error {
	if len(h.pending) > 0 {
		return nil
	}
	question, more := h.search.Next()
	if !more {
		return errSearchEnded
	}
	h.pending[question.Number] = true
	body, err := json.Marshal(contract.Job{
		Version: contract.MessageVersion, RunID: h.manifest.RunID, CaseID: h.manifest.Case(question.Number), LikelyAbsent: question.LikelyAbsent,
		// So that no failure passes the budget.
		MaxAttempts: min(h.manifest.MaxRetries+1, h.search.RequestsLeft()/h.maxRequestsPerAttempt),
	})
	if err == nil {
		_, err = h.bus.Publish(ctx, &nats.Msg{Subject: h.manifest.RunID.JobSubject(question.Number), Data: body})
	}
	if err != nil && !errors.Is(err, bus.ErrExists) {
		return fmt.Errorf("asking for number %d: %w", question.Number, err)
	}
	return nil
}
