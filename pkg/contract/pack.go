package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrMessage is wrapped by every error about a message that this version cannot read.
var ErrMessage = errors.New("message not readable")

// StateHeader is the message header that lists the attempts of a pack, so that a reader need not
// decode the body.
const StateHeader = "Fct-Attempts"

// RepublishedHeader marks a job that was published again after it had been removed from the stream:
// it may have been done before.
const RepublishedHeader = "Fct-Again"

// ConsumerRecreateDelay is how long a generator leaves a run without a consumer before it recreates
// it. Every fetcher checks for the consumer twice as often before it pulls, and so notices.
const ConsumerRecreateDelay = 2 * time.Second

// AnswerPack is the body of an answer message: answers of one chunk that were stored together.
type AnswerPack struct {
	Version int      `json:"v"`
	RunID   RunID    `json:"run_id"`
	Answers []Answer `json:"answers"`
}

// EntryPack is the body of a ledger message: attempts of one chunk that were classified together.
type EntryPack struct {
	Version int     `json:"v"`
	RunID   RunID   `json:"run_id"`
	Entries []Entry `json:"entries"`
	// After is the ledger sequence after which a canary was requested; 0 in other packs and if
	// unknown.
	After uint64 `json:"after,omitempty"`
}

// Encode returns the pack: one line of JSON, then the raw bodies one after the other.
func (p AnswerPack) Encode() ([]byte, error) {
	var bodies [][]byte
	for i := range p.Answers {
		for j := range p.Answers[i].Exchanges {
			exchange := &p.Answers[i].Exchanges[j]
			exchange.Size = len(exchange.Body)
			bodies = append(bodies, exchange.Body)
		}
	}
	return encodePack(p, bodies)
}

// DecodeAnswers reads the form of AnswerPack.Encode; its error wraps ErrMessage.
func DecodeAnswers(data []byte) (AnswerPack, error) {
	var pack AnswerPack
	rest, err := decodeHead(data, &pack)
	if err != nil {
		return AnswerPack{}, err
	}
	if err := CheckVersion(pack.Version); err != nil {
		return AnswerPack{}, err
	}
	for i := range pack.Answers {
		if err := pack.checkAnswer(pack.Answers[i]); err != nil {
			return AnswerPack{}, err
		}
		for j := range pack.Answers[i].Exchanges {
			exchange := &pack.Answers[i].Exchanges[j]
			if exchange.Body, rest, err = splitBody(rest, exchange.Size); err != nil {
				return AnswerPack{}, err
			}
		}
	}
	return pack, checkRest(rest)
}

// checkAnswer refuses a copy that names no outcome of another run, and a copy or crashed job with
// exchanges.
func (p AnswerPack) checkAnswer(answer Answer) error {
	if answer.Crashes < 0 || answer.Crashes > 0 && (answer.Copy != nil || len(answer.Exchanges) > 0) {
		return fmt.Errorf("%w: %s: %d crashes with %d exchanges", ErrMessage, answer.CaseID, answer.Crashes, len(answer.Exchanges))
	}
	if c := answer.Copy; c != nil && (c.RunID == "" || c.RunID == p.RunID || c.Sequence == 0 || len(answer.Exchanges) > 0) {
		return fmt.Errorf("%w: %s: not a copy from another run: %+v with %d exchanges", ErrMessage, answer.CaseID, *c, len(answer.Exchanges))
	}
	return nil
}

// Encode returns the pack: one line of JSON, then the record and the raw answer of each entry.
func (p EntryPack) Encode() ([]byte, error) {
	bodies := make([][]byte, 0, 2*len(p.Entries))
	for i := range p.Entries {
		entry := &p.Entries[i]
		entry.RecordSize, entry.RawSize = len(entry.Record), len(entry.Raw)
		bodies = append(bodies, entry.Record, entry.Raw)
	}
	return encodePack(p, bodies)
}

// DecodeEntries reads the form of EntryPack.Encode; its error wraps ErrMessage.
func DecodeEntries(data []byte) (EntryPack, error) {
	var pack EntryPack
	rest, err := decodeHead(data, &pack)
	if err != nil {
		return EntryPack{}, err
	}
	if err := CheckVersion(pack.Version); err != nil {
		return EntryPack{}, err
	}
	for i := range pack.Entries {
		entry := &pack.Entries[i]
		if entry.Record, rest, err = splitBody(rest, entry.RecordSize); err != nil {
			return EntryPack{}, err
		}
		if entry.Raw, rest, err = splitBody(rest, entry.RawSize); err != nil {
			return EntryPack{}, err
		}
	}
	return pack, checkRest(rest)
}

func encodePack(pack any, bodies [][]byte) ([]byte, error) {
	head, err := json.Marshal(pack)
	if err != nil {
		return nil, fmt.Errorf("encoding a pack: %w", err)
	}
	size := len(head) + 1
	for _, body := range bodies {
		size += len(body)
	}
	data := append(make([]byte, 0, size), head...)
	data = append(data, '\n')
	for _, body := range bodies {
		data = append(data, body...)
	}
	return data, nil
}

func decodeHead(data []byte, pack any) ([]byte, error) {
	head, rest, found := bytes.Cut(data, []byte{'\n'})
	if !found {
		return nil, fmt.Errorf("%w: no end of the first line", ErrMessage)
	}
	if err := json.Unmarshal(head, pack); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return rest, nil
}

func splitBody(rest []byte, size int) (body, left []byte, err error) {
	if size < 0 || size > len(rest) {
		return nil, nil, fmt.Errorf("%w: a body of %d bytes where %d are left", ErrMessage, size, len(rest))
	}
	return rest[:size:size], rest[size:], nil
}

func checkRest(rest []byte) error {
	if len(rest) != 0 {
		return fmt.Errorf("%w: %d bytes after the last body", ErrMessage, len(rest))
	}
	return nil
}

// AttemptState describes one attempt in StateHeader. Verdict is empty in an answer, which is not
// classified yet. RetryAt is set for transient attempts that are retried.
type AttemptState struct {
	Number, Attempt int
	Verdict         Verdict
	// Final: the attempt settled the job.
	Final   bool
	RetryAt time.Time
	// StoredAt is when the message was stored. It is not in the header: the reader of the stream
	// sets it.
	StoredAt time.Time
}

// States lists the answers of the pack for StateHeader.
func (p AnswerPack) States() []AttemptState {
	states := make([]AttemptState, len(p.Answers))
	for i, answer := range p.Answers {
		states[i] = AttemptState{Number: answer.CaseID.Number, Attempt: answer.Attempt}
	}
	return states
}

// States lists the attempts of the pack for StateHeader.
func (p EntryPack) States() []AttemptState {
	states := make([]AttemptState, len(p.Entries))
	for i, entry := range p.Entries {
		states[i] = AttemptState{
			Number: entry.CaseID.Number, Attempt: entry.Attempt, Verdict: entry.Verdict,
			Final: entry.Outcome != "", RetryAt: entry.RetryAt,
		}
	}
	return states
}

// FormatStates encodes states as the value of StateHeader, separated by spaces:
// "<number>.<attempt>.<verdict>.<final>.<retry at, Unix ms>".
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
		fmt.Fprintf(&line, "%d.%d.%s.%t.%d", s.Number, s.Attempt, s.Verdict, s.Final, retry)
	}
	return line.String()
}

// ParseStates reads the form of FormatStates; its error wraps ErrMessage.
func ParseStates(line string) ([]AttemptState, error) {
	words := strings.Fields(line)
	states := make([]AttemptState, 0, len(words))
	for _, word := range words {
		parts := strings.Split(word, ".")
		if len(parts) != 5 {
			return nil, fmt.Errorf("%w: state %.60q: allowed are five parts", ErrMessage, word)
		}
		number, errNumber := strconv.Atoi(parts[0])
		attempt, errAttempt := strconv.Atoi(parts[1])
		final, errFinal := strconv.ParseBool(parts[3])
		retry, errRetry := strconv.ParseInt(parts[4], 10, 64)
		if err := errors.Join(errNumber, errAttempt, errFinal, errRetry); err != nil {
			return nil, fmt.Errorf("%w: state %.60q: %w", ErrMessage, word, err)
		}
		state := AttemptState{Number: number, Attempt: attempt, Verdict: Verdict(parts[2]), Final: final}
		if retry > 0 {
			state.RetryAt = time.UnixMilli(retry).UTC()
		}
		states = append(states, state)
	}
	return states, nil
}
