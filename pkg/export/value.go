package export

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Type is the type of a column.
type Type uint8

// The types of columns. Each may be null. A text is never empty: the site gave none, which is null.
const (
	Text Type = iota
	Int
	Bool
	Date // a day of the Gregorian calendar
	Time // a time in UTC, to the microsecond
	List // a list of texts
	JSON // a JSON value
)

// Value is one value of a column; the zero Value is null.
type Value struct {
	set    bool
	number int64 // Int, Bool (0 or 1), Date (days since 1970-01-01), Time (µs since 1970-01-01 UTC)
	text   string
	list   *[]string
}

// Row is the values of one row in the order of its table's columns.
type Row []Value

// IsNull reports whether v is null.
func (v Value) IsNull() bool { return !v.set }

const day = 24 * time.Hour

func textValue(text string) Value { return Value{set: text != "", text: text} }

func intValue(n int) Value { return Value{set: true, number: int64(n)} }

// countValue is null for 0.
func countValue(n int) Value { return Value{set: n != 0, number: int64(n)} }

func boolValue(is bool) Value {
	if is {
		return intValue(1)
	}
	return intValue(0)
}

// dateValue reads a day as records have it; another text is null.
func dateValue(text string) Value {
	if text == "" {
		return Value{}
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Value{}
	}
	return Value{set: true, number: floorDiv(at.Unix(), int64(day/time.Second))}
}

func timeValue(at time.Time) Value {
	if at.IsZero() {
		return Value{}
	}
	return Value{set: true, number: at.UnixMicro()}
}

// listValue is null for nil.
func listValue(texts []string) Value {
	if texts == nil {
		return Value{}
	}
	return Value{set: true, list: &texts}
}

func jsonValue(value any) Value {
	text, err := json.Marshal(value)
	if err != nil { // not for the types of this package
		return Value{}
	}
	return Value{set: true, text: string(text)}
}

func optionalText(text *string) Value {
	if text == nil {
		return Value{}
	}
	return textValue(*text)
}

func optionalInt(n *int) Value {
	if n == nil {
		return Value{}
	}
	return intValue(*n)
}

func optionalDate(text *string) Value {
	if text == nil {
		return Value{}
	}
	return dateValue(*text)
}

// asTime returns a Date or a Time.
func (v Value) asTime(t Type) time.Time {
	if t == Date {
		return time.Unix(v.number*int64(day/time.Second), 0).UTC()
	}
	return time.UnixMicro(v.number).UTC()
}

// timeForm is the form of a Time in texts: RFC 3339.
const timeForm = "2006-01-02T15:04:05.000000Z"

// string returns a value as text: what CSV and SQLite hold of it. A list is a JSON array.
func (v Value) string(t Type) string {
	switch t {
	case Int:
		return strconv.FormatInt(v.number, 10)
	case Bool:
		return strconv.FormatBool(v.number != 0)
	case Date:
		return v.asTime(t).Format(time.DateOnly)
	case Time:
		return v.asTime(t).Format(timeForm)
	case List:
		return string(appendList(nil, *v.list))
	case Text, JSON:
	}
	return v.text
}

// appendJSON appends a value as JSON.
func (v Value) appendJSON(to []byte, t Type) []byte {
	switch {
	case !v.set:
		return append(to, "null"...)
	case t == Text:
		return appendQuoted(to, v.text)
	case t == Date || t == Time:
		return append(append(append(to, '"'), v.string(t)...), '"')
	case t == List:
		return appendList(to, *v.list)
	}
	return append(to, v.string(t)...)
}

func appendList(to []byte, texts []string) []byte {
	to = append(to, '[')
	for i, text := range texts {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendQuoted(to, text)
	}
	return append(to, ']')
}

// appendQuoted appends a JSON string without HTML escapes. JSON (RFC 8259) wants quotation mark,
// reverse solidus and control characters escaped.
func appendQuoted(to []byte, text string) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		to = append(to, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			to = append(to, '\\', c)
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(to, text[from:]...), '"')
}

// hasNUL reports whether a text of v has a NUL byte, which PostgreSQL cannot store.
func (v Value) hasNUL() bool {
	if v.list != nil {
		for _, text := range *v.list {
			if strings.IndexByte(text, 0) >= 0 {
				return true
			}
		}
	}
	return strings.IndexByte(v.text, 0) >= 0
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}
