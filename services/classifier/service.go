// Package classifier classifies answers: it decides what a site returned for a case and whether the
// attempt is retried.
package classifier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
)

// Reader reads the exchanges of one attempt. It must depend only on its arguments.
type Reader func(id contract.CaseID, exchanges []contract.Exchange) contract.Classification

// Options configures a Service.
type Options struct {
	Bus     *bus.Bus
	Log     *slog.Logger
	Read    Reader
	Backoff Backoff
	// Workers is the number of packs that are classified concurrently; 0 means 1.
	Workers int
}

const (
	// blockedRedeliveryDelay delays the job of a blocked answer. It is not fetched before the run
	// continues.
	blockedRedeliveryDelay = time.Second
	// rejectedRedeliveryDelay delays the job of a copy that has no outcome to copy. By then its
	// answer has been removed from the stream.
	rejectedRedeliveryDelay = 100 * time.Millisecond
	// maxClockSkew is the assumed maximum by which the clock of a fetcher is ahead of the local
	// clock.
	maxClockSkew = 2 * time.Second
	// maxPackBytes limits the bytes of records and raw answers in one ledger message, except for a
	// single larger entry. Copies may refer to more than one message can hold.
	maxPackBytes = 4 << 20
)

// Service classifies answers and writes the ledger. It is stateless: an answer that is classified
// twice yields the same entries twice, and readers of the ledger take the first.
type Service struct {
	Options
	encoder ledger.Encoder
	// memories are unused *memory.
	memories sync.Pool
}

// memory is what the answers and records of one pack are kept in until the pack is settled. The next
// pack reuses it.
type memory struct {
	// bodies are the decompressed bodies of the answers, files the contents of the records' files.
	bodies, files []byte
}

// maxKeptMemory limits the bytes of each part of a memory that is reused. Packs are mostly smaller.
const maxKeptMemory = 4 << 20

func (s *Service) memory() *memory {
	if unused, ok := s.memories.Get().(*memory); ok {
		return unused
	}
	return new(memory)
}

// release keeps a memory for another pack. Nothing may refer to it any more.
func (s *Service) release(m *memory) {
	if cap(m.bodies) <= maxKeptMemory && cap(m.files) <= maxKeptMemory {
		s.memories.Put(m)
	}
}

// New returns a Service.
func New(opts Options) *Service { return &Service{Options: opts} }

// Run classifies answers until ctx ends. Cancellation is not an error.
func (s *Service) Run(ctx context.Context) error {
	answers, err := s.Bus.JetStream().Consumer(ctx, contract.StreamAnswers, "classifier")
	if err != nil && ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("running the classifier: opening its consumer: %w", err)
	}
	err = bus.Consume(ctx, s.Bus, bus.ConsumeOptions[[]byte]{
		Consumer: answers, Workers: s.Workers, Handle: func(ctx context.Context, d bus.Delivery[[]byte]) error {
			m := s.memory()
			defer s.release(m)
			return s.handle(ctx, d, m)
		},
		Decode: func(data []byte) ([]byte, error) { return data, nil }, // handle decodes into a memory
	})
	if err != nil {
		return fmt.Errorf("running the classifier: %w", err)
	}
	return nil
}

// handle decodes and classifies the pack of a message. Nothing refers to m when it returns: the
// messages that it publishes are encoded before.
func (s *Service) handle(ctx context.Context, d bus.Delivery[[]byte], m *memory) (err error) {
	var pack contract.AnswerPack
	if pack, m.bodies, err = ledger.DecodeInto[contract.AnswerPack](d.Body, m.bodies); err != nil {
		return bus.Discard(err)
	}
	return s.classify(ctx, bus.Delivery[contract.AnswerPack]{
		Body: pack, Subject: d.Subject, Sequence: d.Sequence, StoredAt: d.StoredAt, Header: d.Header,
	}, m)
}

// classify writes the entries of a pack of answers to the ledger, then settles their jobs. The pack
// is acknowledged after that, so it is redelivered after a crash at any point.
func (s *Service) classify(ctx context.Context, d bus.Delivery[contract.AnswerPack], m *memory) error {
	copies := copies{bus: s.Bus}
	m.files = m.files[:0]
	var entries []contract.Entry
	var ackSubjects, rejected []string
	for _, answer := range d.Body.Answers {
		if answer.Crashes > 0 {
			entries, ackSubjects = append(entries, crashedEntry(answer, d.StoredAt)),
				append(ackSubjects, answer.AckSubject)
			continue
		}
		if answer.Copy == nil {
			entries, ackSubjects = append(entries, s.newEntry(d.Body.RunID, answer, time.Now(), m)),
				append(ackSubjects, answer.AckSubject)
			continue
		}
		entry, found, err := copies.copyEntry(ctx, d, answer)
		switch {
		case err != nil:
			return err
		case found:
			entries, ackSubjects = append(entries, entry), append(ackSubjects, answer.AckSubject)
		default:
			s.Log.Warn("classifier.copy.refused", "run_id", d.Body.RunID, "case_id", answer.CaseID.String(),
				"from", answer.Copy.RunID, "sequence", answer.Copy.Sequence)
			rejected = append(rejected, answer.AckSubject)
		}
	}
	if err := s.writeEntries(ctx, d.Body.RunID, entries); err != nil {
		return fmt.Errorf("writing the ledger of run %s: %w", d.Body.RunID, err)
	}
	for i, entry := range entries {
		if err := s.Bus.Settle(ackSubjects[i], settlementOf(entry)); err != nil {
			return err
		}
	}
	for _, subject := range rejected { // nothing is known of their numbers
		if err := s.Bus.Settle(subject, bus.NakAfter(rejectedRedeliveryDelay)); err != nil {
			return err
		}
	}
	return nil
}

// writeEntries writes entries of one chunk to the ledger in as few messages as possible.
func (s *Service) writeEntries(ctx context.Context, run contract.RunID, entries []contract.Entry) error {
	for len(entries) > 0 {
		n, size := 1, payloadSize(entries[0])
		for n < len(entries) && size+payloadSize(entries[n]) <= maxPackBytes {
			size += payloadSize(entries[n])
			n++
		}
		msg, err := s.encoder.EntryMessage(run, entries[:n])
		if err == nil {
			_, err = s.Bus.Publish(ctx, msg)
		}
		if errors.Is(err, bus.ErrTooLarge) && n == 1 && dropTooLarge(&entries[0]) {
			continue
		}
		if err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// dropTooLarge drops what exceeds the message size from an entry: its raw answer, or else its
// record, which makes the number failed. It returns false if there is nothing to drop.
func dropTooLarge(entry *contract.Entry) bool {
	switch {
	case len(entry.Raw) > 0:
		entry.Notes = append(entry.Notes, fmt.Sprintf("the store cannot hold the raw answer: %d bytes", len(entry.Raw)))
		entry.Raw, entry.RawType = nil, ""
	case len(entry.Record) > 0:
		entry.Verdict, entry.Outcome, entry.Rule = contract.VerdictTransient, contract.Failed, "record"
		entry.Error = fmt.Sprintf("the store cannot hold the record: %d bytes", len(entry.Record))
		entry.Record, entry.FiledOn = nil, ""
	default:
		return false
	}
	return true
}

// payloadSize returns the bytes of record and raw answer of an entry.
func payloadSize(entry contract.Entry) int { return len(entry.Record) + len(entry.Raw) }

// settlementOf acknowledges the job of a final entry and delays the job of any other one until it
// may be retried.
func settlementOf(entry contract.Entry) bus.Settlement {
	switch {
	case entry.Outcome != "":
		return bus.Ack
	case entry.Verdict == contract.VerdictBlocked:
		return bus.NakAfter(blockedRedeliveryDelay)
	default:
		return bus.NakAfter(max(time.Millisecond, time.Until(entry.RetryAt)))
	}
}

// newEntry returns the ledger entry of an answer. The content of its record is in m.
func (s *Service) newEntry(run contract.RunID, answer contract.Answer, now time.Time, m *memory) contract.Entry {
	reading := s.readAnswer(answer)
	entry := contract.Entry{
		CaseID: answer.CaseID, Attempt: answer.Attempt, Verdict: reading.Verdict, Rule: reading.Rule,
		Error: reading.Error, Notes: reading.Notes, PlannedAt: answer.PlannedAt, Requests: addDigests(answer.Exchanges),
	}
	if reading.Record != nil {
		start := len(m.files)
		m.files = reading.Record.AppendFileContent(m.files)
		entry.FiledOn, entry.Record = reading.Record.FiledOn, m.files[start:len(m.files):len(m.files)]
	}
	ended := now
	if len(answer.Exchanges) > 0 {
		last := answer.Exchanges[len(answer.Exchanges)-1]
		entry.StartedAt = answer.Exchanges[0].StartedAt
		// A wall clock that was set back since the attempt must not extend the wait. The end of the
		// attempt also yields the same wait when an answer is classified twice.
		if end := last.StartedAt.Add(time.Duration(last.Seconds * float64(time.Second))); end.Before(now.Add(maxClockSkew)) {
			ended = end
		}
		entry.Seconds = answer.Seconds
	}
	outcome, final := reading.Verdict.Outcome()
	switch {
	case final:
		entry.Outcome = outcome
	case reading.Verdict == contract.VerdictTransient && answer.Attempt >= answer.MaxAttempts:
		entry.Outcome = contract.Failed
	case reading.Verdict == contract.VerdictTransient:
		entry.RetryAt = ended.Add(s.Backoff.Delay(run, answer.CaseID.Number, answer.Attempt)).UTC()
	}
	storeRaw := answer.KeepRaw || entry.Outcome == contract.Failed || reading.Verdict == contract.VerdictBlocked
	if storeRaw && reading.Raw >= 0 && reading.Raw < len(answer.Exchanges) &&
		len(answer.Exchanges[reading.Raw].Body) > 0 {
		entry.Raw, entry.RawType = answer.Exchanges[reading.Raw].Body, reading.RawType
	}
	return entry
}

// crashedEntry returns the ledger entry of a job that crashed too many processes. It is failed,
// whatever attempts were left, and its requests are unknown. The result is deterministic: its start
// is the time at which the answer was stored.
func crashedEntry(answer contract.Answer, storedAt time.Time) contract.Entry {
	return contract.Entry{
		CaseID: answer.CaseID, Attempt: answer.Attempt, Verdict: contract.VerdictTransient, Outcome: contract.Failed,
		Rule: "crash", Error: "worker crashed",
		Notes:     []string{fmt.Sprintf("%d processes died while they held it", answer.Crashes)},
		StartedAt: storedAt.UTC(), PlannedAt: answer.PlannedAt,
	}
}

// readAnswer reads an answer. If the reader panics or returns an invalid verdict, the result is
// transient: it must neither count as a no-record nor be redelivered forever.
func (s *Service) readAnswer(answer contract.Answer) (reading contract.Classification) {
	defer func() {
		if cause := recover(); cause != nil {
			s.Log.Error("classifier.reader.panic", "case_id", answer.CaseID.String(), "panic", fmt.Sprint(cause))
			reading = contract.Classification{Verdict: contract.VerdictTransient, Rule: "panic",
				Error: fmt.Sprintf("reading the answer: panic: %v", cause)}
		}
	}()
	reading = s.Read(answer.CaseID, answer.Exchanges)
	if answer.Aborted && reading.Verdict != contract.VerdictBlocked {
		return contract.Classification{Verdict: contract.VerdictBlocked, Rule: "cut-off",
			Error: "cut off by a block of the site", Raw: -1}
	}
	switch reading.Verdict {
	case contract.VerdictNoRecord, contract.VerdictTransient, contract.VerdictBlocked:
		reading.Record = nil
	case contract.VerdictSuccess:
		if reading.Record == nil || reading.Record.CaseID != answer.CaseID {
			return contract.Classification{Verdict: contract.VerdictTransient, Rule: "record",
				Error: "reading the answer: a success without the record of the case",
				Raw:   reading.Raw, RawType: reading.RawType}
		}
	default:
		return contract.Classification{Verdict: contract.VerdictTransient, Rule: "verdict",
			Error: fmt.Sprintf("reading the answer: invalid verdict: %.40q", string(reading.Verdict))}
	}
	return reading
}

// addDigests sets the digest of every exchange that has a body. The ledger does not store bodies;
// the digest shows later whether two answers were equal, and identifies a stored raw answer.
func addDigests(exchanges []contract.Exchange) []contract.Exchange {
	for i := range exchanges {
		if len(exchanges[i].Body) > 0 {
			exchanges[i].Digest = digest(exchanges[i].Body)
		}
	}
	return exchanges
}

func digest(body []byte) string {
	const name = "sha256:"
	sum := sha256.Sum256(body)
	return string(hex.AppendEncode([]byte(name), sum[:]))
}
