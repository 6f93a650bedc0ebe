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

// hunt is the search for one run's bound as it goes on over the streams.
type hunt struct {
	bus      *bus.Bus
	manifest contract.Manifest
	search   *Search
	// dear is how many requests one attempt may take.
	dear int
	// pending are the numbers that were asked for and have no outcome yet.
	pending map[int]bool
	// spent are the requests of each number's attempts.
	spent map[int]map[attempt]int
}

// attempt tells the attempts of a number apart: one may be classified twice.
type attempt struct {
	ordinal int
	started time.Time
}

// begin knows what is collected, and which questions were asked before the search was cut off.
func (s *Service) begin(ctx context.Context, m contract.Manifest) (*hunt, error) {
	settings, known, err := s.evidence(ctx, m)
	if err != nil {
		return nil, err
	}
	settings.Dear = unexpectedCost + 1 // the docket in its other form
	if s.Parties {
		settings.Dear++
	}
	h := &hunt{
		bus: s.Bus, manifest: m, search: New(settings, known), dear: settings.Dear, spent: make(map[int]map[attempt]int),
	}
	h.pending, err = runs.PublishedNumbers(ctx, s.Bus, m.RunID)
	return h, err
}

// hear takes in a message of the ledger. Once all that was there at the start is read, each answer leads to the next
// question.
func (h *hunt) hear(ctx context.Context, msg bus.Message, last uint64) error {
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
			h.learn(entry)
		}
	}
	if msg.Sequence < last {
		return nil
	}
	if msg.Sequence == last {
		h.search.resume()
	}
	return h.ask(ctx)
}

// learn counts the requests of an attempt, and believes the outcome of a question.
func (h *hunt) learn(entry contract.Entry) {
	number := entry.CaseID.Number
	if h.spent[number] == nil {
		h.spent[number] = make(map[attempt]int)
	}
	h.spent[number][attempt{entry.Attempt, entry.StartedAt.UTC()}] = len(entry.Requests)
	if !h.pending[number] || entry.Outcome == "" {
		return
	}
	delete(h.pending, number)
	answer := Answer{Number: number}
	for _, requests := range h.spent[number] {
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

// ask publishes the next question; errFound when there is none. It waits for those that are pending: one at a time, because
// the pace, not the distance to the site, is what a search waits for.
func (h *hunt) ask(ctx context.Context) error {
	if len(h.pending) > 0 {
		return nil
	}
	question, more := h.search.Next()
	if !more {
		return errFound
	}
	h.pending[question.Number] = true
	body, err := json.Marshal(contract.Job{
		Version: contract.MessageVersion, RunID: h.manifest.RunID, CaseID: h.manifest.Case(question.Number), LikelyAbsent: question.Doubtful,
		// So that no failure passes the budget.
		MaxAttempts: min(h.manifest.MaxRetries+1, h.search.Left()/h.dear),
	})
	if err == nil {
		_, err = h.bus.Publish(ctx, &nats.Msg{Subject: h.manifest.RunID.JobSubject(question.Number), Data: body})
	}
	if err != nil && !errors.Is(err, bus.ErrExists) {
		return fmt.Errorf("asking for number %d: %w", question.Number, err)
	}
	return nil
}
