package fetcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// crowd are the shifts of one fetcher. Those whose runs ask for the same series and year look at what the others have before
// they ask: no number is asked for twice as far as that can be seen.
type crowd struct {
	mu     sync.Mutex
	shifts map[*shift]bool
	// claimed are the cases that some shift has in hand.
	claimed map[contract.CaseID]bool
}

// claim takes a case until free is called; not ok when another run has it in hand.
func (c *crowd) claim(id contract.CaseID) (free func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed[id] {
		return nil, false
	}
	c.claimed[id] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.claimed, id)
	}, true
}

// join adds a shift and tells it, and those that are beside it, of each other.
func (c *crowd) join(w *shift) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.shifts {
		if other.beside(w) {
			other.crowded, w.crowded = true, true
		}
	}
	c.shifts[w] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.shifts, w)
	}
}

// beside are the other shifts that ask for the same series and year; ever says whether there has been one.
func (c *crowd) beside(w *shift) (others []*shift, ever bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.shifts {
		if other != w && other.beside(w) {
			others = append(others, other)
		}
	}
	return others, w.crowded
}

func (w *shift) beside(other *shift) bool {
	a, b := w.manifest, other.manifest
	return a.RunID != b.RunID && a.Prefix == b.Prefix && a.Year == b.Year
}

// known says what another run already has of a number: its outcome, written into this run's ledger too, or a wait while that is to come.
// A run that is to ask again for everything takes nothing over.
func (w *shift) known(id contract.CaseID, attempt int, epoch uint64) (taken bool, err error) {
	others, ever := w.crowd.beside(w)
	if !ever || w.manifest.Force {
		return false, nil
	}
	for _, other := range others {
		step, err := other.ledger.next(w.finish, id.Number, epoch, true)
		switch {
		case err != nil:
			return false, err
		case step.Wait > 0:
			return false, waiting(min(step.Wait, beat))
		case step.Settled:
			if taken, err := w.takeOver(other.manifest.RunID, id, attempt); taken || err != nil {
				return taken, err
			}
		}
	}
	collected, err := runs.Get[contract.Collected](w.finish, w.collected, id.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil || !collected.Of(w.SiteName) || collected.RunID == w.manifest.RunID {
		return false, err
	}
	return w.takeOver(collected.RunID, id, attempt)
}

// takeOver writes the outcome that a number has in another run into this run's ledger. Its requests stay that run's: they were
// made once. An outcome for which this run would ask again is not taken.
func (w *shift) takeOver(from contract.RunID, id contract.CaseID, attempt int) (taken bool, err error) {
	entry, found, err := w.entry(w.finish, from, id)
	if err != nil || !found || !w.manifest.Skips(id.Number, entry.Outcome) {
		return false, err
	}
	now := time.Now().UTC()
	entry.Attempt, entry.Requests, entry.StartedAt, entry.Seconds = attempt, nil, now, 0
	entry.Notes = append(entry.Notes, "asked for by run "+string(from))
	pack := contract.EntryPack{Version: contract.MessageVersion, RunID: w.manifest.RunID, Entries: []contract.Entry{entry}}
	body, err := pack.Encode()
	if err != nil {
		return false, fmt.Errorf("taking over %s from run %s: %w", id, from, err)
	}
	msg := nats.NewMsg(w.manifest.RunID.OutcomeSubject(contract.Block(id.Number)))
	msg.Header.Set(contract.StateHeader, contract.FormatStates(pack.States()))
	msg.Data = bus.Squeeze(body)
	if _, err := w.Bus.Publish(w.finish, msg); err != nil {
		return false, fmt.Errorf("taking over %s from run %s: %w", id, from, err)
	}
	w.Log.Debug("fetcher.job.shared", "run_id", w.manifest.RunID, "case_id", id.String(), "from", from)
	return true, nil
}

// shelf is one block of another run's ledger: the entries with an outcome that were read so far.
type shelf struct {
	mu      sync.Mutex
	run     contract.RunID
	block   int
	next    uint64
	entries map[int]contract.Entry
}

// entry is the outcome of a number in the ledger of another run.
func (w *shift) entry(ctx context.Context, from contract.RunID, id contract.CaseID) (entry contract.Entry, found bool, err error) {
	s, index := &w.shelf, contract.Block(id.Number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != from || s.block != index || s.entries == nil {
		s.run, s.block, s.next, s.entries = from, index, 1, make(map[int]contract.Entry)
	}
	for {
		if entry, found = s.entries[id.Number]; found {
			return entry, true, nil
		}
		msg, err := w.outcomes.GetMsg(ctx, s.next, jetstream.WithGetMsgSubject(from.OutcomeSubject(index)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return entry, false, nil
		}
		if err == nil {
			err = s.add(msg)
		}
		if err != nil {
			return entry, false, fmt.Errorf("reading %s in run %s: %w", id, from, err)
		}
	}
}

// add takes in one message; the first outcome of a number counts.
func (s *shelf) add(msg *jetstream.RawStreamMsg) error {
	body, err := bus.Expand(msg.Data)
	if err != nil {
		return err
	}
	pack, err := contract.DecodeEntries(body)
	if err != nil {
		return err
	}
	for _, entry := range pack.Entries {
		if _, first := s.entries[entry.CaseID.Number]; !first && entry.Outcome != "" {
			s.entries[entry.CaseID.Number] = entry
		}
	}
	s.next = msg.Sequence + 1
	return nil
}
