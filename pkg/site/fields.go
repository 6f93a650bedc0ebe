package site

import "fct-scraper/pkg/contract"

// headerTextField is where a header's plain text of that name lies; nil when it has none of that name.
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

// isDay says whether a field is a day; it is then written YYYY-MM-DD.
func isDay(name string) bool { return name == "filed_on" || name == "day" }

// isList says whether a field is a list of texts.
func isList(name string) bool { return headerListField(&contract.Header{}, name) != nil }
