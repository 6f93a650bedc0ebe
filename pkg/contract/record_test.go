package contract_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fullRecord returns a record with a value in every field.
func fullRecord() contract.Record {
	return contract.Record{
		Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 1342},
		Header: contract.Header{
			CourtSeq: "2025001342", StyleOfCause: "ÉLISE & FRÈRES v. <MCI>",
			NatureEN: "Imm - Appl. for leave & jud. review", NatureFR: "Imm - Dem. d'autorisation", NatureCode: "IM",
			Division: "T", FiledOn: "2025-02-03", OfficeEN: "Montréal", OfficeFR: "Montréal", OfficeCode: "MTL",
			TypeEN: "Immigration", TypeFR: "Immigration (fr)", TypeCode: "I",
			ClassEN: "Applications", ClassFR: "Requêtes", ClassID: "7",
			TrackEN: "Action", TrackFR: "Action (fr)", LanguageEN: "English", LanguageFR: "Anglais", LanguageCode: "E",
			PartyNames: []string{"ÉLISE", "MCI"}, Ships: []string{"QUEEN"},
		},
		Parties: []contract.Party{{Name: "ÉLISE", Firm: "A & B", Contact: "C"}, {Name: "MCI"}},
		Entries: 2,
		Docket: []contract.DocketEntry{
			{
				EntryNumber: 1, DocumentNumber: 2, EnteredOn: "2025-02-03", OfficeEN: "Ottawa", OfficeFR: "Ottawa (fr)",
				Text: "Application for leave\nfiled", DocumentID: "D1", CanPublish: contract.Yes,
				Confidential: contract.No,
				LanguageCode: "E", Notes: "n", CommandEN: "c", CommandFR: "d",
			},
			{EntryNumber: 2, Text: "letter"},
		},
		Flags: []string{"other-rows"}, FetchedAt: time.Date(2026, 3, 1, 12, 0, 0, 123000000, time.UTC),
		Source: "http://court.test/?a=1&b=2",
	}
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRecord_FileContent: the file of a record has all fields in this order, whatever is known.
func TestRecord_FileContent(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]contract.Record{
		"full.json":  fullRecord(),
		"empty.json": {Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "T", Year: "24", Number: 1}},
	} {
		if diff := cmp.Diff(string(golden(t, name)), string(record.FileContent())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRecord_Version1: a record of version 1 becomes one of version 2. What version 1 left out is
// unknown.
func TestRecord_Version1(t *testing.T) {
	t.Parallel()
	want := fullRecord()
	want.Docket[0].Confidential = contract.Unknown
	var got contract.Record
	if err := json.Unmarshal(golden(t, "version1.json"), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var empty contract.Record
	if err := json.Unmarshal([]byte(`{"version":1,"case_id":"T-1-24","entries":0,"docket":[],`+
		`"fetched_at":"2026-03-01T12:00:00Z","source":""}`), &empty); err != nil {
		t.Fatal(err)
	}
	want = contract.Record{
		Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "T", Year: "24", Number: 1},
		Docket: []contract.DocketEntry{}, Flags: []string{}, FetchedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, empty); diff != "" {
		t.Errorf("without any field (-want +got):\n%s", diff)
	}
}

func TestRecord_UnreadableVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"case_id":"T-1-24"}`:                                  "record version 0: allowed is 1 to 2",
		`{"version":3,"case_id":"T-1-24"}`:                      "record version 3: allowed is 1 to 2",
		`{"version":2,"case_id":"x"}`:                           "not a case id",
		`{"version":1,"docket":[{"day":1}],"case_id":"T-1-24"}`: "day of type string",
		`{"version":2,"docket":[{"can_publish":"Y"}]}`:          "cannot unmarshal string",
	} {
		record := fullRecord()
		err := json.Unmarshal([]byte(text), &record)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
		if diff := cmp.Diff(fullRecord(), record); diff != "" {
			t.Errorf("%s: the error left a record (-want +got):\n%s", text, diff)
		}
	}
}

// generateRecord returns a generator of records as decoding returns them.
func generateRecord() *rapid.Generator[contract.Record] {
	return rapid.Custom(func(t *rapid.T) contract.Record {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"", "\x00\x01\b\f\n\r\t\x1f\x7f", "\u2028\u2029", "<&>'\"\\/", "\U0001f4a9 \u202e \ufeff é", "=1+1",
		}))
		known := rapid.SampledFrom([]contract.YesNo{contract.Unknown, contract.No, contract.Yes})
		r := fullRecord()
		r.StyleOfCause, r.NatureFR = text.Draw(t, "style"), text.Draw(t, "nature")
		r.FiledOn = rapid.SampledFrom([]string{"", "2024-02-29"}).Draw(t, "day")
		list := rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(text, 0, 3))
		r.PartyNames, r.Ships, r.Flags = list.Draw(t, "names"), list.Draw(t, "ships"),
			append([]string{}, list.Draw(t, "flags")...)
		r.Parties = rapid.SampledFrom([][]contract.Party{nil, {}, {{Name: "a"}}}).Draw(t, "parties")
		r.Docket = append([]contract.DocketEntry{}, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) contract.DocketEntry {
			return contract.DocketEntry{
				EntryNumber: rapid.IntRange(0, 3000).Draw(t, "number"), Text: text.Draw(t, "text"),
				CanPublish: known.Draw(t, "publish"), Confidential: known.Draw(t, "confidential"),
			}
		}), 0, 3).Draw(t, "docket")...)
		r.Entries = len(r.Docket)
		r.FetchedAt = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"),
			rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		return r
	})
}

// TestRecord_RoundTrip: both forms are what encoding/json would write without HTML escapes, and are
// read back as the same record.
func TestRecord_RoundTrip(t *testing.T) {
	t.Parallel()
	validate := fcttest.RecordSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		want := generateRecord().Draw(t, "record")
		file := want.FileContent()
		var got contract.Record
		if err := errors.Join(validate(file), json.Unmarshal(file, &got)); err != nil {
			t.Fatalf("%v: %s", err, file)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		var line, indented bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(want); err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&indented, line.Bytes(), "", " "); err != nil || indented.String() != string(file) {
			t.Fatalf("%v: the line is not the compact file: %s", err, line.Bytes())
		}
	})
}

// TestRecord_Texts: texts are escaped as encoding/json does.
func TestRecord_Texts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text") + "."
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(text); err != nil {
			t.Fatal(err)
		}
		r := contract.Record{Header: contract.Header{StyleOfCause: text}}
		if got := r.FileContent(); !bytes.Contains(got,
			append([]byte(`"style_of_cause": `), bytes.TrimSpace(want.Bytes())...)) {
			t.Fatalf("%q became %s", text, got)
		}
	})
}

// recordOf returns a record with so many entries.
func recordOf(entries int) contract.Record {
	r := fullRecord()
	r.Docket = nil
	for i := range entries {
		entry := fullRecord().Docket[0]
		entry.EntryNumber, entry.Text = i+1, strings.Repeat("Lettre envoyée à la Cour par le demandeur & al. ", 3)
		r.Docket = append(r.Docket, entry)
	}
	return r
}

func BenchmarkRecord_FileContent(b *testing.B) {
	r := recordOf(20)
	b.ReportAllocs()
	for b.Loop() {
		r.FileContent()
	}
	b.SetBytes(int64(len(r.FileContent())))
}

// FuzzParseRecord: whatever is parsed, of any version, is written so that it is read back as it was.
func FuzzParseRecord(f *testing.F) {
	for _, name := range []string{"full.json", "empty.json", "version1.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sameAsLibrary(t, data)
		want, err := contract.ParseRecord(data)
		if err != nil || want.CaseID == (contract.CaseID{}) {
			return
		}
		got, err := contract.ParseRecord(want.FileContent())
		if err != nil {
			t.Fatalf("%v: %s", err, want.FileContent())
		}
		if diff := cmp.Diff(want, got); diff != "" || want.Version != contract.RecordVersion {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// sameAsLibrary compares ParseRecord with encoding/json, which reads a record that has an unknown member.
func sameAsLibrary(t *testing.T, data []byte) {
	t.Helper()
	got, gotErr := contract.ParseRecord(data)
	rest, isObject := bytes.CutPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	if !isObject || bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte("}")) {
		return
	}
	want, wantErr := contract.ParseRecord(slices.Concat([]byte(`{"unknown": 0, `), rest))
	if (gotErr == nil) != (wantErr == nil) || gotErr == nil && !cmp.Equal(got, want) {
		t.Errorf("%s\n%v, with an unknown member %v\n%s", data, gotErr, wantErr, cmp.Diff(want, got))
	}
}

// TestParseRecord_Allocations: encoding/json, which allocates more than this, does not decode what
// this program writes.
func TestParseRecord_Allocations(t *testing.T) {
	data := recordOf(20).FileContent()
	if n := testing.AllocsPerRun(10, func() { _, _ = contract.ParseRecord(data) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
}

// A record in another form than this program writes is read as encoding/json reads it.
func TestParseRecord_OddForms(t *testing.T) {
	t.Parallel()
	full := string(fullRecord().FileContent())
	for _, change := range [][2]string{
		{`"version": 2`, `"version": 2, "version": null`}, {`"version": 2`, `"version": 2.0`}, {`"version": 2`, `"VERSION": 2`},
		{`"version": 2`, `"version": 02`}, {`"version": 2`, `"version": "2"`}, {`"version": 2`, `"version": 3`},
		{`"entries": `, `"entries": -`}, {`"entries": `, `"entries": 99999999999`}, {`"entries": `, `"entries": 1e`},
		{`"docket": [`, `"docket": [null, `}, {`"docket": [`, `"docket": [{}, `}, {`"docket": [`, `"docket": [], "docket": [`},
		{`"docket": [`, `"docket": null, "docket": [`}, {`"docket": [`, `"docket": [{"text": "a\u00e9\"\\\n\ud83d\ude00\ud800"}, `},
		{`"docket": [`, "\"docket\": [{\"text\": \"\xff\xc3\"}, "}, {`"docket": [`, "\"docket\": [{\"text\": \"a\nb\"}, "},
		{`"docket": [`, `"docket": [{"text": "\x"}, `}, {`"docket": [`, `"docket": [{"text": 7}, `},
		{`"docket": [`, `"docket": [{"Text": "upper"}, `}, {`"docket": [`, `"docket": [{"text": "a", "text": null}, `},
		{`"docket": [`, `"docket": [{"can_publish": true, "can_publish": null}, `}, {`"docket": [`, `"docket": [{"can_publish": 1}, `},
		{`"docket": [`, `"docket": [{null: 1}, `}, {`"docket": [`, `"docket": [{"text": "a",}, `},
		{`"flags": `, `"flags": null, "flags": `}, {`"flags": `, `"flags": [null], "other": `}, {`"fetched_at": "`, `"fetched_at": null, "x": "`},
		{`"fetched_at": "`, `"fetched_at": "never `}, {`"case_id": "`, `"case_id": null, "x": "`}, {`"case_id": "`, `"case_id": "x`},
		{`"parties": `, `"parties": {}, "x": `}, {`"source": `, `"source": nullx`}, {"{\n", "{\n\t\r"}, {"{\n", ""}, {"{\n", "x{"},
		{"}\n", "}\n{}"}, {"}\n", "}\n \n"}, {"}\n", ""},
	} {
		changed := strings.Replace(full, change[0], change[1], 1)
		if changed == full {
			t.Errorf("%q is not in the record", change[0])
		}
		sameAsLibrary(t, []byte(changed))
	}
}

func BenchmarkParseRecord(b *testing.B) {
	for name, entries := range map[string]int{"20 entries": 20, "150 entries": 150} {
		b.Run(name, func(b *testing.B) {
			data := recordOf(entries).FileContent()
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := contract.ParseRecord(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestRecord_AppendFileContent: records appended to one buffer have the content of their files.
func TestRecord_AppendFileContent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all, want []byte
		for _, r := range rapid.SliceOfN(generateRecord(), 1, 4).Draw(t, "records") {
			all, want = r.AppendFileContent(all), append(want, r.FileContent()...)
		}
		if !bytes.Equal(want, all) {
			t.Errorf("got %q, want %q", all, want)
		}
	})
}
