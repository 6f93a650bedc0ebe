package site_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// newSimulator starts a simulator and returns a client for each profile.
func newSimulator(
	t *testing.T, opts courtsim.Options, parties bool, profiles ...*site.Profile,
) (*courtsim.Simulator, []*site.Client) {
	t.Helper()
	sim, err := courtsim.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	server, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	var clients []*site.Client
	for _, p := range profiles {
		clients = append(clients, newClient(t, server.URL, func(o *site.Options) {
			o.Profile, o.Parties, o.MaxBody, o.RequestTimeout, o.JobTimeout = p, parties, 16<<20, time.Minute,
				5*time.Minute
		}))
	}
	return sim, clients
}

// readAttempt fetches a case and reads it.
func readAttempt(t *testing.T, c *site.Client, id contract.CaseID) contract.Classification {
	t.Helper()
	exchanges, err := c.Fetch(t.Context(), id, noPause)
	if err != nil {
		t.Fatal(err)
	}
	return c.Profile.Read(id, exchanges)
}

// commonFields reduces a record to the fields that JSON calls and pages share. Only JSON has codes,
// the second language, party names and ships in the header, and document numbers, flags and notes
// of entries. Only a page has the header's office and language for a case with a docket. For a case
// without a docket only a page has the track.
func commonFields(r contract.Record) contract.Record {
	r.Header = contract.Header{
		StyleOfCause: r.StyleOfCause, NatureEN: r.NatureEN, FiledOn: r.FiledOn, ClassEN: r.ClassEN, TrackEN: r.TrackEN,
		OfficeEN: r.OfficeEN, LanguageEN: r.LanguageEN,
	}
	if r.Entries > 0 {
		r.OfficeEN, r.LanguageEN = "", ""
	} else {
		r.TrackEN = ""
	}
	docket := []contract.DocketEntry{}
	for _, e := range r.Docket {
		docket = append(docket, contract.DocketEntry{
			EntryNumber: e.EntryNumber, EnteredOn: e.EnteredOn, OfficeEN: e.OfficeEN, Text: e.Text,
			DocumentID: e.DocumentID,
		})
	}
	r.Docket = docket
	r.FetchedAt, r.Source = time.Time{}, ""
	return r
}

// TestPageAgreesWithJSON: reading the same numbers by JSON calls and by pages gives the same
// records.
func TestPageAgreesWithJSON(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	sim, clients := newSimulator(t, courtsim.Options{Seed: 3, Max: 290, Missing: 0.15, TokenLife: 7}, true,
		load(t, "fct-cf"), load(t, "fct-cf-html"))
	flags, odd, validate := make(map[string]int), 0, fcttest.RecordSchema(t)
	for number := 1; number <= fcttest.Scaled(120, 300); number++ {
		id := contract.CaseID{Series: "IMM", Number: number, Year: "25"}
		byJSON, byPage := readAttempt(t, clients[0], id), readAttempt(t, clients[1], id)
		want := contract.VerdictNoRecord
		if sim.Exists(id) {
			want = contract.VerdictSuccess
		}
		if byJSON.Verdict != want || byPage.Verdict != want {
			t.Errorf("%s: JSON %s (%s), page %s (%s); want %s", id, byJSON.Verdict, byJSON.Error, byPage.Verdict,
				byPage.Error, want)
			continue
		}
		if want == contract.VerdictNoRecord {
			continue
		}
		if diff := cmp.Diff(commonFields(*byJSON.Record), commonFields(*byPage.Record)); diff != "" {
			t.Errorf("%s (-JSON +page):\n%s", id, diff)
		}
		for _, record := range []*contract.Record{byJSON.Record, byPage.Record} {
			if err := validate(record.FileContent()); err != nil {
				t.Errorf("%s breaks the schema: %v", id, err)
			}
		}
		for _, flag := range byPage.Record.Flags {
			flags[flag]++
		}
		if h := byPage.Record.Header; h.OfficeEN == "" || h.LanguageEN == "" || h.StyleOfCause == "" ||
			h.FiledOn == "" || len(byPage.Record.Parties) == 0 {
			t.Errorf("%s: the page gives the header %+v and %d parties", id, h, len(byPage.Record.Parties))
		}
		if hasOddText(*byPage.Record) {
			odd++
		}
	}
	if flags["other-rows"] == 0 || flags["header-only"] == 0 || flags["duplicate-rows"] == 0 || odd == 0 {
		t.Errorf("flags %v, %d records with quotation marks or accents: the numbers show too little", flags, odd)
	}
}

// TestFrenchPageAgreesWithJSON: a French page gives the French fields of the JSON calls.
func TestFrenchPageAgreesWithJSON(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	text := strings.ReplaceAll(string(profileText(t, "fct-cf-html")), "/en/court-files-and-decisions/court-files",
		"/fr/dossiers-de-la-cour-et-decisions/dossiers-de-la-cour")
	french, err := site.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, clients := newSimulator(t, courtsim.Options{Seed: 3, Max: 30, Missing: 0.2}, true, load(t, "fct-cf"), french)
	records := 0
	for number := 1; number <= 32; number++ {
		id := contract.CaseID{Series: "T", Number: number, Year: "24"}
		byJSON, byPage := readAttempt(t, clients[0], id), readAttempt(t, clients[1], id)
		if byJSON.Verdict != byPage.Verdict {
			t.Errorf("%s: JSON %s, page %s (%s)", id, byJSON.Verdict, byPage.Verdict, byPage.Error)
		}
		if byJSON.Record == nil || byPage.Record == nil || byJSON.Record.Entries == 0 {
			continue
		}
		records++
		if h := byPage.Record.Header; h.NatureEN+h.OfficeEN+h.ClassEN+h.TrackEN+h.LanguageEN != "" ||
			h.OfficeFR == "" || h.LanguageFR == "" {
			t.Errorf("%s: languages are mixed in the header %+v", id, h)
		}
		if diff := cmp.Diff(frenchRecord(*byJSON.Record), frenchRecord(*byPage.Record)); diff != "" {
			t.Errorf("%s (-JSON +page):\n%s", id, diff)
		}
	}
	if records == 0 {
		t.Error("no record")
	}
}

// TestHeaderCall_FillsHeader: the call for the header fills what a docket lacks, and changes nothing
// else.
func TestHeaderCall_FillsHeader(t *testing.T) {
	t.Parallel()
	_, clients := newSimulator(t, courtsim.Options{Seed: 5, Max: 40}, false, load(t, "fct-cf"))
	records, validate := 0, fcttest.RecordSchema(t)
	for number := 1; number <= 40; number++ {
		id := contract.CaseID{Series: "IMM", Number: number, Year: "25"}
		docket := readAttempt(t, clients[0], id).Record
		exchanges, err := clients[0].Fetch(site.WithHeader(t.Context()), id, noPause)
		if err != nil {
			t.Fatal(err)
		}
		full := clients[0].Profile.Read(id, exchanges).Record
		if docket == nil || full == nil {
			t.Fatalf("%s: records %v and %v", id, docket, full)
		}
		if err := validate(full.FileContent()); err != nil {
			t.Errorf("%s breaks the schema: %v", id, err)
		}
		if docket.Entries == 0 {
			continue
		}
		records++
		want, h := *docket, full.Header
		if slices.Contains([]string{h.CourtSeq, h.OfficeEN, h.OfficeFR, h.OfficeCode, h.TypeEN, h.TypeFR, h.TypeCode,
			h.ClassID, h.LanguageEN, h.LanguageFR, h.LanguageCode}, "") || len(h.PartyNames) == 0 || h.Ships == nil {
			t.Errorf("%s: the header call leaves %+v", id, h)
		}
		want.CourtSeq, want.OfficeEN, want.OfficeFR, want.OfficeCode = h.CourtSeq, h.OfficeEN, h.OfficeFR, h.OfficeCode
		want.TypeEN, want.TypeFR, want.TypeCode, want.ClassID = h.TypeEN, h.TypeFR, h.TypeCode, h.ClassID
		want.LanguageEN, want.LanguageFR, want.LanguageCode = h.LanguageEN, h.LanguageFR, h.LanguageCode
		want.PartyNames, want.Ships, want.FetchedAt, want.Flags = h.PartyNames, h.Ships, full.FetchedAt, full.Flags
		if diff := cmp.Diff(want, *full); diff != "" {
			t.Errorf("%s: more than the header's own fields changed:\n%s", id, diff)
		}
		if docket.OfficeCode != "" || docket.PartyNames != nil {
			t.Errorf("%s: a docket alone gives the header %+v", id, docket.Header)
		}
	}
	if records == 0 {
		t.Error("no record with a docket")
	}
}

// frenchRecord reduces a record with a docket to the French fields of JSON calls and pages.
func frenchRecord(r contract.Record) contract.Record {
	h, docket := r.Header, slices.Clone(r.Docket)
	r = commonFields(r)
	r.Header = contract.Header{StyleOfCause: h.StyleOfCause, NatureFR: h.NatureFR, FiledOn: h.FiledOn,
		ClassFR: h.ClassFR, TrackFR: h.TrackFR}
	for i := range r.Docket {
		r.Docket[i].OfficeEN, r.Docket[i].OfficeFR = "", docket[i].OfficeFR
	}
	return r
}

func hasOddText(r contract.Record) bool {
	for _, p := range r.Parties {
		for _, c := range p.Name + p.Firm + p.Contact {
			if c == '"' || c == '&' || c == '\'' || c > 127 {
				return true
			}
		}
	}
	return false
}
