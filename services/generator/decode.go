package generator

import (
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
)

// ReadStart reads the body of batch.start over the defaults of this process. Its error wraps ErrCommand and
// names every bad field with its value and what is allowed.
func ReadStart(data []byte, defaults Batch) (Batch, error) {
	batch := defaults
	bad, err := decodeObject(data, batch.fields())
	if err != nil {
		return Batch{}, err
	}
	if len(bad) == 0 {
		bad = batch.validate()
	}
	if len(bad) > 0 {
		return Batch{}, invalid(bad...)
	}
	return batch, nil
}

// ReadStop reads the body of batch.stop. Its error wraps ErrCommand.
func ReadStop(data []byte) (contract.RunID, error) {
	var run contract.RunID
	bad, err := decodeObject(data, map[string]fieldDecoder{"run_id": runIDField(&run)})
	if err != nil {
		return "", err
	}
	if run == "" && len(bad) == 0 {
		bad = []contract.Problem{{Field: "run_id", Reason: "it is missing", Allowed: "the id of a run"}}
	}
	if len(bad) > 0 {
		return "", invalid(bad...)
	}
	return run, nil
}

// fieldDecoder stores the value of one key, or says what is allowed instead.
type fieldDecoder func(value json.RawMessage) (allowed string, ok bool)

// aliases are the second names of keys.
func aliases() map[string]string {
	return map[string]string{
		"retry_limit": "max_retries", "safe_stop_consecutive_no_record": "safe_stop_no_records", "safe_stop_consecutive_fail": "safe_stop_fails",
	}
}

// fields are the keys of batch.start, aliases included.
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

// timeoutField takes what the setting of the same name may be: a number of seconds, or a text of such a number or of Go's form.
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

// yearField takes the last two digits, or all four of 2000 to 2099, and stores two.
func yearField(to *string) fieldDecoder {
	return func(value json.RawMessage) (string, bool) {
		var s string
		allowed, ok := stringField(&s, func(text string) error { _, err := contract.ParseYear(text); return err }, "two ASCII digits, or four, 2000 to 2099")(value)
		if ok {
			*to, _ = contract.ParseYear(s) // it was just checked
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
