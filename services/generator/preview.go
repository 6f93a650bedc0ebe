package generator

import (
	"context"
	"fmt"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
)

// Preview is what a start would do, as far as that is known without a request.
type Preview struct {
	// Manifest is that of the run which the start resumes or joins, else that of a new run, without an
	// id.
	Manifest contract.Manifest
	// Status is how the run stands that is resumed or joined; empty for a new run.
	Status contract.Status
	// BoundKnown reports that the range is final: no search and no safe stop determines its end.
	BoundKnown bool
	// Highest is the highest number of the series and year with a record; 0 if there is none.
	Highest int
	// Range holds the numbers that are counted below: that of the manifest or, if nothing limits the
	// batch and BoundKnown is false, the part up to Highest.
	Range contract.Range
	// Selected is how many numbers of Range the batch has. Success and NoRecord of them are collected;
	// Skipped of them are not requested.
	Selected, Success, NoRecord, Skipped int
	// Ask is how many numbers are requested: KnownSuccess and KnownNoRecord of them have that outcome
	// already, FailedBefore of them failed in an earlier run.
	Ask, KnownSuccess, KnownNoRecord, FailedBefore int
	// Outcomes is how many outcomes of the series and year are known up to Highest, and Absent how many
	// of them are no-records.
	Outcomes, Absent int
}

// PreviewStart returns what a start of the batch would do at that time. It decides as a start does,
// with the same errors, reads the same keys and writes nothing. A nil Bus stands for no store.
func PreviewStart(ctx context.Context, options Options, batch contract.Batch, at time.Time) (Preview, error) {
	c := start{batch: batch, at: at, options: options}
	if options.Bus == nil {
		return preview(c.newManifest("", nil), "", knownNumbers{}), nil
	}
	kv, err := options.Bus.KV(ctx, contract.BucketRuns)
	if err != nil {
		return Preview{}, err
	}
	s := &Service{Options: options, kv: kv, active: &activeRuns{}}
	known, err := s.readRuns(ctx, c)
	if err != nil {
		return Preview{}, err
	}
	chosen, err := chooseRun(c, known)
	if err != nil {
		return Preview{}, err
	}
	var numbers knownNumbers
	numbers.collected, err = s.storedOutcomes(ctx, contract.BucketCollected, options.Site, batch.Prefix, batch.Year)
	if err != nil {
		return Preview{}, err
	}
	numbers.failed, err = s.storedOutcomes(ctx, contract.BucketFailed, options.Site, batch.Prefix, batch.Year)
	if err != nil {
		return Preview{}, err
	}
	if chosen.create {
		return preview(c.newManifest("", numbers.collected), "", numbers), nil
	}
	if numbers.done, err = s.outcomesOf(ctx, chosen.manifest); err != nil {
		return Preview{}, err
	}
	run := chosen.manifest.RunID
	state, err := readKey[contract.State](ctx, kv, run.StateKey())
	if err != nil {
		return Preview{}, err
	}
	status := contract.Running // a run without a state is starting
	if state.err == nil {
		status = state.value.Status
	}
	return preview(c.withSettings(chosen.manifest, state.value), status, numbers), nil
}

// knownNumbers is what a store holds of the numbers of a series and year.
type knownNumbers struct {
	collected, failed *runs.Outcomes
	// done holds the numbers that the run to be resumed need not request again.
	done map[int]bool
}

// outcomesOf returns the numbers that have an outcome in the ledger of a run, or an answer that the
// classifier has still to read.
func (s *Service) outcomesOf(ctx context.Context, m contract.Manifest) (map[int]bool, error) {
	done := make(map[int]bool)
	take := func(msg bus.Message) error {
		states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
		if err != nil {
			return fmt.Errorf("%w: message %d on %s: %w", ledger.ErrMismatch, msg.Sequence, msg.Subject, err)
		}
		for _, state := range states {
			if state.Outcome != "" || state.Verdict == "" {
				done[state.Number] = true
			}
		}
		return nil
	}
	end, err := ledger.Reader{Bus: s.Bus, Manifest: m}.Last(ctx)
	if err == nil {
		err = s.Bus.ReadRange(ctx, contract.StreamOutcomes, m.RunID.OutcomeFilter(), 0, end, take)
	}
	if err == nil {
		_, err = ledger.EachMessage(ctx, s.Bus, contract.StreamAnswers, m.RunID.AnswerFilter(), 1, take)
	}
	return done, err
}

// preview counts the numbers of a run by what is stored of its series and year.
func preview(m contract.Manifest, status contract.Status, known knownNumbers) Preview {
	collected, failed := known.collected, known.failed
	p := Preview{Manifest: m, Status: status, Range: m.Range}
	for number, value := range collected.All() {
		if value.Outcome == contract.Success {
			p.Highest = max(p.Highest, number)
		}
	}
	for number, value := range collected.All() {
		if number <= p.Highest {
			p.Outcomes++
			if value.Outcome == contract.NoRecord {
				p.Absent++
			}
		}
	}
	limited := !m.IDs.IsZero() || m.Range.End < contract.MaxNumber || !m.Probe && m.SafeStopNoRecords == 0
	p.BoundKnown = !m.Searching() && (limited || m.Bound != nil)
	if !p.BoundKnown && !limited {
		p.Range.End = p.Highest
	}
	m.Range = p.Range
	for number := range m.Numbers() {
		p.Selected++
		if value, _ := collected.Get(number); value.Outcome == contract.Success {
			p.Success++
		} else if value.Outcome == contract.NoRecord {
			p.NoRecord++
		}
	}
	for number := range jobOrder(m, collected, failed) {
		if known.done[number] {
			continue
		}
		p.Ask++
		_, failedBefore := failed.Get(number)
		switch value, _ := collected.Get(number); {
		case value.Outcome == contract.Success:
			p.KnownSuccess++
		case value.Outcome == contract.NoRecord:
			p.KnownNoRecord++
		case failedBefore:
			p.FailedBefore++
		}
	}
	p.Skipped = p.Selected - p.Ask
	return p
}
