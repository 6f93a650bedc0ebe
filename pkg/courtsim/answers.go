package courtsim

import (
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

func (c *Simulator) appendResponse(b []byte, op call, id contract.CaseID, division string) []byte {
	begun := len(b)
	// The count is filled in at the end. Nearly all responses have fewer than a hundred rows.
	b = append(b, `{"Count":   ,"data":[`...)
	rows := 0
	if c.Exists(id) && c.inDivision(op, id, division) {
		b, rows = c.appendRows(b, op, c.newFile(id))
	}
	copy(b[begun+len(`{"Count":`):], strconv.Itoa(rows))
	return append(b, `]}`...)
}

// inDivision reports whether a case is found with a division: its own letter, "b" for both, or the
// case number in place of the letter. Only some calls use it.
func (c *Simulator) inDivision(op call, id contract.CaseID, division string) bool {
	if op == partiesCall || op == relatedCall {
		return true
	}
	number := strings.EqualFold(division, id.String())
	letter := strings.EqualFold(division, "b") || strings.EqualFold(division, divisionOf(id.Series))
	switch {
	case op == docketCall && c.opts.Division == DivisionNumber:
		return number
	case op == docketCall && c.opts.Division == DivisionLetter:
		return letter
	default:
		return number || letter
	}
}

func (c *Simulator) appendRows(b []byte, op call, f file) (text []byte, rows int) {
	switch op {
	case docketCall:
		return c.appendDocketRows(b, f)
	case partiesCall:
		for i, p := range f.parties {
			r := openRow(b, i == 0)
			r.text("PARTY_NAME", p.name)
			r.textOrNull("SOLCTR_FIRM", p.firm)
			r.textOrNull("SOLCTR_CONTACT", p.contact)
			b = r.close()
		}
		return b, len(f.parties)
	case relatedCall:
		return c.appendRelatedRows(b, f)
	default:
		b = appendHeaderRow(b, f, true, op == fullerCall)
		if other, found := c.prefixMatch(f.id); found {
			return appendHeaderRow(b, c.newFile(other), false, op == fullerCall), 2
		}
		return b, 1
	}
}

// prefixMatch returns a longer case number that starts with the same digits. The site sometimes
// returns its row too.
func (c *Simulator) prefixMatch(id contract.CaseID) (contract.CaseID, bool) {
	d := c.randomFor(saltPrefix, id)
	other := id.WithNumber(id.Number*10 + d.below(10))
	return other, d.chance(prefixShare) && c.Exists(other)
}

func (c *Simulator) appendDocketRows(b []byte, f file) ([]byte, int) {
	if c.headerOnly(f.id) {
		return b, 0
	}
	entries := c.newDocket(f)
	for i := range entries {
		b = appendEntryRow(b, f, &entries[i], i == 0)
	}
	if other, found := c.prefixMatch(f.id); found {
		of := c.newFile(other)
		for _, e := range c.newDocket(of)[:1] {
			b = appendEntryRow(b, of, &e, false)
		}
		return b, len(entries) + 1
	}
	return b, len(entries)
}

func appendHeaderRow(b []byte, f file, first, fuller bool) []byte {
	r := openRow(b, first)
	r.text("COURT_NO", f.id.String())
	r.text("COURT_SEQ", strconv.Itoa(fullYear(f.id.Year)*1_000_000+f.id.Number))
	r.text("STYLE_OF_CAUSE", f.style)
	appendNature(&r, f)
	r.text("DIVISION", f.division)
	r.date("FILE_DT", f.filed, f.offset)
	r.text("OFF_CD", f.office.Code)
	r.both("CITY_NAME", f.office)
	r.text("PRCDG_TYPE", f.kind.Type.Code)
	r.both("PROCEEDING_TYPE", &f.kind.Type)
	r.name("PROCEEDING_CLASS_ID")
	r.b = append(r.b, f.kind.Class.Code...)
	r.both("PROCEEDING_CLASS", &f.kind.Class)
	language := languageOf(f.french)
	r.text("LANG_CD", language.Code)
	r.both("LANGUAGE_NAME", &language)
	names := make([]string, len(f.parties))
	for i, p := range f.parties {
		names[i] = p.name
	}
	r.list("Party", names)
	r.list("Ships", f.ships)
	if fuller {
		r.both("TRACK_NAME", &f.kind.Track)
	}
	return r.close()
}

func appendNature(r *rowWriter, f file) {
	r.text("NATURE_CD", f.nature.Code)
	r.both("NATURE_DESC", &f.nature.bilingual)
}

func languageOf(french bool) bilingual {
	if french {
		return bilingual{"F", "French", "Français"}
	}
	return bilingual{"E", "English", "Anglais"}
}

func appendEntryRow(b []byte, f file, e *entry, first bool) []byte {
	r := openRow(b, first)
	r.text("Division", f.division)
	r.text("COURT_NO", f.id.String())
	r.text("STYLE_OF_CAUSE", f.style)
	r.date("FILING_DATE", f.filed, f.offset)
	appendNature(&r, f)
	r.both("TRACK_NAME", &f.kind.Track)
	r.both("PROCEEDING_CLASS", &f.kind.Class)
	r.both("OFFICE_NAME", e.office)
	if e.document > 0 {
		r.number("DOCNO", e.document)
	} else {
		r.null("DOCNO")
	}
	r.number("RE_NO", e.number)
	r.textOrNull("FOREMOST_NUMBER", e.documentID(f))
	r.text("RECORDED_ENTRY", e.text)
	if f.plainDays {
		r.text("DOC_DT", e.at.Format("2006-01-02T00:00:00"))
	} else {
		r.date("DOC_DT", e.at, f.offset)
	}
	r.yesNo("CAN_PUBLISH_DOCUMENT", e.public)
	appendEntryFlags(&r, e)
	return r.close()
}

// appendEntryFlags appends the less used fields of an entry.
func appendEntryFlags(r *rowWriter, e *entry) {
	r.text("RE_LANG_CD", languageOf(e.french).Code)
	r.yesNo("IS_CONFIDENTIAL", e.confidential)
	r.textOrNull("REGISTRY_NOTES_EXTERNAL", e.note)
	var command bilingual
	if e.command {
		command = bilingual{EN: "Placed on file", FR: "Versé au dossier"}
	}
	r.textOrNull("COMMAND_PHRASE_EN", command.EN)
	r.textOrNull("COMMAND_PHRASE_FR", command.FR)
}

// appendRelatedRows appends the related case, which few cases have.
func (c *Simulator) appendRelatedRows(b []byte, f file) ([]byte, int) {
	d := c.randomFor(saltRelated, f.id)
	other := f.id.WithNumber(max(1, f.id.Number-d.between(1, 30)))
	if !d.chance(0.05) || other == f.id || !c.Exists(other) {
		return b, 0
	}
	of := c.newFile(other)
	r := openRow(b, true)
	r.text("COURT_NO", other.String())
	r.text("STYLE_OF_CAUSE", of.style)
	return r.close(), 1
}

// rowWriter appends one JSON object to a buffer. It is three times as fast as encoding/json: under
// load the simulator must cost less than its clients.
type rowWriter struct{ b []byte }

func openRow(b []byte, first bool) rowWriter {
	if !first {
		b = append(b, ',')
	}
	return rowWriter{append(b, '{')}
}

func (r *rowWriter) close() []byte { return append(r.b, '}') }

func (r *rowWriter) name(name string) {
	if r.b[len(r.b)-1] != '{' {
		r.b = append(r.b, ',')
	}
	r.b = append(r.b, '"')
	r.b = append(r.b, name...)
	r.b = append(r.b, '"', ':')
}

func (r *rowWriter) text(name, value string) {
	r.name(name)
	r.b = appendText(r.b, value)
}

// both writes a text in both languages.
func (r *rowWriter) both(name string, value *bilingual) {
	r.text("ENGLISH_"+name, value.EN)
	r.text("FRENCH_"+name, value.FR)
}

func (r *rowWriter) textOrNull(name, value string) {
	if value == "" {
		r.null(name)
		return
	}
	r.text(name, value)
}

func (r *rowWriter) null(name string) {
	r.name(name)
	r.b = append(r.b, "null"...)
}

func (r *rowWriter) number(name string, value int) {
	r.name(name)
	r.b = strconv.AppendInt(r.b, int64(value), 10)
}

// yesNo writes Y or N.
func (r *rowWriter) yesNo(name string, yes bool) {
	if yes {
		r.text(name, "Y")
		return
	}
	r.text(name, "N")
}

// date writes a time as Microsoft's serializers do: Unix milliseconds, optionally with the offset.
func (r *rowWriter) date(name string, at time.Time, offset bool) {
	r.name(name)
	r.b = append(r.b, `"\/Date(`...)
	r.b = strconv.AppendInt(r.b, at.UnixMilli(), 10)
	if offset {
		r.b = at.AppendFormat(r.b, "-0700")
	}
	r.b = append(r.b, `)\/"`...)
}

// list writes texts, an empty one as null.
func (r *rowWriter) list(name string, values []string) {
	r.name(name)
	r.b = append(r.b, '[')
	for i, value := range values {
		if i > 0 {
			r.b = append(r.b, ',')
		}
		if value == "" {
			r.b = append(r.b, "null"...)
			continue
		}
		r.b = appendText(r.b, value)
	}
	r.b = append(r.b, ']')
}

const hex = "0123456789abcdef"

// appendText appends a JSON string; non-ASCII letters are written as UTF-8.
func appendText(b []byte, value string) []byte {
	b = append(b, '"')
	plain := 0 // start of the text that needs no escaping
	for i := range len(value) {
		c := value[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, value[plain:i]...)
		plain = i + 1
		if c < ' ' {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			b = append(b, '\\', c)
		}
	}
	b = append(b, value[plain:]...)
	return append(b, '"')
}
