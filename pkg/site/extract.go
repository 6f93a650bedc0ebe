package site

import (
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// extraction fills a record from rows.
type extraction struct {
	zone *time.Location
	// bad are the fields with an unusable value, each with the first such value.
	bad []badValue
}

// badValue is a value that was left out of the record.
type badValue struct{ field, value string }

func (x *extraction) addBadValue(m mapping, value string) {
	for _, known := range x.bad {
		if known.field == m.path.Text {
			return
		}
	}
	x.bad = append(x.bad, badValue{m.path.Text, value})
}

// text returns a field of a row as text; days are converted to YYYY-MM-DD.
func (x *extraction) text(m mapping, row *jsontree.Node) string {
	node, err := m.path.First(row)
	if err != nil {
		x.addBadValue(m, err.Error())
		return ""
	}
	value, err := text(node)
	if err != nil {
		x.addBadValue(m, err.Error())
		return ""
	}
	if value == "" || !isDay(m.field) {
		return value
	}
	written, err := parseDay(value, x.zone)
	if err != nil {
		x.addBadValue(m, value)
	}
	return written
}

// header fills the fields that are still empty: every row of a case repeats the header, and some
// rows have more of it.
func (x *extraction) header(h *contract.Header, fields []mapping, row *jsontree.Node) {
	for _, m := range fields {
		if to := headerTextField(h, m.field); to != nil {
			if *to == "" {
				*to = x.text(m, row)
			}
		} else if to := headerListField(h, m.field); to != nil && len(*to) == 0 {
			*to = x.list(m, row)
		}
	}
}

// list returns the texts of a list, without nulls.
func (x *extraction) list(m mapping, row *jsontree.Node) []string {
	if m.path.Holder != nil {
		holder, err := m.path.Holder.First(row)
		if err == nil && holder != nil && holder.Kind != jsontree.Null && holder.Kind != jsontree.Array {
			x.addBadValue(m, "not a list")
			return nil
		}
	}
	nodes, err := m.path.All(row)
	if err != nil {
		x.addBadValue(m, err.Error())
	}
	var texts []string
	for _, node := range nodes {
		value, err := text(node)
		if err != nil {
			x.addBadValue(m, err.Error())
		} else if value != "" {
			texts = append(texts, value)
		}
	}
	return texts
}

func (x *extraction) entry(fields []mapping, row *jsontree.Node) contract.DocketEntry {
	var e contract.DocketEntry
	for _, m := range fields {
		value := x.text(m, row)
		if value == "" {
			continue
		}
		if to := entryTextField(&e, m.field); to != nil {
			*to = value
		} else if to := entryBool(&e, m.field); to != nil {
			*to = x.boolean(m, value)
		} else if to := entryNumberField(&e, m.field); to != nil {
			*to = x.number(m, value)
		}
	}
	return e
}

// number parses a non-negative integer.
func (x *extraction) number(m mapping, value string) int {
	number, err := strconv.Atoi(value)
	if err != nil || number < 0 {
		x.addBadValue(m, value)
		return 0
	}
	return number
}

func (x *extraction) boolean(m mapping, value string) bool {
	switch strings.ToUpper(value) {
	case "Y", "TRUE":
		return true
	case "N", "FALSE":
		return false
	default:
		x.addBadValue(m, value)
		return false
	}
}

func (x *extraction) party(fields []mapping, row *jsontree.Node) contract.Party {
	var p contract.Party
	for _, m := range fields {
		*partyTextField(&p, m.field) = x.text(m, row)
	}
	return p
}

// headerTextField returns a pointer to the header's text field of that name, or nil.
func headerTextField(h *contract.Header, name string) *string {
	switch name {
	case "court_seq":
		return &h.CourtSeq
	case "style_of_cause":
		return &h.StyleOfCause
	case "nature":
		return &h.Nature
	case "nature_fr":
		return &h.NatureFR
	case "nature_code":
		return &h.NatureCode
	case "division":
		return &h.Division
	case "filed_on":
		return &h.FiledOn
	case "office":
		return &h.Office
	case "office_fr":
		return &h.OfficeFR
	case "office_code":
		return &h.OfficeCode
	case "proceeding_type":
		return &h.Type
	case "proceeding_type_fr":
		return &h.TypeFR
	case "proceeding_type_code":
		return &h.TypeCode
	case "proceeding_class":
		return &h.Class
	case "proceeding_class_fr":
		return &h.ClassFR
	case "proceeding_class_id":
		return &h.ClassID
	case "track":
		return &h.Track
	case "track_fr":
		return &h.TrackFR
	case "language":
		return &h.Language
	case "language_fr":
		return &h.LanguageFR
	case "language_code":
		return &h.LanguageCode
	}
	return nil
}

func headerListField(h *contract.Header, name string) *[]string {
	switch name {
	case "party_names":
		return &h.PartyNames
	case "ships":
		return &h.Ships
	}
	return nil
}

func entryTextField(e *contract.DocketEntry, name string) *string {
	switch name {
	case "day":
		return &e.Day
	case "office":
		return &e.Office
	case "office_fr":
		return &e.OfficeFR
	case "text":
		return &e.Text
	case "document_id":
		return &e.DocumentID
	case "language_code":
		return &e.LanguageCode
	case "notes":
		return &e.Notes
	case "command":
		return &e.Command
	case "command_fr":
		return &e.CommandFR
	}
	return nil
}

func entryNumberField(e *contract.DocketEntry, name string) *int {
	switch name {
	case "entry":
		return &e.Entry
	case "document":
		return &e.Document
	}
	return nil
}

func entryBool(e *contract.DocketEntry, name string) *bool {
	switch name {
	case "can_publish":
		return &e.CanPublish
	case "confidential":
		return &e.Confidential
	}
	return nil
}

func partyTextField(p *contract.Party, name string) *string {
	switch name {
	case "name":
		return &p.Name
	case "firm":
		return &p.Firm
	case "contact":
		return &p.Contact
	}
	return nil
}

func isHeaderField(name string) bool {
	var h contract.Header
	return headerTextField(&h, name) != nil || headerListField(&h, name) != nil
}

func isEntryField(name string) bool {
	var e contract.DocketEntry
	return entryTextField(&e, name) != nil || entryNumberField(&e, name) != nil || entryBool(&e, name) != nil
}

func isPartyField(name string) bool { return partyTextField(&contract.Party{}, name) != nil }

// isDay reports whether a field is a day, which is written YYYY-MM-DD.
func isDay(name string) bool { return name == "filed_on" || name == "day" }

// isList reports whether a field is a list of texts.
func isList(name string) bool { return headerListField(&contract.Header{}, name) != nil }
