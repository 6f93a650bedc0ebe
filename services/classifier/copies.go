package classifier

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// copies are the outcomes of other runs that the copies of one pack of answers name. Copies that come together often
// name the same message, so the one that was read last is kept while the pack is classified.
type copies struct {
	bus *bus.Bus
	// sequence and subject are what was asked for last, entries what was there.
	sequence uint64
	subject  string
	entries  []contract.Entry
	// void says of a run whether its no-records may be taken back.
	void map[contract.RunID]bool
}

// copyEntry is what the ledger keeps of a copy: the outcome of the other run, without its requests, which were made once and stay
// that run's. It is not found when the ledger has no outcome there that stands by itself. A copy that is made twice is the same
// both times: it begins when its answer was stored.
func (o *copies) copyEntry(ctx context.Context, d bus.Delivery[contract.AnswerPack], answer contract.Answer) (entry contract.Entry, found bool, err error) {
	from := *answer.Copy
	if entry, found, err = o.findOutcome(ctx, answer.CaseID, from); err != nil {
		return entry, false, fmt.Errorf("copying %s from run %s: %w", answer.CaseID, from.RunID, err)
	}
	entry.Attempt, entry.Requests, entry.StartedAt, entry.Seconds = answer.Attempt, nil, d.StoredAt.UTC(), 0
	entry.PlannedAt = answer.PlannedAt
	entry.Notes = append(slices.Clip(entry.Notes), "asked for by run "+string(from.RunID))
	return entry, found, nil
}

// findOutcome is the outcome of a case in the message that a copy names. Who publishes answers may name any message: what is not of
// that run, or not of that case, is not found. A failure is no outcome to be copied, nor is a no-record that may be void.
func (o *copies) findOutcome(ctx context.Context, id contract.CaseID, from contract.Copy) (entry contract.Entry, found bool, err error) {
	if err := o.load(ctx, from.Sequence, from.RunID, contract.Chunk(id.Number)); err != nil {
		return entry, false, err
	}
	for _, entry := range o.entries {
		if entry.CaseID != id || entry.Outcome == "" {
			continue
		}
		if entry.Outcome == contract.NoRecord {
			void, err := o.hasVanishedCanary(ctx, from.RunID)
			return entry, err == nil && !void, err
		}
		return entry, entry.Outcome == contract.Success, nil
	}
	return entry, false, nil
}

// load takes the entries of one message in; none when it is not of that run's block, or not to be read.
func (o *copies) load(ctx context.Context, sequence uint64, run contract.RunID, block int) error {
	subject := run.OutcomeSubject(block)
	if o.sequence == sequence && o.subject == subject {
		return nil
	}
	msg, err := o.bus.Get(ctx, contract.StreamOutcomes, sequence)
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	o.sequence, o.subject, o.entries = sequence, subject, nil
	if err == nil && msg.Subject == subject {
		o.entries = decodeEntries(run, msg.Data)
	}
	return nil
}

// hasVanishedCanary says whether the ledger of a run has a canary that has vanished. Then no-records of the run are void, and which of
// them the reporter alone can tell.
func (o *copies) hasVanishedCanary(ctx context.Context, run contract.RunID) (bool, error) {
	if void, known := o.void[run]; known {
		return void, nil
	}
	msg, err := o.bus.GetLast(ctx, contract.StreamOutcomes, run.CanarySubject())
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, err
	}
	void := false
	if err == nil {
		verdict, _ := contract.CanaryVerdict(decodeEntries(run, msg.Data))
		void = verdict == contract.VerdictNoRecord
	}
	if o.void == nil {
		o.void = make(map[contract.RunID]bool)
	}
	o.void[run] = void
	return void, nil
}

// decodeEntries are the entries of a message of a run's ledger; none when it cannot be read.
func decodeEntries(run contract.RunID, data []byte) []contract.Entry {
	data, err := bus.Decompress(data)
	if err != nil {
		return nil
	}
	pack, err := contract.DecodeEntries(data)
	if err != nil || pack.RunID != run {
		return nil
	}
	return pack.Entries
}
