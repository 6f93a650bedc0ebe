package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
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
	var yes *bool
	if err := json.Unmarshal(data, &yes); err != nil {
		return err
	}
	if *y = Unknown; yes != nil {
		*y = YesNoOf(*yes)
	}
	return nil
}

// FileContent returns the content of the record's file: indented JSON without HTML escapes. The case
// id must be valid.
func (r Record) FileContent() []byte {
	return append(r.encode(true), '\n')
}

// MarshalJSON returns the record on one line. encoding/json adds HTML escapes unless its encoder has
// SetEscapeHTML(false).
func (r Record) MarshalJSON() ([]byte, error) {
	if _, err := r.CaseID.MarshalText(); err != nil {
		return nil, err
	}
	return r.encode(false), nil
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
// an error. It saves a pass over data that json.Unmarshal makes before it calls UnmarshalJSON.
func ParseRecord(data []byte) (Record, error) {
	decoded, read := readRecord(data)
	if !read {
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

// recordWriter encodes a record in one pass, by its tags. encoding/json would encode it, compact it
// and then indent it, and has no option for null in place of a zero value.
type recordWriter struct {
	out    []byte
	indent bool
	depth  int
	// forms has the fields of each struct that was written.
	forms map[reflect.Type][]recordField
}

// recordField is a field of a record or of a part of it.
type recordField struct {
	// name is empty for an embedded struct.
	name string
	// nullable: the zero value is null.
	nullable bool
}

// encode returns the JSON form of a record.
func (r *Record) encode(indent bool) []byte {
	size := 2048 // most records then need no other buffer
	for i := range r.Docket {
		size += 512 + len(r.Docket[i].Text)
	}
	w := recordWriter{out: make([]byte, 0, size), indent: indent, forms: make(map[reflect.Type][]recordField)}
	w.object(reflect.ValueOf(r).Elem())
	return w.out
}

func (w *recordWriter) object(of reflect.Value) {
	w.open('{')
	w.fields(of)
	w.close('}')
}

func (w *recordWriter) fields(of reflect.Value) {
	form := w.forms[of.Type()]
	if form == nil {
		form = make([]recordField, of.NumField())
		for i := range form {
			tag := of.Type().Field(i).Tag
			form[i] = recordField{tag.Get("json"), tag.Get("null") != "no"}
		}
		w.forms[of.Type()] = form
	}
	for i, f := range form {
		value := of.Field(i)
		if f.name == "" {
			w.fields(value)
			continue
		}
		w.key(f.name)
		if f.nullable && value.IsZero() {
			w.out = append(w.out, "null"...)
		} else {
			w.value(value)
		}
	}
}

func (w *recordWriter) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		w.quote(v.String())
	case reflect.Int:
		w.out = strconv.AppendInt(w.out, v.Int(), 10)
	case reflect.Slice:
		w.open('[')
		for i := range v.Len() {
			w.element()
			w.value(v.Index(i))
		}
		w.close(']')
	default:
		switch of := v.Addr().Interface().(type) {
		case *YesNo:
			w.out = append(w.out, of.String()...)
		case *CaseID:
			w.quote(of.String())
		case *time.Time:
			w.quote(of.Format(time.RFC3339Nano))
		default:
			w.object(v)
		}
	}
}

// open begins an object or a list.
func (w *recordWriter) open(bracket byte) {
	w.out = append(w.out, bracket)
	w.depth++
}

// close ends an object or a list.
func (w *recordWriter) close(bracket byte) {
	w.depth--
	if !w.isEmpty() {
		w.line()
	}
	w.out = append(w.out, bracket)
}

// isEmpty reports whether the current object or list has no element yet.
func (w *recordWriter) isEmpty() bool {
	last := w.out[len(w.out)-1]
	return last == '{' || last == '['
}

// element begins an element of the current object or list.
func (w *recordWriter) element() {
	if !w.isEmpty() {
		w.out = append(w.out, ',')
	}
	w.line()
}

func (w *recordWriter) line() {
	if w.indent {
		w.out = append(append(w.out, '\n'), "   "[:w.depth]...)
	}
}

func (w *recordWriter) key(name string) {
	w.element()
	w.out = append(append(append(w.out, '"'), name...), '"', ':')
	if w.indent {
		w.out = append(w.out, ' ')
	}
}

// quote writes a string as encoding/json does without HTML escapes: invalid UTF-8 is replaced, and
// the line separators of JavaScript are escaped.
func (w *recordWriter) quote(text string) {
	const hex = "0123456789abcdef"
	out, from := w.out, 0
	out = append(out, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size, escaped := 1, ""
		switch c {
		case '"':
			escaped = `\"`
		case '\\':
			escaped = `\\`
		case '\b':
			escaped = `\b`
		case '\f':
			escaped = `\f`
		case '\n':
			escaped = `\n`
		case '\r':
			escaped = `\r`
		case '\t':
			escaped = `\t`
		default:
			var r rune
			switch r, size = utf8.DecodeRuneInString(text[i:]); {
			case r < ' ':
				escaped = `\u00` + string([]byte{hex[r>>4], hex[r&15]})
			case r == utf8.RuneError && size == 1:
				escaped = `\ufffd`
			case r == '\u2028' || r == '\u2029':
				escaped = `\u202` + string(hex[r&15])
			}
		}
		if escaped != "" {
			out = append(append(out, text[from:i]...), escaped...)
			from = i + size
		}
		i += size
	}
	w.out = append(append(out, text[from:]...), '"')
}
