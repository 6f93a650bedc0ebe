package contract

import (
	"encoding/json"
	"time"
)

// RecordVersion is the version of a record's form; it grows when a field changes its meaning.
const RecordVersion = 1

// FlagHeaderOnly marks a record without a docket entry.
const FlagHeaderOnly = "header-only"

// Record is the extracted data of one case. Days are YYYY-MM-DD in the court's time zone; fields
// that the site did not give are omitted.
type Record struct {
	Version int    `json:"version"`
	CaseID  CaseID `json:"case_id"`
	Header
	Parties []Party `json:"parties,omitempty"`
	// Entries is the number of docket entries; 0 is a header-only record, which has FlagHeaderOnly.
	Entries int           `json:"entries"`
	Docket  []DocketEntry `json:"docket"`
	// Flags marks peculiarities: "header-only", "other-rows", ...
	Flags     []string  `json:"flags,omitempty"`
	FetchedAt time.Time `json:"fetched_at"`
	// Source is the URL that the record was read from.
	Source string `json:"source"`
}

// FileContent is the content of the record's file.
func (r Record) FileContent() []byte {
	// Encoding fails only for an invalid case id, which no record has.
	data, _ := json.MarshalIndent(r, "", " ")
	return append(data, '\n')
}

// Header is what a court states about a case as a whole.
type Header struct {
	CourtSeq     string   `json:"court_seq,omitempty"`
	StyleOfCause string   `json:"style_of_cause,omitempty"`
	Nature       string   `json:"nature,omitempty"`
	NatureFR     string   `json:"nature_fr,omitempty"`
	NatureCode   string   `json:"nature_code,omitempty"`
	Division     string   `json:"division,omitempty"`
	FiledOn      string   `json:"filed_on,omitempty"`
	Office       string   `json:"office,omitempty"`
	OfficeFR     string   `json:"office_fr,omitempty"`
	OfficeCode   string   `json:"office_code,omitempty"`
	Type         string   `json:"proceeding_type,omitempty"`
	TypeFR       string   `json:"proceeding_type_fr,omitempty"`
	TypeCode     string   `json:"proceeding_type_code,omitempty"`
	Class        string   `json:"proceeding_class,omitempty"`
	ClassFR      string   `json:"proceeding_class_fr,omitempty"`
	ClassID      string   `json:"proceeding_class_id,omitempty"`
	Track        string   `json:"track,omitempty"`
	TrackFR      string   `json:"track_fr,omitempty"`
	Language     string   `json:"language,omitempty"`
	LanguageFR   string   `json:"language_fr,omitempty"`
	LanguageCode string   `json:"language_code,omitempty"`
	PartyNames   []string `json:"party_names,omitempty"`
	Ships        []string `json:"ships,omitempty"`
}

// Party is one party of a case and its counsel.
type Party struct {
	Name    string `json:"name"`
	Firm    string `json:"firm,omitempty"`
	Contact string `json:"contact,omitempty"`
}

// DocketEntry is one recorded entry of a case.
type DocketEntry struct {
	// Entry is the court's number of the entry (RE_NO); 0 when it gave none.
	Entry int `json:"entry,omitempty"`
	// Document is the court's number of the document (DOCNO); 0 when there is none.
	Document     int    `json:"document,omitempty"`
	Day          string `json:"day,omitempty"`
	Office       string `json:"office,omitempty"`
	OfficeFR     string `json:"office_fr,omitempty"`
	Text         string `json:"text,omitempty"`
	DocumentID   string `json:"document_id,omitempty"`
	CanPublish   bool   `json:"can_publish,omitempty"`
	Confidential bool   `json:"confidential,omitempty"`
	LanguageCode string `json:"language_code,omitempty"`
	Notes        string `json:"notes,omitempty"`
	Command      string `json:"command,omitempty"`
	CommandFR    string `json:"command_fr,omitempty"`
}
