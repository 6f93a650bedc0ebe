package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// RecordVersion is the version of a record's form; it grows when a field changes its name or its
// meaning. Decoding reads version 1 too.
const RecordVersion = 2

// FlagHeaderOnly marks a record without a docket entry.
const FlagHeaderOnly = "header-only"

// Record is the extracted data of one case. Days are YYYY-MM-DD in the court's time zone. Its JSON
// form always has all fields. The zero value of a field is unknown, null in JSON: the site did not
// give it, or was not asked for it. The tag null:"no" marks fields that are never null; the schema is
// made from the tags. Only a Record has this form: encoding/json writes its parts differently.
type Record struct {
	Version int    `json:"version" null:"no" help:"version of this form"`
	CaseID  CaseID `json:"case_id" null:"no" help:"number of the file"`
	Header
	Parties []Party       `json:"parties" help:"parties and their counsel; null without parties = true"`
	Entries int           `json:"entries" null:"no" help:"number of docket entries"`
	Docket  []DocketEntry `json:"docket" null:"no" help:"recorded entries by entry_number"`
	// Flags has FlagHeaderOnly if Entries is 0.
	Flags     []string  `json:"flags" null:"no" help:"peculiarities, such as header-only or other-rows"`
	FetchedAt time.Time `json:"fetched_at" null:"no" help:"time of the first request that showed the case"`
	Source    string    `json:"source" null:"no" help:"URL of that request"`
}

// Header is what a court states about a case as a whole.
type Header struct {
	CourtSeq     string   `json:"court_seq" help:"the court's internal key of the file"`
	StyleOfCause string   `json:"style_of_cause" help:"names of the parties as the court writes them"`
	NatureEN     string   `json:"nature_en" help:"nature of the proceeding, English"`
	NatureFR     string   `json:"nature_fr" help:"nature of the proceeding, French"`
	NatureCode   string   `json:"nature_code" help:"code of the nature"`
	Division     string   `json:"division" help:"division of the court: T trial, A appeal"`
	FiledOn      string   `json:"filed_on" help:"day on which the file was opened" format:"date"`
	OfficeEN     string   `json:"office_en" help:"registry office of the file, English"`
	OfficeFR     string   `json:"office_fr" help:"registry office of the file, French"`
	OfficeCode   string   `json:"office_code" help:"code of the office"`
	TypeEN       string   `json:"proceeding_type_en" help:"type of the proceeding, English"`
	TypeFR       string   `json:"proceeding_type_fr" help:"type of the proceeding, French"`
	TypeCode     string   `json:"proceeding_type_code" help:"code of the type"`
	ClassEN      string   `json:"proceeding_class_en" help:"class of the proceeding, English"`
	ClassFR      string   `json:"proceeding_class_fr" help:"class of the proceeding, French"`
	ClassID      string   `json:"proceeding_class_id" help:"identifier of the class"`
	TrackEN      string   `json:"track_en" help:"type of action, English"`
	TrackFR      string   `json:"track_fr" help:"type of action, French"`
	LanguageEN   string   `json:"language_en" help:"language of the proceeding, in English"`
	LanguageFR   string   `json:"language_fr" help:"language of the proceeding, in French"`
	LanguageCode string   `json:"language_code" help:"code of the language"`
	PartyNames   []string `json:"party_names" help:"names of the parties, one each"`
	Ships        []string `json:"ships" help:"names of the ships"`
}

// Party is one party of a case and its counsel.
type Party struct {
	Name    string `json:"name" null:"no" help:"name of the party"`
	Firm    string `json:"firm" help:"firm of its solicitor"`
	Contact string `json:"contact" help:"its solicitor"`
}

// DocketEntry is one recorded entry of a case.
type DocketEntry struct {
	EntryNumber    int    `json:"entry_number" help:"the court's number of the entry"`
	DocumentNumber int    `json:"document_number" help:"the court's number of the document, if there is one"`
	EnteredOn      string `json:"entered_on" help:"day of the entry" format:"date"`
	OfficeEN       string `json:"office_en" help:"registry office of the entry, English"`
	OfficeFR       string `json:"office_fr" help:"registry office of the entry, French"`
	Text           string `json:"text" help:"text of the entry"`
	DocumentID     string `json:"document_id" help:"identifier under which the site publishes the document"`
	CanPublish     YesNo  `json:"can_publish" help:"whether the court allows the document to be published"`
	Confidential   YesNo  `json:"confidential" help:"whether the document is confidential"`
	LanguageCode   string `json:"language_code" help:"code of the language of the entry"`
	Notes          string `json:"notes" help:"notes of the registry"`
	CommandEN      string `json:"command_en" help:"standard phrase of the entry, English"`
	CommandFR      string `json:"command_fr" help:"standard phrase of the entry, French"`
}

// YesNo is a flag that a site may leave out: true, false or null in JSON.
type YesNo int8

// The values of a YesNo.
const (
	Unknown YesNo = iota
	No
	Yes
)

// YesNoOf returns Yes or No.
func YesNoOf(yes bool) YesNo {
	if yes {
		return Yes
	}
	return No
}

// String returns true, false or null.
func (y YesNo) String() string { return [...]string{"null", "false", "true"}[y] }

// MarshalJSON returns true, false or null.
func (y YesNo) MarshalJSON() ([]byte, error) { return []byte(y.String()), nil }

// UnmarshalJSON reads true, false or null.
func (y *YesNo) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		*y = Unknown
	case "false":
		*y = No
	case "true":
		*y = Yes
	default:
		return json.Unmarshal(data, new(bool)) // the error of another type
	}
	return nil
}

// FileContent returns the content of the record's file: indented JSON without HTML escapes. The case
// id must be valid.
func (r Record) FileContent() []byte { return r.AppendFileContent(make([]byte, 0, r.sizeHint())) }

// AppendFileContent appends FileContent to out.
func (r *Record) AppendFileContent(out []byte) []byte {
	file, _ := recordForms()
	return append(file(out, reflect.ValueOf(r).Elem()), '\n')
}

// MarshalJSON returns the record on one line. encoding/json adds HTML escapes unless its encoder has
// SetEscapeHTML(false).
func (r Record) MarshalJSON() ([]byte, error) {
	if _, err := r.CaseID.MarshalText(); err != nil {
		return nil, err
	}
	_, line := recordForms()
	return line(make([]byte, 0, r.sizeHint()), reflect.ValueOf(&r).Elem()), nil
}

// sizeHint returns a size in bytes that the JSON form of most records does not exceed.
func (r *Record) sizeHint() int {
	size := 2048
	for i := range r.Docket {
		size += 512 + len(r.Docket[i].Text)
	}
	return size
}

// UnmarshalJSON is ParseRecord.
func (r *Record) UnmarshalJSON(data []byte) error {
	record, err := ParseRecord(data)
	if err == nil {
		*r = record
	}
	return err
}

// ParseRecord reads a record of this version or of version 1, which it converts; another version is
// an error. encoding/json decodes what the stricter and faster jsonv2 does not: unknown, repeated and
// upper-case names, invalid UTF-8, faults.
func ParseRecord(data []byte) (Record, error) {
	var decoded recordAlias
	if err := jsonv2.Unmarshal(data, &decoded, jsonv2.RejectUnknownMembers(true)); err != nil {
		decoded = recordAlias{}
		if err := json.Unmarshal(data, &decoded); err != nil {
			return Record{}, err
		}
	}
	switch decoded.Version {
	case RecordVersion:
	case 1:
		var old recordVersion1
		if err := json.Unmarshal(data, &old); err != nil {
			return Record{}, err
		}
		decoded = old.convert()
	default:
		return Record{}, fmt.Errorf("record version %d: allowed is 1 to %d", decoded.Version, RecordVersion)
	}
	if decoded.Docket == nil {
		decoded.Docket = []DocketEntry{}
	}
	if decoded.Flags == nil {
		decoded.Flags = []string{}
	}
	return Record(decoded), nil
}

// CurrentRecord returns the content of a record's file as this version writes it. Content that is
// not of version 1 stays as it is.
func CurrentRecord(content []byte) []byte {
	if !bytes.HasPrefix(content, []byte("{\n \"version\": 1,\n")) {
		return content
	}
	record, err := ParseRecord(content)
	if err != nil {
		return content
	}
	return record.FileContent()
}

// recordAlias is a Record without its methods.
type recordAlias Record

// recordVersion1 is a record of version 1. It omits what is unknown, but also a flag that is false
// and an empty list. The other fields have the names of version 2.
type recordVersion1 struct {
	recordAlias
	Nature   string `json:"nature"`
	Office   string `json:"office"`
	Type     string `json:"proceeding_type"`
	Class    string `json:"proceeding_class"`
	Track    string `json:"track"`
	Language string `json:"language"`
	Docket   []struct {
		DocketEntry
		Entry    int    `json:"entry"`
		Document int    `json:"document"`
		Day      string `json:"day"`
		Office   string `json:"office"`
		Command  string `json:"command"`
	} `json:"docket"`
}

func (old *recordVersion1) convert() recordAlias {
	r := old.recordAlias
	r.Version = RecordVersion
	r.NatureEN, r.OfficeEN, r.TypeEN = old.Nature, old.Office, old.Type
	r.ClassEN, r.TrackEN, r.LanguageEN = old.Class, old.Track, old.Language
	r.Docket = make([]DocketEntry, len(old.Docket))
	for i := range old.Docket {
		from, to := &old.Docket[i], &r.Docket[i]
		*to = from.DocketEntry
		to.EntryNumber, to.DocumentNumber, to.EnteredOn = from.Entry, from.Document, from.Day
		to.OfficeEN, to.CommandEN = from.Office, from.Command
	}
	return r
}

// appendForm appends the JSON form of an addressable value.
type appendForm func(out []byte, value reflect.Value) []byte

// recordForms returns the forms of a record's file and of a record on one line, made from the tags
// of its fields. No library writes null for a zero value as fast
// (docs/adr/0018-json-of-records.md).
var recordForms = sync.OnceValues(func() (file, line appendForm) {
	t := reflect.TypeFor[Record]()
	return formOf(t, "\n", ": "), formOf(t, "", ":")
})

// formOf returns the form of a type. newLine is the end of a line and the indentation of the next one.
func formOf(t reflect.Type, newLine, colon string) appendForm {
	inner := newLine
	if newLine != "" {
		inner += " "
	}
	switch t {
	case reflect.TypeFor[CaseID]():
		return func(out []byte, v reflect.Value) []byte {
			return appendText(out, v.Addr().Interface().(*CaseID).String())
		}
	case reflect.TypeFor[time.Time]():
		return func(out []byte, v reflect.Value) []byte {
			return append(v.Addr().Interface().(*time.Time).AppendFormat(append(out, '"'), time.RFC3339Nano), '"')
		}
	case reflect.TypeFor[YesNo]():
		return func(out []byte, v reflect.Value) []byte { return append(out, YesNo(v.Int()).String()...) }
	}
	switch t.Kind() {
	case reflect.String:
		return func(out []byte, v reflect.Value) []byte { return appendText(out, v.String()) }
	case reflect.Int:
		return func(out []byte, v reflect.Value) []byte { return strconv.AppendInt(out, v.Int(), 10) }
	case reflect.Slice:
		return listForm(formOf(t.Elem(), inner, colon), newLine, inner)
	default:
		members := membersOf(t, inner, colon)
		return func(out []byte, v reflect.Value) []byte {
			start := len(out)
			out = members(out, v)
			out[start] = '{' // in place of the first comma
			return append(append(out, newLine...), '}')
		}
	}
}

func listForm(element appendForm, newLine, inner string) appendForm {
	return func(out []byte, v reflect.Value) []byte {
		if v.Len() == 0 {
			return append(out, "[]"...)
		}
		start := len(out)
		for i := range v.Len() {
			out = element(append(append(out, ','), inner...), v.Index(i))
		}
		out[start] = '['
		return append(append(out, newLine...), ']')
	}
}

// membersOf returns the form of the members of a struct, each after a comma.
func membersOf(t reflect.Type, newLine, colon string) appendForm {
	type member struct {
		before   string
		value    appendForm
		nullable bool
	}
	members := make([]member, t.NumField())
	for i := range members {
		f := t.Field(i)
		if f.Anonymous {
			members[i].value = membersOf(f.Type, newLine, colon)
		} else {
			members[i] = member{"," + newLine + strconv.Quote(f.Tag.Get("json")) + colon, formOf(f.Type, newLine, colon),
				f.Tag.Get("null") != "no"}
		}
	}
	return func(out []byte, v reflect.Value) []byte {
		for i := range members {
			m, field := &members[i], v.Field(i)
			if out = append(out, m.before...); m.nullable && field.IsZero() {
				out = append(out, "null"...)
			} else {
				out = m.value(out, field)
			}
		}
		return out
	}
}

// appendText appends a string as encoding/json does without HTML escapes. Unlike jsontext, it
// writes \ufffd for invalid UTF-8 and escapes the line separators of JavaScript.
func appendText(out []byte, text string) []byte {
	quoted, err := jsontext.AppendQuote(out, text)
	if err == nil && (strings.IndexByte(text, "\u2028"[0]) < 0 || !strings.ContainsAny(text, "\u2028\u2029")) {
		return quoted
	}
	var rare bytes.Buffer
	encoder := json.NewEncoder(&rare)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string has no error
	return append(out, bytes.TrimSpace(rare.Bytes())...)
}
