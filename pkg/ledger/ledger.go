// Package ledger writes and reads packs: the messages of the streams FCT_ANSWERS and FCT_OUTCOMES,
// which hold what happened to the numbers of each run. It reads the ledger of one run message by message.
//
// A pack is one line of JSON, then the bodies of its exchanges, or the records and raw answers of
// its entries, one after the other. The JSON has their sizes. From 1 KiB on they are compressed; the
// line stays readable in the stream.
package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// compressedPrefix begins a message whose bodies are compressed. Any other begins with a brace.
	compressedPrefix = "s2\n"
	// minCompressSize is the size in bytes from which compression pays off. JSON with many similar
	// rows, such as answers and records, shrinks to an eighth.
	minCompressSize = 1 << 10
	// maxDecompressedSize bounds decompressed bodies in bytes: a few answers of the largest size.
	maxDecompressedSize = 1 << 30
	// maxScratch is the size in bytes of the largest pack whose buffers are kept for the next one: what
	// services put into one message on purpose.
	maxScratch = 4 << 20
)

// Pack is what a message of answers, or of the ledger, consists of.
type Pack interface {
	contract.AnswerPack | contract.EntryPack
}

// Encoder makes the messages that store packs. It keeps the buffers that it works in, which have the
// size of all bodies of a pack: a message holds none of them. The zero value is ready to use, by
// several goroutines at once.
type Encoder struct {
	// kept are the buffers for the next pack; nil while they are in use. A sync.Pool would lose them
	// with every second collection of garbage, which is after a few packs.
	kept atomic.Pointer[scratch]
}

// scratch are the buffers of one pack: its first line, its bodies, and their compressed form.
type scratch struct {
	head               bytes.Buffer
	bodies, compressed []byte
}

// AnswerMessage returns the message that stores answers of one chunk, at least one.
func (e *Encoder) AnswerMessage(run contract.RunID, answers []contract.Answer) (*nats.Msg, error) {
	states := make([]AttemptState, len(answers))
	for i, a := range answers {
		states[i] = AttemptState{Number: a.CaseID.Number, Attempt: a.Attempt}
	}
	return newMessage(e, run.AnswerSubject(contract.Chunk(answers[0].CaseID.Number)), states,
		contract.AnswerPack{Version: contract.MessageVersion, RunID: run, Answers: answers})
}

// EntryMessage returns the message that stores entries of one chunk, at least one, in the ledger.
func (e *Encoder) EntryMessage(run contract.RunID, entries []contract.Entry) (*nats.Msg, error) {
	states := make([]AttemptState, len(entries))
	for i, e := range entries {
		states[i] = AttemptState{
			Number: e.CaseID.Number, Attempt: e.Attempt, Verdict: e.Verdict, Outcome: e.Outcome, RetryAt: e.RetryAt,
		}
	}
	return newMessage(e, run.OutcomeSubject(contract.Chunk(entries[0].CaseID.Number)), states,
		contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: entries})
}

// CanaryMessage returns the message that stores a canary in the ledger; after is the last message
// that its requester had read, 0 if unknown.
func CanaryMessage(run contract.RunID, entries []contract.Entry, after uint64) (*nats.Msg, error) {
	return newMessage(new(Encoder), run.CanarySubject(), nil,
		contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: entries, After: after})
}

func newMessage[P Pack](e *Encoder, subject string, states []AttemptState, pack P) (*nats.Msg, error) {
	msg := nats.NewMsg(subject)
	if len(states) > 0 {
		msg.Header.Set(StateHeader, FormatStates(states))
	}
	var err error
	msg.Data, err = encode(e, pack)
	return msg, err
}

// Encode returns the data of the message that stores a pack. An Encoder is cheaper for many packs.
func Encode[P Pack](pack P) ([]byte, error) { return encode(new(Encoder), pack) }

func encode[P Pack](e *Encoder, pack P) ([]byte, error) {
	bodies := bodiesOf(any(&pack), true)
	size := 0
	for _, b := range bodies {
		*b.size = len(*b.data)
		size += *b.size
	}
	buffers := cmp.Or(e.kept.Swap(nil), new(scratch))
	defer e.keep(buffers)
	buffers.head.Reset()
	if err := json.NewEncoder(&buffers.head).Encode(&pack); err != nil { // with the end of the line
		return nil, fmt.Errorf("encoding a pack: %w", err)
	}
	buffers.bodies = appendBodies(slices.Grow(buffers.bodies[:0], size), bodies)
	if size < minCompressSize {
		return slices.Concat(buffers.head.Bytes(), buffers.bodies), nil
	}
	return slices.Concat([]byte(compressedPrefix), buffers.head.Bytes(), buffers.compress()), nil
}

// keep keeps buffers for another pack, unless they are too large.
func (e *Encoder) keep(used *scratch) {
	if len(used.bodies) <= maxScratch {
		e.kept.Store(used)
	}
}

// compress returns the compressed bodies, until its next call.
func (s *scratch) compress() []byte {
	s.compressed = slices.Grow(s.compressed[:0], s2.MaxEncodedLen(len(s.bodies)))
	return s2.Encode(s.compressed[:cap(s.compressed)], s.bodies)
}

func appendBodies(data []byte, bodies []body) []byte {
	for _, b := range bodies {
		data = append(data, *b.data...)
	}
	return data
}

// Decode reads the data of a message that stores a pack; its error wraps contract.ErrMessage.
func Decode[P Pack](data []byte) (P, error) {
	pack, _, err := DecodeInto[P](data, nil)
	return pack, err
}

// DecodeInto is Decode with memory for the decompressed bodies. It returns the memory to pass to the
// next call, which overwrites the bodies of this pack: buffer, or a new one if buffer is too small.
func DecodeInto[P Pack](data, buffer []byte) (pack P, reusable []byte, err error) {
	head, bodies, reusable, err := split(data, buffer)
	if err == nil {
		err = decode(head, bodies, any(&pack))
	}
	if err != nil {
		var none P
		return none, reusable, err
	}
	return pack, reusable, nil
}

// decode reads the two parts of a message into a pack.
func decode(head, rest []byte, pack any) (err error) {
	if err := jsonv2.Unmarshal(head, pack); err != nil {
		return fmt.Errorf("%w: %w", contract.ErrMessage, err)
	}
	switch pack := pack.(type) {
	case *contract.AnswerPack:
		err = checkAnswers(*pack)
	case *contract.EntryPack:
		err = contract.CheckVersion(pack.Version)
	}
	if err != nil {
		return err
	}
	for _, b := range bodiesOf(pack, false) {
		size := *b.size
		if size < 0 || size > len(rest) {
			return fmt.Errorf("%w: a body of %d bytes where %d are left", contract.ErrMessage, size, len(rest))
		}
		*b.data, rest = rest[:size:size], rest[size:]
	}
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the last body", contract.ErrMessage, len(rest))
	}
	return nil
}

// split returns the first line of a message and the bodies, which it decompresses into buffer if
// that is large enough; reusable is then buffer, and otherwise a new one.
func split(data, buffer []byte) (head, bodies, reusable []byte, err error) {
	data, compressed := bytes.CutPrefix(data, []byte(compressedPrefix))
	head, bodies, found := bytes.Cut(data, []byte{'\n'})
	if !found {
		return nil, nil, buffer, fmt.Errorf("%w: no end of the first line", contract.ErrMessage)
	}
	if !compressed {
		return head, bodies, buffer, nil
	}
	size, err := s2.DecodedLen(bodies)
	if err == nil && size > maxDecompressedSize {
		err = fmt.Errorf("%d bytes: allowed are %d", size, maxDecompressedSize)
	}
	if err == nil {
		if cap(buffer) < size {
			buffer = make([]byte, size)
		}
		bodies, err = s2.Decode(buffer[:cap(buffer)], bodies)
	}
	if err != nil {
		return nil, nil, buffer, fmt.Errorf("%w: decompressing: %w", contract.ErrMessage, err)
	}
	return head, bodies, buffer, nil
}

// checkAnswers refuses a copy that names no outcome of another run, and a copy or crashed job with
// exchanges.
func checkAnswers(pack contract.AnswerPack) error {
	for _, a := range pack.Answers {
		if a.Crashes < 0 || a.Crashes > 0 && (a.Copy != nil || len(a.Exchanges) > 0) {
			return fmt.Errorf("%w: %s: %d crashes with %d exchanges", contract.ErrMessage, a.CaseID, a.Crashes,
				len(a.Exchanges))
		}
		if c := a.Copy; c != nil && (c.RunID == "" || c.RunID == pack.RunID || c.Sequence == 0 || len(a.Exchanges) > 0) {
			return fmt.Errorf("%w: %s: not a copy from another run: %+v with %d exchanges", contract.ErrMessage, a.CaseID,
				*c, len(a.Exchanges))
		}
	}
	return contract.CheckVersion(pack.Version)
}

// body is what a pack stores behind its JSON, and the field of the JSON that has its size.
type body struct {
	size *int
	data *[]byte
}

// bodiesOf returns the bodies of a pack in the order in which they are stored. With detach, it first
// replaces the slices of the pack by copies, so that a size may be set without changing the
// originals.
func bodiesOf(pack any, detach bool) (bodies []body) {
	switch pack := pack.(type) {
	case *contract.AnswerPack:
		if detach {
			pack.Answers = slices.Clone(pack.Answers)
		}
		bodies = make([]body, 0, 2*len(pack.Answers)) // enough for a docket and a header each
		for i := range pack.Answers {
			a := &pack.Answers[i]
			if detach {
				a.Exchanges = slices.Clone(a.Exchanges)
			}
			for j := range a.Exchanges {
				bodies = append(bodies, body{&a.Exchanges[j].Size, &a.Exchanges[j].Body})
			}
		}
	case *contract.EntryPack:
		if detach {
			pack.Entries = slices.Clone(pack.Entries)
		}
		bodies = make([]body, 0, 2*len(pack.Entries))
		for i := range pack.Entries {
			e := &pack.Entries[i]
			bodies = append(bodies, body{&e.RecordSize, &e.Record}, body{&e.RawSize, &e.Raw})
		}
	}
	return bodies
}

// StateHeader is the message header that lists the attempts of a pack, so that a reader need not
// decode the body. A canary has none.
const StateHeader = "Fct-Attempts"

// AttemptState describes one attempt in StateHeader. Verdict is empty in an answer, which is not
// classified yet. RetryAt is set for transient attempts that are retried.
type AttemptState struct {
	Number, Attempt int
	Verdict         contract.Verdict
	// Outcome is set if the attempt gave the number its outcome. The header has only whether it is
	// set: the verdict tells which it is.
	Outcome contract.Outcome
	RetryAt time.Time
	// StoredAt is when the message was stored. It is not in the header: the reader of the stream
	// sets it.
	StoredAt time.Time
}

// FormatStates encodes states as the value of StateHeader, separated by spaces:
// "<number>.<attempt>.<verdict>.<has outcome>.<retry at, Unix ms>".
func FormatStates(states []AttemptState) string {
	var line strings.Builder
	for i, s := range states {
		if i > 0 {
			line.WriteByte(' ')
		}
		retry := int64(0)
		if !s.RetryAt.IsZero() {
			retry = s.RetryAt.UnixMilli()
		}
		fmt.Fprintf(&line, "%d.%d.%s.%t.%d", s.Number, s.Attempt, s.Verdict, s.Outcome != "", retry)
	}
	return line.String()
}

// ParseStates reads the form of FormatStates; its error wraps contract.ErrMessage.
func ParseStates(line string) ([]AttemptState, error) {
	words := strings.Fields(line)
	states := make([]AttemptState, 0, len(words))
	for _, word := range words {
		parts := strings.Split(word, ".")
		if len(parts) != 5 {
			return nil, fmt.Errorf("%w: state %.60q: allowed are five parts", contract.ErrMessage, word)
		}
		number, errNumber := strconv.Atoi(parts[0])
		attempt, errAttempt := strconv.Atoi(parts[1])
		hasOutcome, errOutcome := strconv.ParseBool(parts[3])
		retry, errRetry := strconv.ParseInt(parts[4], 10, 64)
		if err := errors.Join(errNumber, errAttempt, errOutcome, errRetry); err != nil {
			return nil, fmt.Errorf("%w: state %.60q: %w", contract.ErrMessage, word, err)
		}
		state := AttemptState{Number: number, Attempt: attempt, Verdict: contract.Verdict(parts[2])}
		if hasOutcome {
			state.Outcome = outcomeOf(state.Verdict)
		}
		if retry > 0 {
			state.RetryAt = time.UnixMilli(retry).UTC()
		}
		states = append(states, state)
	}
	return states, nil
}

// outcomeOf returns the outcome that an attempt with this verdict gave its number.
func outcomeOf(verdict contract.Verdict) contract.Outcome {
	if outcome, implied := verdict.Outcome(); implied {
		return outcome
	}
	return contract.Failed
}

// ErrMismatch means that the ledger of a run cannot be read, or that it does not agree with the
// run's counts, files or keys. The program exits with 7.
var ErrMismatch = errors.New("ledger mismatch")

// Reader reads the ledger of one run, in stream order.
type Reader struct {
	Bus      *bus.Bus
	Manifest contract.Manifest
	// Memory is used for records and raw answers; each message must then be released. Nil allocates
	// new memory for each message.
	Memory *Memory
}

// Memory holds the memory of released messages for the next ones. It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	unused [][]byte
	// size is how many bytes unused has.
	size int
}

// maxUnused is how many bytes a Memory holds; memory that is released beyond it is not reused.
const maxUnused = 4 << 20

func (m *Memory) take() []byte {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unused) == 0 {
		return nil
	}
	last := m.unused[len(m.unused)-1]
	m.unused, m.size = m.unused[:len(m.unused)-1], m.size-cap(last)
	return last
}

func (m *Memory) give(piece []byte) {
	if m == nil || cap(piece) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size+cap(piece) <= maxUnused {
		m.unused, m.size = append(m.unused, piece), m.size+cap(piece)
	}
}

// Message is one decoded message of the ledger: entries, a canary, or the message that all jobs are
// published.
type Message struct {
	Sequence uint64
	Planned  *contract.Planned
	Entries  []contract.Entry
	Canary   []contract.Entry
	After    uint64 // the last message that the requester of the canary had read
	Size     int    // the bytes of the message with records and raw answers decompressed
	// bodies is the memory of records and raw answers, which goes back to memory.
	bodies []byte
	memory *Memory
}

// Release gives the memory of the records and raw answers back, which must not be used any more. It
// must be called at most once for a message, and does nothing if the Reader has no Memory.
func (m Message) Release() { m.memory.give(m.bodies) }

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
	decoded := Message{Sequence: msg.Sequence, Size: len(msg.Data), memory: r.Memory}
	var err error
	var pack contract.EntryPack
	if msg.Subject == r.Manifest.RunID.PlannedSubject() {
		decoded.Planned, err = r.DecodePlanned(msg.Data)
	} else {
		pack, decoded.bodies, err = DecodeInto[contract.EntryPack](msg.Data, r.Memory.take())
	}
	for _, e := range pack.Entries {
		decoded.Size += len(e.Record) + len(e.Raw)
	}
	switch {
	case decoded.Planned != nil || err != nil:
	case pack.RunID != r.Manifest.RunID:
		err = fmt.Errorf("pack of run %s", pack.RunID)
	case msg.Subject == r.Manifest.RunID.CanarySubject():
		decoded.Canary, decoded.After, err = pack.Entries, pack.After, checkCanary(pack)
	default:
		decoded.Entries, err = pack.Entries, r.checkEntries(pack)
	}
	if err != nil {
		return Message{}, fmt.Errorf("%w: message %d on %s: %w", ErrMismatch, decoded.Sequence, msg.Subject, err)
	}
	return decoded, nil
}

// DecodePlanned decodes which jobs the run has. It rejects numbers that contradict each other: a run that
// waits for more outcomes than it has jobs never ends.
func (r Reader) DecodePlanned(data []byte) (*contract.Planned, error) {
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

// checkCanary checks a canary. Its cases may be of another year, and it gives no number an outcome.
func checkCanary(pack contract.EntryPack) error {
	if len(pack.Entries) == 0 {
		return errors.New("a canary without a case")
	}
	for _, entry := range pack.Entries {
		if entry.Outcome != "" {
			return fmt.Errorf("%s: outcome %.40q: a canary has none", entry.CaseID, entry.Outcome)
		}
	}
	return nil
}

func (r Reader) checkEntries(pack contract.EntryPack) error {
	for _, entry := range pack.Entries {
		if entry.CaseID != r.Manifest.Case(entry.CaseID.Number) {
			return fmt.Errorf("%s: not of series %s and year %s", entry.CaseID, r.Manifest.Prefix, r.Manifest.Year)
		}
		if entry.Outcome != "" && !entry.Outcome.Valid() {
			return fmt.Errorf("%s: outcome %.40q: allowed are success, no-record and failed", entry.CaseID, entry.Outcome)
		}
		if entry.Outcome == contract.Success && len(entry.Record) == 0 {
			return fmt.Errorf("%s: success without a record", entry.CaseID)
		}
	}
	return nil
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
