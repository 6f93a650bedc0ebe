package classifier

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"

	"github.com/nats-io/nats.go/jetstream"
)

// copies reads the outcomes of other runs that the copies in one pack of answers refer to. Several
// copies often refer to the same message, so the last message read is cached.
type copies struct {
	bus *bus.Bus
	// sequence and subject identify the cached message, entries is its content.
	sequence uint64
	subject  string
	entries  []contract.Entry
	// void records for each run whether its no-records may be invalid.
	void map[contract.RunID]bool
}

// copyEntry returns the ledger entry of a copy: the outcome of the other run without its requests,
// which count only for that run. found is false if the ledger has no final outcome there. The
// result is deterministic: its start is the time at which the answer was stored.
func (c *copies) copyEntry(
	ctx context.Context, d bus.Delivery[contract.AnswerPack], answer contract.Answer,
) (entry contract.Entry, found bool, err error) {
	from := *answer.Copy
	if entry, found, err = c.findOutcome(ctx, answer.CaseID, from); err != nil {
		return entry, false, fmt.Errorf("copying %s from run %s: %w", answer.CaseID, from.RunID, err)
	}
	entry.Attempt, entry.Requests, entry.StartedAt, entry.Seconds = answer.Attempt, nil, d.StoredAt.UTC(), 0
	entry.PlannedAt = answer.PlannedAt
	entry.Notes = append(slices.Clip(entry.Notes), "asked for by run "+string(from.RunID))
	return entry, found, nil
}

// findOutcome returns the outcome of a case in the message that a copy refers to. A publisher of
// answers may name any message, so a message of another run or case is not found. Failures and
// no-records that may be void are not copied either.
func (c *copies) findOutcome(
	ctx context.Context, id contract.CaseID, from contract.Copy,
) (entry contract.Entry, found bool, err error) {
	if err := c.load(ctx, from.Sequence, from.RunID, contract.Chunk(id.Number)); err != nil {
		return entry, false, err
	}
	for _, entry := range c.entries {
		if entry.CaseID != id || entry.Outcome == "" {
			continue
		}
		if entry.Outcome == contract.NoRecord {
			void, err := c.hasVanishedCanary(ctx, from.RunID)
			return entry, err == nil && !void, err
		}
		return entry, entry.Outcome == contract.Success, nil
	}
	return entry, false, nil
}

// load reads the entries of one message into the cache. There are none if the message is unreadable
// or belongs to another run or chunk.
func (c *copies) load(ctx context.Context, sequence uint64, run contract.RunID, chunk int) error {
	subject := run.OutcomeSubject(chunk)
	if c.sequence == sequence && c.subject == subject {
		return nil
	}
	msg, err := c.bus.Get(ctx, contract.StreamOutcomes, sequence)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	c.sequence, c.subject, c.entries = sequence, subject, nil
	if err == nil && msg.Subject == subject {
		c.entries = decodeEntries(run, msg.Data)
	}
	return nil
}

// hasVanishedCanary reports whether the ledger of a run has a vanished canary. In that case some
// no-records of the run are void, and only the reporter can determine which.
func (c *copies) hasVanishedCanary(ctx context.Context, run contract.RunID) (bool, error) {
	if void, known := c.void[run]; known {
		return void, nil
	}
	msg, err := c.bus.GetLast(ctx, contract.StreamOutcomes, run.CanarySubject())
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, err
	}
	void := false
	if err == nil {
		verdict, _ := contract.CanaryVerdict(decodeEntries(run, msg.Data))
		void = verdict == contract.VerdictNoRecord
	}
	if c.void == nil {
		c.void = make(map[contract.RunID]bool)
	}
	c.void[run] = void
	return void, nil
}

// decodeEntries returns the entries of a ledger message of a run, or nil if it is unreadable.
func decodeEntries(run contract.RunID, data []byte) []contract.Entry {
	pack, err := ledger.Decode[contract.EntryPack](data)
	if err != nil || pack.RunID != run {
		return nil
	}
	return pack.Entries
}
