package fcttest

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

// OddTexts returns texts that formats of data get wrong.
func OddTexts() []string {
	return []string{
		"=1+1", "+1", "-2", "@SUM(A1)", "'=1", "''+x", "'quoted'", `say "no"`, `"`, "a,b;c\td", "line\nline",
		"line\r\nline", "\r", "\n",
		" leading", "trailing ", "שלום עולם", "مرحبا", "\u202eright to left", "👩‍⚖️ 🇨🇦", "é vs e\u0301", "null",
		"NULL", `\N`, `\`, `\.`, "{a,b}",
		"[1]", "true", "1e5", "007", "2025-01-01", "<b>&amp;</b>", "_x0041_", "\u2028", "\ufeffmark",
		"O'Brien; DROP TABLE cases;--", "%s%n",
	}
}

func drawText(t *rapid.T, label string) string {
	if rapid.Bool().Draw(t, label+" odd") {
		return rapid.SampledFrom(OddTexts()).Draw(t, label)
	}
	// Control characters other than white space do not come out of pkg/site, and XML cannot hold them.
	return rapid.StringMatching(`[ -~\n\t\x{a0}-\x{24f}\x{590}-\x{6ff}\x{4e00}-\x{4e40}\x{1f600}-\x{1f64f}]{0,20}`).Draw(t, label)
}

func drawDay(t *rapid.T, label string) string {
	if rapid.IntRange(0, 3).Draw(t, label+" null") == 0 {
		return ""
	}
	return time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0,
		rapid.IntRange(0, 40000).Draw(t, label)).Format(time.DateOnly)
}

func drawTexts(t *rapid.T, label string) []string {
	if rapid.Bool().Draw(t, label+" null") {
		return nil
	}
	texts := make([]string, rapid.IntRange(0, 3).Draw(t, label+" length"))
	for i := range texts {
		texts[i] = drawText(t, label)
	}
	return texts
}

// DrawRecord draws a record of IMM-number-25 with an odd value or none in each field.
func DrawRecord(t *rapid.T, number int) contract.Record {
	text := func() string { return drawText(t, "text") }
	flag := func() contract.YesNo { return contract.YesNo(rapid.IntRange(0, 2).Draw(t, "flag")) }
	r := contract.Record{
		Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: number},
		Docket: []contract.DocketEntry{},
		Header: contract.Header{
			CourtSeq: text(), StyleOfCause: text(), NatureEN: text(), NatureFR: text(), NatureCode: text(),
			Division: text(),
			FiledOn:  drawDay(t, "filed_on"), OfficeEN: text(), OfficeFR: text(), OfficeCode: text(), TypeEN: text(),
			TypeFR: text(), TypeCode: text(),
			ClassEN: text(), ClassFR: text(), ClassID: text(), TrackEN: text(), TrackFR: text(), LanguageEN: text(),
			LanguageFR:   text(),
			LanguageCode: text(), PartyNames: drawTexts(t, "party_names"), Ships: drawTexts(t, "ships"),
		},
		Flags: append([]string{}, drawTexts(t, "flags")...), Source: text(),
		FetchedAt: time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(t, "fetched_at")).UTC(),
	}
	if rapid.Bool().Draw(t, "parties") {
		r.Parties = make([]contract.Party, rapid.IntRange(0, 3).Draw(t, "party count"))
		for i := range r.Parties {
			r.Parties[i] = contract.Party{Name: cmp.Or(text(), "?"), Firm: text(), Contact: text()}
		}
	}
	for range rapid.IntRange(0, 5).Draw(t, "entries") {
		r.Docket = append(r.Docket, contract.DocketEntry{
			EntryNumber:    rapid.IntRange(0, 9).Draw(t, "entry"),
			DocumentNumber: rapid.IntRange(0, 9).Draw(t, "document"),
			EnteredOn:      drawDay(t, "entered_on"), OfficeEN: text(), OfficeFR: text(), Text: text(),
			DocumentID:   text(),
			CanPublish:   flag(),
			Confidential: flag(), LanguageCode: text(), Notes: text(), CommandEN: text(), CommandFR: text(),
		})
	}
	r.Entries = len(r.Docket)
	return r
}

// LargeRecord returns a record of IMM-number-25 with 2,500 entries and a text of 30,000 characters.
func LargeRecord(number int) contract.Record {
	r := contract.Record{
		Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: number},
		Flags:     []string{},
		FetchedAt: time.Date(2025, 11, 30, 12, 0, 0, 123456000, time.UTC), Source: "https://court.test/?a=1&b=<2>",
	}
	for i := range 2500 {
		r.Docket = append(r.Docket, contract.DocketEntry{
			EntryNumber: i + 1, EnteredOn: "2025-02-03", Text: fmt.Sprintf("Order rendered by The Honourable Justice Roe at Ottawa on 03-FEB-2025 dismissing the application for leave, no. %d", i),
		})
	}
	r.Docket[7].Text = strings.Repeat("long text, ", 2700)
	r.Entries = len(r.Docket)
	return r
}
