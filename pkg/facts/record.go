package facts

import (
	"encoding/json"
	"errors"
	"fmt"

	"fct-scraper/pkg/contract"
)

// ErrRecord marks data that is no record.
var ErrRecord = errors.New("not a record")

// Decode reads one record as it is stored in a file of cases/, of this or an earlier version. Its
// error wraps ErrRecord.
func Decode(data []byte) (*contract.Record, error) {
	record, err := contract.ParseRecord(data)
	wrongType, isWrongType := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case isWrongType && wrongType.Field == "":
		return nil, fmt.Errorf("%w: JSON %s: allowed is an object", ErrRecord, wrongType.Value)
	case isWrongType:
		return nil, fmt.Errorf("%w: %s is a JSON %s, which it cannot be", ErrRecord, wrongType.Field, wrongType.Value)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	case record.CaseID == contract.CaseID{}:
		return nil, fmt.Errorf("%w: case_id is missing: allowed is the JSON of one case, as in cases/IMM/25/IMM-231-25.json", ErrRecord)
	}
	return &record, nil
}

// docket is what the rules read of a record. This file alone knows the fields of a record.
type docket struct {
	caseID, filedOn, fetchedOn string
	// header is the English and French text of the header fields that describe the proceeding.
	header  string
	entries []docketEntry
}

type docketEntry struct {
	number   int // 0 if the court gave none
	document int // the court's number of the document, 0 if it gave none
	day      string
	text     string
}

func read(record *contract.Record) docket {
	d := docket{caseID: record.CaseID.String(), filedOn: record.FiledOn,
		entries: make([]docketEntry, len(record.Docket))}
	if !record.FetchedAt.IsZero() {
		d.fetchedOn = record.FetchedAt.UTC().Format("2006-01-02")
	}
	for _, text := range []string{record.NatureEN, record.NatureFR, record.TrackEN, record.TrackFR, record.TypeEN,
		record.TypeFR, record.ClassEN, record.ClassFR} {
		if text != "" {
			d.header += text + " | "
		}
	}
	for i := range record.Docket {
		e := &record.Docket[i]
		d.entries[i] = docketEntry{number: e.EntryNumber, document: e.DocumentNumber, day: e.EnteredOn, text: e.Text}
	}
	return d
}
