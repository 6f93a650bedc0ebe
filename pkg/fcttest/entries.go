package fcttest

import (
	"time"

	"fct-scraper/pkg/contract"
)

// StartTime is when the runs of tests with ledger entries are planned.
func StartTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// CaseOf returns the case IMM-number-25.
func CaseOf(number int) contract.CaseID {
	return contract.CaseID{Series: "IMM", Year: "25", Number: number}
}

// Attempt returns the entry of a number's n-th attempt, with one request; outcome may be empty.
func Attempt(number, n int, verdict contract.Verdict, outcome contract.Outcome) contract.Entry {
	start := StartTime().Add(time.Duration(number)*time.Second + time.Duration(n)*100*time.Millisecond)
	entry := contract.Entry{
		CaseID: CaseOf(number), Attempt: n, Verdict: verdict, Outcome: outcome, Rule: "test", StartedAt: start,
		Seconds: 0.25,
		Requests: []contract.Exchange{{Call: "docket", URL: "http://court.test/", Status: 200, StartedAt: start,
			Seconds: 0.2, GapSeconds: 1 + float64(number)/1000}},
	}
	switch outcome {
	case contract.NoRecord:
	case contract.Success:
		entry.FiledOn = "2025-01-02"
		entry.Record = contract.Record{Version: contract.RecordVersion, CaseID: entry.CaseID,
			Docket: []contract.DocketEntry{},
			Header: contract.Header{FiledOn: entry.FiledOn}, FetchedAt: start,
			Source: "http://court.test/"}.FileContent()
	case contract.Failed:
		entry.Error, entry.Raw, entry.RawType = "status 500", []byte("<h1>500</h1>"), "html"
	}
	return entry
}

// Success returns the entry of a number whose first attempt brings its record.
func Success(number int) contract.Entry {
	return Attempt(number, 1, contract.VerdictSuccess, contract.Success)
}

// NoRecord returns the entry of a number whose first attempt finds no record.
func NoRecord(number int) contract.Entry {
	return Attempt(number, 1, contract.VerdictNoRecord, contract.NoRecord)
}

// Failure returns the entry of a number whose first attempt fails it.
func Failure(number int) contract.Entry {
	return Attempt(number, 1, contract.VerdictTransient, contract.Failed)
}
