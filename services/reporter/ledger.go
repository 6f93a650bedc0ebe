package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// ledger reads the ledger of one run, in stream order.
type ledger struct {
	bus      *bus.Bus
	manifest contract.Manifest
}

// message is one decoded message of the ledger: entries, a canary, or the message that all jobs are
// published.
type message struct {
	sequence uint64
	planned  *contract.Planned
	entries  []contract.Entry
	canary   []contract.Entry
	after    uint64 // the last message folded when the canary was requested
	size     int
}

// prefetch bounds how many messages wait in memory to be folded: a pack has up to four megabytes.
const prefetch = 16

// errStopReading ends a read early, without an error of its own.
var errStopReading = errors.New("reading stopped")

// read calls take for every message after a sequence, and waits for more until the context ends or
// take returns an error. A message that cannot be decoded is ErrLedger: skipping it would make the
// counts wrong.
func (l ledger) read(ctx context.Context, after uint64, take func(message) error) error {
	filter := l.manifest.RunID.OutcomeFilter()
	return l.bus.Tail(ctx, contract.StreamOutcomes, filter, after, func(msg bus.Message) error {
		decoded, err := l.decode(msg)
		if err != nil {
			return err
		}
		return take(decoded)
	})
}

func (l ledger) decode(msg bus.Message) (message, error) {
	decoded := message{sequence: msg.Sequence, size: len(msg.Data)}
	var err error
	switch msg.Subject {
	case l.manifest.RunID.PlannedSubject():
		decoded.planned, err = decodePlanned(msg.Data)
	case l.manifest.RunID.CanarySubject():
		decoded.canary, decoded.after, err = l.decodeCanary(msg.Data)
	default:
		decoded.entries, err = l.decodeEntries(msg.Data)
	}
	if err != nil {
		return message{}, fmt.Errorf("%w: message %d on %s: %w", ErrLedger, decoded.sequence, msg.Subject, err)
	}
	return decoded, nil
}

// decodePlanned rejects numbers that contradict each other: a run that waits for more outcomes than
// it has jobs never ends.
func decodePlanned(data []byte) (*contract.Planned, error) {
	var planned contract.Planned
	if err := json.Unmarshal(data, &planned); err != nil {
		return nil, fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	if err := contract.CheckVersion(planned.Version); err != nil {
		return nil, err
	}
	if numbers := planned.Range.Size() + len(planned.Beyond); planned.Jobs < 0 || planned.Skipped < 0 ||
		planned.Jobs+planned.Skipped != numbers {
		return nil, fmt.Errorf("%d jobs and %d skipped for %d numbers", planned.Jobs, planned.Skipped, numbers)
	}
	return &planned, nil
}

// decodePack decodes a pack of this run.
func (l ledger) decodePack(data []byte) (contract.EntryPack, error) {
	data, err := bus.Decompress(data)
	if err != nil {
		return contract.EntryPack{}, err
	}
	pack, err := contract.DecodeEntries(data)
	if err == nil && pack.RunID != l.manifest.RunID {
		err = fmt.Errorf("pack of run %s", pack.RunID)
	}
	return pack, err
}

// decodeCanary decodes a canary. Its cases may be of another year, and it settles nothing.
func (l ledger) decodeCanary(data []byte) (entries []contract.Entry, after uint64, err error) {
	pack, err := l.decodePack(data)
	if err == nil && len(pack.Entries) == 0 {
		err = errors.New("a canary without a case")
	}
	for _, entry := range pack.Entries {
		if entry.Outcome != "" {
			err = fmt.Errorf("%s: outcome %.40q: a canary has none", entry.CaseID, entry.Outcome)
		}
	}
	return pack.Entries, pack.After, err
}

func (l ledger) decodeEntries(data []byte) ([]contract.Entry, error) {
	pack, err := l.decodePack(data)
	if err != nil {
		return nil, err
	}
	for _, entry := range pack.Entries {
		if entry.CaseID != l.manifest.Case(entry.CaseID.Number) {
			return nil, fmt.Errorf("%s: not of series %s and year %s", entry.CaseID, l.manifest.Prefix, l.manifest.Year)
		}
		if entry.Outcome != "" && !entry.Outcome.Valid() {
			return nil, fmt.Errorf("%s: outcome %.40q: allowed are success, no-record and failed", entry.CaseID,
				entry.Outcome)
		}
		if entry.Outcome == contract.Success && len(entry.Record) == 0 {
			return nil, fmt.Errorf("%s: success without a record", entry.CaseID)
		}
	}
	return pack.Entries, nil
}

// last returns the sequence of the newest message of the run's ledger; 0 when there is none.
func (l ledger) last(ctx context.Context) (uint64, error) {
	return l.bus.LastSequence(ctx, contract.StreamOutcomes, l.manifest.RunID.OutcomeFilter())
}

// mustReach returns ErrLedger when the ledger ends before a message that was already processed.
func (l ledger) mustReach(ctx context.Context, end uint64) error {
	last, err := l.last(ctx)
	if err == nil && last < end {
		err = fmt.Errorf("%w: it ends at message %d, but message %d was processed before", ErrLedger, last, end)
	}
	return err
}

// readTo calls take for every message up to a sequence. A ledger that ends before it is ErrLedger.
func (l ledger) readTo(ctx context.Context, end uint64, take func(message) error) error {
	if err := l.mustReach(ctx, end); err != nil {
		return err
	}
	return l.readFrom(ctx, 0, end, take)
}

// readFrom calls take for every message after one sequence and up to another, which must exist.
func (l ledger) readFrom(ctx context.Context, after, end uint64, take func(message) error) error {
	if end <= after {
		return nil
	}
	err := l.read(ctx, after, func(m message) error {
		if m.sequence <= end {
			if err := take(m); err != nil {
				return err
			}
		}
		if m.sequence >= end {
			return errStopReading
		}
		return nil
	})
	if errors.Is(err, errStopReading) {
		return nil
	}
	return err
}
