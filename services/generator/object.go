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
	"unicode/utf8"

	"fct-scraper/pkg/contract"
)

// maxBodyBytes is the size of a command's body in bytes; one that sets every field takes 500.
const maxBodyBytes = 64 << 10

// jsonObject is what the body of a command may be.
const jsonObject = "one JSON object in UTF-8"

// decodeObject hands each key of a JSON object to its field and returns what was wrong, sorted by key. A body that is no such
// object is an error that wraps ErrCommand.
func decodeObject(data []byte, fields map[string]fieldDecoder) ([]contract.Problem, error) {
	if err := checkBody(data); err != nil {
		return nil, invalid(contract.Problem{Field: "body", Value: quote(data), Reason: err.Error(), Allowed: jsonObject})
	}
	values, bad, err := objectMembers(data)
	if err != nil {
		return nil, invalid(contract.Problem{Field: "body", Value: quote(data), Reason: err.Error(), Allowed: jsonObject})
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		read, known := fields[key]
		if !known {
			bad = append(bad, contract.Problem{
				Field: fieldName(key), Value: asWritten(values[key]), Reason: "unknown field",
				Allowed: "one of " + strings.Join(slices.Sorted(maps.Keys(fields)), ", "),
			})
			continue
		}
		if plain := aliases()[key]; plain != "" && values[plain] != nil {
			bad = append(bad, contract.Problem{Field: key, Value: asWritten(values[key]), Reason: "it is another name of " + plain + ", which is given too", Allowed: "one of the two"})
			continue
		}
		if allowed, ok := read(values[key]); !ok {
			bad = append(bad, contract.Problem{Field: key, Value: asWritten(values[key]), Allowed: allowed})
		}
	}
	return bad, nil
}

// fieldName is a key as it stands, or quoted when it is not one that anybody would choose.
func fieldName(key string) string {
	if regexp.MustCompile(`^[a-z0-9_]{1,40}$`).MatchString(key) {
		return key
	}
	return quote([]byte(key))
}

// checkBody says why data cannot be the body of a command, whatever it is to say.
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
	return json.Unmarshal(data, &anything) // one value and no more, of a depth that can be read
}

// objectMembers are the keys of an object with their values. A key that comes twice would mean one thing to one reader and another
// to the next.
func objectMembers(data []byte) (values map[string]json.RawMessage, twice []contract.Problem, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil, nil, errors.Join(errors.New("it is no object"), err)
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
			twice = append(twice, contract.Problem{Field: fieldName(key), Value: asWritten(value), Reason: "it is given twice", Allowed: "once"})
		}
		values[key] = value
	}
	if _, err := decoder.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	return values, twice, nil
}
