package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"fct-scraper/pkg/contract"
)

// ledger reads the ledger of one run, in stream order.
type ledger struct {
	js       jetstream.JetStream
	manifest contract.Manifest
}

// message is one decoded message of the ledger: either entries or the word that all jobs are published.
type message struct {
	sequence uint64
	planned  *contract.Planned
	entries  []contract.Entry
	size     int
}

// prefetch bounds what lies in memory before it is folded: packs have up to half a megabyte.
const prefetch = 64

// errEnough stops a reader that has what it came for.
var errEnough = errors.New("enough read")

// read hands every message after a sequence to take, one by one, and waits for more until the context ends or
// take returns an error. What cannot be understood is ErrLedger: leaving it out would make the counts wrong.
func (l ledger) read(ctx context.Context, after uint64, take func(message) error) error {
	consumer, err := l.js.OrderedConsumer(ctx, contract.StreamOutcomes, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{l.manifest.RunID.OutcomeFilter()},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		InactiveThreshold: 30 * time.Second,
		MaxResetAttempts:  3,
	})
	if err != nil {
		return fmt.Errorf("reading the ledger of %s: %w", l.manifest.RunID, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return fmt.Errorf("reading the ledger of %s: %w", l.manifest.RunID, err)
	}
	defer messages.Stop()
	for {
		next, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("reading the ledger of %s: %w", l.manifest.RunID, err)
		}
		decoded, err := l.decode(next)
		if err != nil {
			return err
		}
		if err := take(decoded); err != nil {
			return err
		}
	}
}

func (l ledger) decode(msg jetstream.Msg) (message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return message{}, fmt.Errorf("reading the ledger of %s: %w", l.manifest.RunID, err)
	}
	decoded := message{sequence: meta.Sequence.Stream, size: len(msg.Data())}
	if msg.Subject() == l.manifest.RunID.PlannedSubject() {
		decoded.planned, err = decodePlanned(msg.Data())
	} else {
		decoded.entries, err = l.decodeEntries(msg.Data())
	}
	if err != nil {
		return message{}, fmt.Errorf("%w: message %d on %s: %w", ErrLedger, decoded.sequence, msg.Subject(), err)
	}
	return decoded, nil
}

func decodePlanned(data []byte) (*contract.Planned, error) {
	var planned contract.Planned
	if err := json.Unmarshal(data, &planned); err != nil {
		return nil, fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	if planned.Version != contract.MessageVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", contract.ErrMessage, planned.Version, contract.MessageVersion)
	}
	return &planned, nil
}

func (l ledger) decodeEntries(data []byte) ([]contract.Entry, error) {
	pack, err := contract.DecodeEntries(data)
	if err != nil {
		return nil, err
	}
	if pack.RunID != l.manifest.RunID {
		return nil, fmt.Errorf("pack of run %s", pack.RunID)
	}
	for _, entry := range pack.Entries {
		if entry.CaseID != l.manifest.Case(entry.CaseID.Number) {
			return nil, fmt.Errorf("%s: not of series %s and year %s", entry.CaseID, l.manifest.Prefix, l.manifest.Year)
		}
		if entry.Outcome != "" && !entry.Outcome.Valid() {
			return nil, fmt.Errorf("%s: outcome %.40q: allowed are success, no-record and failed", entry.CaseID, entry.Outcome)
		}
		if entry.Outcome == contract.Success && entry.Record == nil {
			return nil, fmt.Errorf("%s: success without a record", entry.CaseID)
		}
	}
	return pack.Entries, nil
}

// last is the sequence of the newest message of the run's ledger; 0 when there is none.
func (l ledger) last(ctx context.Context) (uint64, error) {
	stream, err := l.js.Stream(ctx, contract.StreamOutcomes)
	if err != nil {
		return 0, fmt.Errorf("looking for the end of the ledger: %w", err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, l.manifest.RunID.OutcomeFilter())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking for the end of the ledger: %w", err)
	}
	return msg.Sequence, nil
}

// readTo hands every message up to a sequence to take and returns. A ledger that ends before it is ErrLedger.
func (l ledger) readTo(ctx context.Context, end uint64, take func(message) error) error {
	last, err := l.last(ctx)
	if err != nil || end == 0 {
		return err
	}
	if last < end {
		return fmt.Errorf("%w: it ends at message %d, %d had been read", ErrLedger, last, end)
	}
	err = l.read(ctx, 0, func(m message) error {
		if m.sequence <= end {
			if err := take(m); err != nil {
				return err
			}
		}
		if m.sequence >= end {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}
