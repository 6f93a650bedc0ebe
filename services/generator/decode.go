package generator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
func ReadStart(data []byte, defaults contract.Batch) (contract.Batch, error) {
	batch := defaults
	values, problems, err := decodeObject(data, &batch, contract.BatchFields())
	if err != nil {
		return contract.Batch{}, err
	}
	if !batch.IDs.IsZero() {
		problems = append(problems, listConflicts(batch, values)...)
		batch = batch.WithIDs(batch.IDs)
	}
	if len(problems) == 0 {
		problems = batch.Validate()
	}
	if len(problems) > 0 {
		return contract.Batch{}, invalid(problems...)
	}
	return batch, nil
}

// listConflicts returns a problem for each given field that contradicts the ids of a batch.
func listConflicts(batch contract.Batch, values map[string]json.RawMessage) (problems []contract.Problem) {
	list := batch.IDs
	for _, f := range contract.BatchFields() {
		value, given := values[f.Name]
		if !given {
			continue
		}
		problem := contract.Problem{Field: f.Name, Value: asWritten(value), Reason: "ids are given too"}
		switch has := f.Value(batch); {
		case f.LimitsRange():
			problem.Allowed = "ids, or a range of numbers"
		case f.Name == "probe" && batch.Probe, f.Name == "probe_only" && batch.ProbeOnly, f.Name == "new" && batch.New:
			problem.Allowed = "false, because only the listed numbers are requested"
		case f.Name == "prefix" && has != list.Series:
			problem.Allowed = list.Series + ", which the ids have, or to leave it out"
		case f.Name == "year" && has != list.Year:
			problem.Allowed = list.Year + ", which the ids have, or to leave it out"
		default:
			continue
		}
		problems = append(problems, problem)
	}
	return problems
}

// ReadControl decodes the body of a command about a run: batch.tune has the run id and what to
// change, any other the run id alone. Its error wraps ErrCommand.
func ReadControl(subject string, data []byte) (contract.ControlSpec, error) {
	var spec contract.ControlSpec
	tunes := subject == contract.SubjectTune
	values, problems, err := decodeObject(data, &spec, slices.DeleteFunc(contract.ControlFields(),
		func(f contract.BatchField) bool { return f.Name != "run_id" && !tunes }))
	if err != nil {
		return contract.ControlSpec{}, err
	}
	switch {
	case len(problems) > 0:
	case spec.RunID == "":
		problems = []contract.Problem{{Field: "run_id", Reason: "it is missing", Allowed: "the id of a run"}}
	case tunes && spec.Tuning == (contract.Tuning{}):
		problems = []contract.Problem{{Field: "body", Value: asWritten(data), Reason: "it changes nothing",
			Allowed: "also delay_min, delay_max or concurrency"}}
	case spec.DelayMin != nil && spec.DelayMax != nil && *spec.DelayMin > *spec.DelayMax:
		problems = []contract.Problem{delayProblem(asWritten(values["delay_min"]), *spec.DelayMax)}
	}
	if len(problems) > 0 {
		return contract.ControlSpec{}, invalid(problems...)
	}
	return spec, nil
}

// delayProblem is the problem of a delay_min above delay_max.
func delayProblem(value string, most time.Duration) contract.Problem {
	return contract.Problem{Field: "delay_min", Value: value, Allowed: "at most delay_max = " + config.FormatDuration(most)}
}

// decodeField stores a JSON value in to, the address of a field. If the value is invalid, it returns
// false and a description of the allowed values.
func decodeField(f contract.BatchField, to any, value json.RawMessage) (allowed string, ok bool) {
	quoted := value[0] == '"'
	text := string(value)
	if quoted {
		_ = json.Unmarshal(value, &text) // cannot fail: checkBody has read it
	}
	switch to := to.(type) {
	case **int:
		*to = new(int)
		return decodeField(f, *to, value)
	case **time.Duration:
		*to = new(time.Duration)
		return decodeField(f, *to, value)
	case *int:
		ok = readJSON(value, to) && f.Min <= *to && *to <= f.Max
		allowed = fmt.Sprintf("a whole number, %d to %d", f.Min, f.Max)
	case *bool:
		ok = readJSON(value, to)
		allowed = "true or false"
	case *time.Duration: // in the form of the setting, quoted or not
		length, err := config.ParseDuration(text)
		*to = length
		least := "1ms"
		if f.Zero {
			least = "0"
		}
		return `a number of seconds, or a text such as "90s", "5m" or "250ms"; ` + least + " to ten years",
			err == nil && (length >= time.Millisecond || f.Zero)
	case *contract.RunID:
		if !quoted {
			return "a text", false
		}
		id, err := contract.ParseRunID(text)
		*to = id
		return "^[a-z0-9][a-z0-9-]{0,62}$", err == nil
	case *string:
		allowed, ok = decodeText(f.Name, to, text)
		return "a text in quotes of " + allowed, quoted && ok
	}
	if quoted {
		allowed += ", without quotes"
	}
	return allowed, ok
}

// readJSON reports whether value is not null and of the type of to, and stores it there.
func readJSON(value json.RawMessage, to any) bool {
	return string(value) != "null" && json.Unmarshal(value, to) == nil
}

// decodeText stores a text in a field of that name, the year as two digits.
func decodeText(name string, to *string, text string) (allowed string, ok bool) {
	if name == "year" {
		digits, err := contract.ParseYear(text)
		*to = digits
		return "two ASCII digits, or four, 2000 to 2099", err == nil
	}
	*to = text
	return "1 to 5 capital ASCII letters", contract.CheckSeries(text) == nil
}

// maxBodyBytes is the maximum size of a command. A body that sets every other field has about 500
// bytes.
// The ids of a whole year fit: a long list is a bitmap (contract.CaseList).
const maxBodyBytes = 64 << 10

// jsonObject describes the allowed body of a command.
const jsonObject = "one JSON object in UTF-8"

// decodeObject decodes the members of a JSON object into fields of to and returns the members and
// the problems, sorted by key. Its error, for a body that is not such an object, wraps ErrCommand.
func decodeObject(
	data []byte, to any, fields []contract.BatchField,
) (values map[string]json.RawMessage, problems []contract.Problem, err error) {
	values, problems, err = objectMembers(data)
	if err != nil {
		return nil, nil, invalid(contract.Problem{Field: "body", Value: quote(data), Reason: err.Error(),
			Allowed: jsonObject})
	}
	known := make(map[string]contract.BatchField)
	for _, f := range fields {
		known[f.Name] = f
		if f.Alias != "" {
			known[f.Alias] = f
		}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		problem := contract.Problem{Field: fieldName(key), Value: asWritten(values[key])}
		ok := false
		switch f, found := known[key]; {
		case !found:
			problem.Reason = "unknown field"
			problem.Allowed = "one of " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
		case key == f.Alias && values[f.Name] != nil:
			problem.Reason = "it is an alias of " + f.Name + ", which is given too"
			problem.Allowed = "one of the two"
		case f.Name == contract.FieldIDs:
			list, wrong := decodeIDs(values[key])
			*f.Pointer(to).(*contract.CaseList) = list
			problems, ok = append(problems, wrong...), true
		default:
			problem.Allowed, ok = decodeField(f, f.Pointer(to), values[key])
		}
		if !ok {
			problems = append(problems, problem)
		}
	}
	return values, problems, nil
}

// decodeIDs decodes the value of ids.
func decodeIDs(value json.RawMessage) (contract.CaseList, []contract.Problem) {
	var elements []string
	var texts []*string // tells null from ""
	ok := readJSON(value, &texts)
	for _, text := range texts {
		if ok = ok && text != nil; ok {
			elements = append(elements, *text)
		}
	}
	if !ok {
		return contract.CaseList{}, []contract.Problem{{Field: contract.FieldIDs, Value: asWritten(value),
			Reason: "it is not a list of texts", Allowed: contract.AllowedCaseList}}
	}
	list, problems := contract.ParseCaseList(elements)
	for i, problem := range problems {
		problems[i].Value, problems[i].Reason = sanitize.Line(problem.Value), sanitize.Line(problem.Reason)
	}
	return list, problems
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
	if err := checkBody(data); err != nil {
		return nil, nil, err
	}
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
	return values, twice, nil // checkBody has read the end
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
