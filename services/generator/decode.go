package generator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// ReadStart decodes the body of batch.start; defaults supplies the fields that it omits. Its error
// wraps ErrCommand and names every invalid field with its value and the allowed values.
func ReadStart(data []byte, defaults Batch) (Batch, error) {
	batch := defaults
	problems, err := decodeObject(data, batch.fields())
	if err != nil {
		return Batch{}, err
	}
	if len(problems) == 0 {
		problems = batch.validate()
	}
	if len(problems) > 0 {
		return Batch{}, invalid(problems...)
	}
	return batch, nil
}

// ReadStop decodes the body of batch.stop. Its error wraps ErrCommand.
func ReadStop(data []byte) (contract.RunID, error) {
	var run contract.RunID
	problems, err := decodeObject(data, map[string]fieldDecoder{"run_id": runIDField(&run)})
	if err != nil {
		return "", err
	}
	if run == "" && len(problems) == 0 {
		problems = []contract.Problem{{Field: "run_id", Reason: "it is missing", Allowed: "the id of a run"}}
	}
	if len(problems) > 0 {
		return "", invalid(problems...)
	}
	return run, nil
}

// fieldDecoder stores the value of one key. If the value is invalid, it returns false and a
// description of the allowed values.
type fieldDecoder func(value json.RawMessage) (allowed string, ok bool)

// aliases maps the alternative names of keys to their names.
func aliases() map[string]string {
	return map[string]string{
		"retry_limit":                     "max_retries",
		"safe_stop_consecutive_no_record": "safe_stop_no_records",
		"safe_stop_consecutive_fail":      "safe_stop_fails",
	}
}

// fields returns the decoders of the keys of batch.start, including aliases.
func (b *Batch) fields() map[string]fieldDecoder {
	all := map[string]fieldDecoder{
		"run_id":               runIDField(&b.RunID),
		"prefix":               stringField(&b.Prefix, contract.CheckSeries, "1 to 5 capital ASCII letters"),
		"year":                 yearField(&b.Year),
		"start":                intField(&b.Start, 1, contract.MaxNumber),
		"max_cases":            intField(&b.MaxCases, 1, contract.MaxNumber),
		"end":                  intField(&b.End, 1, contract.MaxNumber),
		"probe":                boolField(&b.Probe),
		"probe_budget":         intField(&b.ProbeBudget, 1, contract.MaxNumber),
		"max_retries":          intField(&b.MaxRetries, 0, 20),
		"request_timeout":      timeoutField(&b.RequestTimeout),
		"job_timeout":          timeoutField(&b.JobTimeout),
		"safe_stop_no_records": intField(&b.SafeStopNoRecords, 0, contract.MaxNumber),
		"safe_stop_fails":      intField(&b.SafeStopFails, 0, contract.MaxNumber),
		"recheck":              boolField(&b.Recheck),
		"force":                boolField(&b.Force),
		"persist_raw_html":     boolField(&b.PersistRawHTML),
		"probe_only":           boolField(&b.ProbeOnly),
		"new":                  boolField(&b.New),
	}
	for alias, plain := range aliases() {
		all[alias] = all[plain]
	}
	return all
}

func intField(to *int, least, most int) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		allowed := fmt.Sprintf("a whole number, %d to %d", least, most)
		if value[0] == '"' {
			return allowed + ", without quotes", false
		}
		var n *int
		if err := json.Unmarshal(value, &n); err != nil || n == nil || *n < least || *n > most {
			return allowed, false
		}
		*to = *n
		return "", true
	}
}

// timeoutField accepts the same values as the setting of the same name: a number of seconds, or a
// string of such a number or a Go duration.
func timeoutField(to *time.Duration) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		const allowed = "a number of seconds, or a text such as \"90s\", \"5m\" or \"250ms\"; 1ms to ten years"
		text := string(value)
		if text[0] == '"' && json.Unmarshal(value, &text) != nil {
			return allowed, false
		}
		var length config.Duration
		if err := length.UnmarshalText([]byte(text)); err != nil || length.Std() < time.Millisecond {
			return allowed, false
		}
		*to = length.Std()
		return "", true
	}
}

func boolField(to *bool) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		if value[0] == '"' {
			return "true or false, without quotes", false
		}
		var b *bool
		if err := json.Unmarshal(value, &b); err != nil || b == nil {
			return "true or false", false
		}
		*to = *b
		return "", true
	}
}

func stringField(to *string, check func(string) error, allowed string) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		var s *string
		if err := json.Unmarshal(value, &s); err != nil || s == nil || check(*s) != nil {
			return "a text in quotes of " + allowed, false
		}
		*to = *s
		return "", true
	}
}

// yearField accepts two digits, or the four digits of 2000 to 2099. It stores two digits.
func yearField(to *string) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		var s string
		allowed, ok := stringField(&s, func(text string) error { _, err := contract.ParseYear(text); return err },
			"two ASCII digits, or four, 2000 to 2099")(value)
		if ok {
			*to, _ = contract.ParseYear(s) // the value was validated above
		}
		return allowed, ok
	}
}

func runIDField(to *contract.RunID) fieldDecoder {
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

// maxBodyBytes is the maximum size of a command. A body that sets every field has about 500 bytes.
const maxBodyBytes = 64 << 10

// jsonObject describes the allowed body of a command.
const jsonObject = "one JSON object in UTF-8"

// decodeObject passes each member of a JSON object to its decoder and returns the problems, sorted
// by key. Its error, for a body that is not such an object, wraps ErrCommand.
func decodeObject(data []byte, fields map[string]fieldDecoder) ([]contract.Problem, error) {
	if err := checkBody(data); err != nil {
		return nil, invalid(contract.Problem{Field: "body", Value: quote(data), Reason: err.Error(),
			Allowed: jsonObject})
	}
	values, problems, err := objectMembers(data)
	if err != nil {
		return nil, invalid(contract.Problem{Field: "body", Value: quote(data), Reason: err.Error(),
			Allowed: jsonObject})
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		read, known := fields[key]
		if !known {
			problems = append(problems, contract.Problem{
				Field: fieldName(key), Value: asWritten(values[key]), Reason: "unknown field",
				Allowed: "one of " + strings.Join(slices.Sorted(maps.Keys(fields)), ", "),
			})
			continue
		}
		if plain := aliases()[key]; plain != "" && values[plain] != nil {
			problems = append(problems, contract.Problem{Field: key, Value: asWritten(values[key]),
				Reason: "it is an alias of " + plain + ", which is given too", Allowed: "one of the two"})
			continue
		}
		if allowed, ok := read(values[key]); !ok {
			problems = append(problems, contract.Problem{Field: key, Value: asWritten(values[key]), Allowed: allowed})
		}
	}
	return problems, nil
}

// fieldName returns a key as it is if it looks like the name of a field, else quoted.
func fieldName(key string) string {
	if regexp.MustCompile(`^[a-z0-9_]{1,40}$`).MatchString(key) {
		return key
	}
	return quote([]byte(key))
}

// checkBody checks size, encoding and syntax of the body of a command.
func checkBody(data []byte) error {
	switch {
	case len(data) == 0:
		return errors.New("it is empty")
	case len(data) > maxBodyBytes:
		return fmt.Errorf("it has %d bytes, more than %d", len(data), maxBodyBytes)
	case !utf8.Valid(data):
		return errors.New("it is not UTF-8")
	case bytes.HasPrefix(data, []byte("\uFEFF")):
		return errors.New("it begins with a byte order mark")
	}
	var anything json.RawMessage
	return json.Unmarshal(data, &anything) // checks for a single value within the nesting limit
}

// objectMembers returns the members of a JSON object. A duplicate key is a problem, because readers
// of JSON disagree on which value counts.
func objectMembers(data []byte) (values map[string]json.RawMessage, twice []contract.Problem, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil, nil, errors.Join(errors.New("it is not an object"), err)
	}
	values = make(map[string]json.RawMessage)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, nil, err
		}
		key, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, nil, err
		}
		if _, seen := values[key]; seen {
			twice = append(twice, contract.Problem{Field: fieldName(key), Value: asWritten(value),
				Reason: "it is given twice", Allowed: "once"})
		}
		values[key] = value
	}
	if _, err := decoder.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return values, twice, nil
}

// ErrCommand is wrapped by the error of every rejected command.
var ErrCommand = errors.New("command refused")

// maxReportedProblems limits the problems of one command that are reported, because a command may
// contain thousands.
const maxReportedProblems = 10

// ValidationError lists the problems of a command. It wraps ErrCommand.
type ValidationError []contract.Problem

func invalid(problems ...contract.Problem) error { return ValidationError(problems) }

// Error names every reported field with its value and the allowed values.
func (e ValidationError) Error() string {
	var parts []string
	for _, p := range e.reported() {
		text := strings.TrimSpace(p.Field + " " + p.Value)
		if p.Reason != "" {
			text += ": " + p.Reason
		}
		parts = append(parts, text+": allowed is "+p.Allowed)
	}
	if more := len(e) - maxReportedProblems; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return ErrCommand.Error() + ": " + strings.Join(parts, "; ")
}

// Is reports whether target is ErrCommand.
func (e ValidationError) Is(target error) bool { return target == ErrCommand }

func (e ValidationError) reported() []contract.Problem { return e[:min(maxReportedProblems, len(e))] }

// asWritten returns the start of a JSON value as it was sent, so that 25 and "25" differ, without
// control characters.
func asWritten(value []byte) string {
	start := sanitize.Truncate(string(value), 60)
	if start != sanitize.Line(string(value)) {
		start += "..."
	}
	return start
}

// quote returns at most 60 characters of an external value, quoted, for use in a message.
func quote(value []byte) string { return fmt.Sprintf("%.60q", value) }
