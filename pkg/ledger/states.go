package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

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
