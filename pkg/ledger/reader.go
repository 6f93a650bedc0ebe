package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrMismatch means that the ledger of a run cannot be read, or that it does not agree with the
// run's counts, files or keys. The program exits with 7.
var ErrMismatch = errors.New("ledger mismatch")

// Reader reads the ledger of one run, in stream order.
type Reader struct {
	Bus      *bus.Bus
	Manifest contract.Manifest
}

// Message is one decoded message of the ledger: entries, a canary, or the message that all jobs are
// published.
type Message struct {
	Sequence uint64
	Planned  *contract.Planned
	Entries  []contract.Entry
	Canary   []contract.Entry
	After    uint64 // the last message that the requester of the canary had read
	Size     int    // the bytes of the message
}

// Follow calls take for every message after a sequence, and waits for more until the context ends or
// take returns an error. A message that cannot be decoded is ErrMismatch: skipping it would make the
// counts wrong.
func (r Reader) Follow(ctx context.Context, after uint64, take func(Message) error) error {
	filter := r.Manifest.RunID.OutcomeFilter()
	return r.Bus.Tail(ctx, contract.StreamOutcomes, filter, after, r.decoding(take))
}

func (r Reader) decoding(take func(Message) error) func(bus.Message) error {
	return func(msg bus.Message) error {
		decoded, err := r.Decode(msg)
		if err != nil {
			return err
		}
		return take(decoded)
	}
}

// Decode decodes one message of the run's ledger. One that cannot be decoded, or does not belong to
// the run, is ErrMismatch.
func (r Reader) Decode(msg bus.Message) (Message, error) {
	decoded := Message{Sequence: msg.Sequence, Size: len(msg.Data)}
	var err error
	switch msg.Subject {
	case r.Manifest.RunID.PlannedSubject():
		decoded.Planned, err = r.decodePlanned(msg.Data)
	case r.Manifest.RunID.CanarySubject():
		decoded.Canary, decoded.After, err = r.decodeCanary(msg.Data)
	default:
		decoded.Entries, err = r.decodeEntries(msg.Data)
	}
	if err != nil {
		return Message{}, fmt.Errorf("%w: message %d on %s: %w", ErrMismatch, decoded.Sequence, msg.Subject, err)
	}
	return decoded, nil
}

// decodePlanned rejects numbers that contradict each other: a run that waits for more outcomes than
// it has jobs never ends.
func (r Reader) decodePlanned(data []byte) (*contract.Planned, error) {
	var planned contract.Planned
	if err := json.Unmarshal(data, &planned); err != nil {
		return nil, fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	if err := contract.CheckVersion(planned.Version); err != nil {
		return nil, err
	}
	if numbers := r.Manifest.Count(planned.Range) + len(planned.Beyond); planned.Jobs < 0 || planned.Skipped < 0 ||
		planned.Jobs+planned.Skipped != numbers {
		return nil, fmt.Errorf("%d jobs and %d skipped for %d numbers", planned.Jobs, planned.Skipped, numbers)
	}
	return &planned, nil
}

func (r Reader) decodePack(data []byte) (contract.EntryPack, error) {
	pack, err := Decode[contract.EntryPack](data)
	if err == nil && pack.RunID != r.Manifest.RunID {
		err = fmt.Errorf("pack of run %s", pack.RunID)
	}
	return pack, err
}

// decodeCanary decodes a canary. Its cases may be of another year, and it gives no number an
// outcome.
func (r Reader) decodeCanary(data []byte) (entries []contract.Entry, after uint64, err error) {
	pack, err := r.decodePack(data)
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

func (r Reader) decodeEntries(data []byte) ([]contract.Entry, error) {
	pack, err := r.decodePack(data)
	if err != nil {
		return nil, err
	}
	for _, entry := range pack.Entries {
		if entry.CaseID != r.Manifest.Case(entry.CaseID.Number) {
			return nil, fmt.Errorf("%s: not of series %s and year %s", entry.CaseID, r.Manifest.Prefix, r.Manifest.Year)
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

// Last returns the sequence of the newest message of the run's ledger; 0 when there is none.
func (r Reader) Last(ctx context.Context) (uint64, error) {
	return r.Bus.LastSequence(ctx, contract.StreamOutcomes, r.Manifest.RunID.OutcomeFilter())
}

// CheckEnd returns ErrMismatch when the ledger ends before a message that was already processed.
func (r Reader) CheckEnd(ctx context.Context, end uint64) error {
	last, err := r.Last(ctx)
	if err == nil && last < end {
		err = fmt.Errorf("%w: it ends at message %d, but message %d was processed before", ErrMismatch, last, end)
	}
	return err
}

// ReadTo calls take for every message up to a sequence. A ledger that ends before it is ErrMismatch.
func (r Reader) ReadTo(ctx context.Context, end uint64, take func(Message) error) error {
	if err := r.CheckEnd(ctx, end); err != nil {
		return err
	}
	return r.ReadRange(ctx, 0, end, take)
}

// ReadRange calls take for every message after one sequence and up to another, which must exist.
func (r Reader) ReadRange(ctx context.Context, after, end uint64, take func(Message) error) error {
	filter := r.Manifest.RunID.OutcomeFilter()
	return r.Bus.ReadRange(ctx, contract.StreamOutcomes, filter, after, end, r.decoding(take))
}

// EachMessage calls take for every stored message of a subject from a sequence on, in stream order,
// and returns the sequence from which to continue. An error of take ends it at that message.
func EachMessage(
	ctx context.Context, b *bus.Bus, stream, subject string, from uint64, take func(bus.Message) error,
) (next uint64, err error) {
	for {
		msg, err := b.GetNext(ctx, stream, subject, from)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return from, nil
		}
		if err == nil {
			err = take(msg)
		}
		if err != nil {
			return from, err
		}
		from = msg.Sequence + 1
	}
}
