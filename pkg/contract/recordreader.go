package contract

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// recordReader decodes a record of this version whose members have the names and the types that
// recordWriter gives them, in any order. It takes a fifth of the time of encoding/json, and texts without
// escapes share the memory of the input. Whatever else is valid JSON or an error is left to encoding/json.
type recordReader struct {
	text string
	at   int
	// failed reports that encoding/json must decode the record.
	failed bool
}

// readRecord decodes a record, or returns false if encoding/json must do so.
func readRecord(data []byte) (record recordAlias, ok bool) {
	r := &recordReader{text: string(data)}
	r.object(func(key string) { r.member(&record, key) })
	r.space()
	return record, !r.failed && r.at == len(r.text) && record.Version == RecordVersion
}

func (r *recordReader) member(to *recordAlias, key string) {
	switch key {
	case "version":
		r.number(&to.Version)
	case "case_id":
		var text string
		if r.string(&text); r.failed || to.CaseID.UnmarshalText([]byte(text)) != nil {
			r.failed = true
		}
	case "parties":
		readList(r, &to.Parties, func(p *Party) { r.object(func(key string) { r.party(p, key) }) })
	case "entries":
		r.number(&to.Entries)
	case "docket":
		readList(r, &to.Docket, func(e *DocketEntry) { r.object(func(key string) { r.entry(e, key) }) })
	case "flags":
		readList(r, &to.Flags, r.string)
	case "fetched_at":
		start := r.at
		var text string
		if r.string(&text); r.failed || to.FetchedAt.UnmarshalJSON([]byte(r.text[start:r.at])) != nil {
			r.failed = true
		}
	case "source":
		r.string(&to.Source)
	default:
		r.header(&to.Header, key)
	}
}

func (r *recordReader) header(to *Header, key string) {
	switch key {
	case "court_seq":
		r.string(&to.CourtSeq)
	case "style_of_cause":
		r.string(&to.StyleOfCause)
	case "nature_en":
		r.string(&to.NatureEN)
	case "nature_fr":
		r.string(&to.NatureFR)
	case "nature_code":
		r.string(&to.NatureCode)
	case "division":
		r.string(&to.Division)
	case "filed_on":
		r.string(&to.FiledOn)
	case "office_en":
		r.string(&to.OfficeEN)
	case "office_fr":
		r.string(&to.OfficeFR)
	case "office_code":
		r.string(&to.OfficeCode)
	case "proceeding_type_en":
		r.string(&to.TypeEN)
	case "proceeding_type_fr":
		r.string(&to.TypeFR)
	case "proceeding_type_code":
		r.string(&to.TypeCode)
	case "proceeding_class_en":
		r.string(&to.ClassEN)
	case "proceeding_class_fr":
		r.string(&to.ClassFR)
	case "proceeding_class_id":
		r.string(&to.ClassID)
	case "track_en":
		r.string(&to.TrackEN)
	case "track_fr":
		r.string(&to.TrackFR)
	case "language_en":
		r.string(&to.LanguageEN)
	case "language_fr":
		r.string(&to.LanguageFR)
	case "language_code":
		r.string(&to.LanguageCode)
	case "party_names":
		readList(r, &to.PartyNames, r.string)
	case "ships":
		readList(r, &to.Ships, r.string)
	default:
		r.failed = true
	}
}

func (r *recordReader) party(to *Party, key string) {
	switch key {
	case "name":
		r.string(&to.Name)
	case "firm":
		r.string(&to.Firm)
	case "contact":
		r.string(&to.Contact)
	default:
		r.failed = true
	}
}

func (r *recordReader) entry(to *DocketEntry, key string) {
	switch key {
	case "entry_number":
		r.number(&to.EntryNumber)
	case "document_number":
		r.number(&to.DocumentNumber)
	case "entered_on":
		r.string(&to.EnteredOn)
	case "office_en":
		r.string(&to.OfficeEN)
	case "office_fr":
		r.string(&to.OfficeFR)
	case "text":
		r.string(&to.Text)
	case "document_id":
		r.string(&to.DocumentID)
	case "can_publish":
		r.yesNo(&to.CanPublish)
	case "confidential":
		r.yesNo(&to.Confidential)
	case "language_code":
		r.string(&to.LanguageCode)
	case "notes":
		r.string(&to.Notes)
	case "command_en":
		r.string(&to.CommandEN)
	case "command_fr":
		r.string(&to.CommandFR)
	default:
		r.failed = true
	}
}

// space skips white space.
func (r *recordReader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\n', '\t', '\r':
			r.at++
		default:
			return
		}
	}
}

// next reads a token if it is the next one.
func (r *recordReader) next(token string) bool {
	r.space()
	if !strings.HasPrefix(r.text[r.at:], token) {
		return false
	}
	r.at += len(token)
	return true
}

// want reads a token that must be there.
func (r *recordReader) want(token string) {
	if !r.next(token) {
		r.failed = true
	}
}

// object reads an object. member reads the value of a key.
func (r *recordReader) object(member func(key string)) {
	r.want("{")
	if r.failed || r.next("}") {
		return
	}
	for !r.failed {
		var key string
		if r.next("null") { // only a value may be null
			r.failed = true
		}
		r.string(&key)
		if r.want(":"); r.failed {
			return
		}
		r.space()
		if member(key); r.failed || r.next("}") {
			return
		}
		r.want(",")
	}
}

// readList reads a list or null. A list that is there already would take the values of a second one as
// encoding/json defines it.
func readList[T any](r *recordReader, to *[]T, element func(*T)) {
	if r.next("null") {
		return
	}
	if *to != nil {
		r.failed = true
	}
	*to = []T{}
	if r.want("["); r.failed || r.next("]") {
		return
	}
	for !r.failed {
		var one T
		element(&one)
		*to = append(*to, one)
		if r.next("]") {
			return
		}
		r.want(",")
	}
}

// string reads a string, or null, which changes nothing.
func (r *recordReader) string(to *string) {
	if r.next("null") {
		return
	}
	start := r.at
	if r.want(`"`); r.failed {
		return
	}
	plain := true
	for ; r.at < len(r.text); r.at++ {
		switch b := r.text[r.at]; {
		case b == '"':
			r.at++
			if text := r.text[start+1 : r.at-1]; plain || utf8.ValidString(text) && !strings.Contains(text, `\`) {
				*to = text
			} else if json.Unmarshal([]byte(r.text[start:r.at]), to) != nil {
				r.failed = true
			}
			return
		case b == '\\':
			plain = false
			r.at++ // what follows does not end the string
		case b < ' ':
			r.failed = true
			return
		case b >= utf8.RuneSelf:
			plain = false
		}
	}
	r.failed = true
}

// number reads a whole number, or null, which changes nothing.
func (r *recordReader) number(to *int) {
	if r.next("null") {
		return
	}
	n, start := 0, r.at
	for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
		n = 10*n + int(r.text[r.at]-'0')
		r.at++
	}
	digits := r.at - start
	if digits == 0 || digits > 9 || digits > 1 && r.text[start] == '0' {
		r.failed = true
		return
	}
	*to = n // what may follow in a number, such as a fraction, is no token of an object
}

func (r *recordReader) yesNo(to *YesNo) {
	switch {
	case r.next("null"):
		*to = Unknown
	case r.next("false"):
		*to = No
	case r.next("true"):
		*to = Yes
	default:
		r.failed = true
	}
}
