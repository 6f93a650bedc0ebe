package generator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// ErrCommand marks every error of a command that starts or stops nothing.
var ErrCommand = errors.New("command refused")

// ReadStart reads the body of batch.start over the defaults of this process. Its error wraps ErrCommand and
// names every bad field with its value and what is allowed.
func ReadStart(data []byte, defaults Batch) (Batch, error) {
	batch := defaults
	problems, err := readObject(data, batch.fields())
	if err != nil {
		return Batch{}, err
	}
	if len(problems) == 0 {
		problems = batch.check()
	}
	if len(problems) > 0 {
		return Batch{}, fmt.Errorf("%w: %s", ErrCommand, strings.Join(problems, "; "))
	}
	return batch, nil
}

// ReadStop reads the body of batch.stop. Its error wraps ErrCommand.
func ReadStop(data []byte) (contract.RunID, error) {
	var run contract.RunID
	problems, err := readObject(data, map[string]field{"run_id": runID(&run)})
	if err != nil {
		return "", err
	}
	if run == "" && len(problems) == 0 {
		problems = []string{"run_id is missing: allowed is the id of a run"}
	}
	if len(problems) > 0 {
		return "", fmt.Errorf("%w: %s", ErrCommand, strings.Join(problems, "; "))
	}
	return run, nil
}

// field stores the value of one key, or says what is allowed instead.
type field func(value json.RawMessage) (allowed string, ok bool)

// fields are the keys of batch.start, aliases included.
func (b *Batch) fields() map[string]field {
	retries := whole(&b.MaxRetries, 0, 20)
	noRecords := whole(&b.SafeStopNoRecords, 0, contract.MaxNumber)
	fails := whole(&b.SafeStopFails, 0, contract.MaxNumber)
	return map[string]field{
		"run_id":                          runID(&b.RunID),
		"prefix":                          text(&b.Prefix, contract.CheckSeries, "1 to 5 capital ASCII letters"),
		"year":                            text(&b.Year, contract.CheckYear, "two ASCII digits"),
		"start":                           whole(&b.Start, 1, contract.MaxNumber),
		"max_cases":                       whole(&b.MaxCases, 1, contract.MaxNumber),
		"end":                             whole(&b.End, 1, contract.MaxNumber),
		"probe":                           yesNo(&b.Probe),
		"probe_budget":                    whole(&b.ProbeBudget, 1, contract.MaxNumber),
		"max_retries":                     retries,
		"retry_limit":                     retries,
		"safe_stop_no_records":            noRecords,
		"safe_stop_consecutive_no_record": noRecords,
		"safe_stop_fails":                 fails,
		"safe_stop_consecutive_fail":      fails,
		"recheck":                         yesNo(&b.Recheck),
		"force":                           yesNo(&b.Force),
		"persist_raw_html":                yesNo(&b.PersistRawHTML),
		"probe_only":                      yesNo(&b.ProbeOnly),
		"new":                             yesNo(&b.New),
	}
}

// readObject hands each key of a JSON object to its field and returns what was wrong, sorted by key.
func readObject(data []byte, fields map[string]field) ([]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("%w: reading the body %s: allowed is a JSON object: %w", ErrCommand, show(data), err)
	}
	if object == nil {
		return nil, fmt.Errorf("%w: body %s: allowed is a JSON object", ErrCommand, show(data))
	}
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		read, known := fields[key]
		if !known {
			problems = append(problems, fmt.Sprintf("unknown field %.40q: allowed are %s", key, strings.Join(slices.Sorted(maps.Keys(fields)), ", ")))
			continue
		}
		if allowed, ok := read(object[key]); !ok {
			problems = append(problems, fmt.Sprintf("%s %s: allowed is %s", key, show(object[key]), allowed))
		}
	}
	return problems, nil
}

// show quotes a value of somebody else's so that it can stand in a message: short, and without control characters.
func show(value []byte) string { return fmt.Sprintf("%.60q", value) }

func whole(to *int, least, most int) field {
	return func(value json.RawMessage) (string, bool) {
		allowed := fmt.Sprintf("a whole number, %d to %d", least, most)
		var n *int
		if err := json.Unmarshal(value, &n); err != nil || n == nil || *n < least || *n > most {
			return allowed, false
		}
		*to = *n
		return "", true
	}
}

func yesNo(to *bool) field {
	return func(value json.RawMessage) (string, bool) {
		var b *bool
		if err := json.Unmarshal(value, &b); err != nil || b == nil {
			return "true or false", false
		}
		*to = *b
		return "", true
	}
}

func text(to *string, check func(string) error, allowed string) field {
	return func(value json.RawMessage) (string, bool) {
		var s *string
		if err := json.Unmarshal(value, &s); err != nil || s == nil || check(*s) != nil {
			return "a text of " + allowed, false
		}
		*to = *s
		return "", true
	}
}

func runID(to *contract.RunID) field {
	return func(value json.RawMessage) (string, bool) {
		var s *string
		if err := json.Unmarshal(value, &s); err != nil || s == nil {
			return "a text", false
		}
		id, err := contract.ParseRunID(*s)
		if err != nil {
			return "^[a-z0-9][a-z0-9-]{0,62}$", false
		}
		*to = id
		return "", true
	}
}
