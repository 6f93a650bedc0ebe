package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/fcttest"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// table is what a test reads of a table: its rows, each by the names of the columns. Values are as
// JSON has them.
type table []map[string]any

// readBack reads all tables of an export.
type readBack func(t testing.TB, out string) map[string]table

func testRules(t testing.TB) *facts.Rules {
	t.Helper()
	rules, err := facts.Load("federal-court")
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// sourceOf returns a source with these records, and a no-record and a failed number after them.
func sourceOf(records ...contract.Record) Source {
	at := time.Date(2025, 11, 30, 12, 0, 0, 0, time.UTC)
	return Source{Sequence: 7, Runs: []contract.RunID{"run-1"},
		Numbers: func(_ context.Context, take func(Item) error) error {
			last := contract.CaseID{Series: "IMM", Year: "25"}
			for _, r := range records {
				last = r.CaseID
				c := Coverage{CaseID: r.CaseID, Outcome: contract.Success, At: at, Attempts: 1, RunID: "run-1",
					Site: "sim"}
				if err := take(Item{c, r.FileContent()}); err != nil {
					return err
				}
			}
			for i, c := range []Coverage{{Outcome: contract.NoRecord, Unconfirmed: true},
				{Outcome: contract.Failed, Error: "=status 500"}, {}} {
				c.CaseID, c.At, c.Attempts, c.RunID, c.Site = last.WithNumber(last.Number+1+i), at, i+1, "run-1", "sim"
				if err := take(Item{c, nil}); err != nil {
					return err
				}
			}
			return nil
		}}
}

// checkRecords compares what was read back with the records, and the coverage with sourceOf.
func checkRecords(t testing.TB, tables map[string]table, records []contract.Record) {
	t.Helper()
	got := assemble(t, tables)
	if len(got) != len(records) {
		t.Fatalf("%d records read back, want %d", len(got), len(records))
	}
	for i := range records {
		if want := records[i].FileContent(); !bytes.Equal(got[i].FileContent(), want) {
			t.Fatalf("record read back:\n%s\nwant:\n%s", got[i].FileContent(), want)
		}
	}
	coverage, known := tables[TableCoverage]
	if !known {
		return
	}
	if len(coverage) != len(records)+3 {
		t.Fatalf("%d rows of coverage, want %d", len(coverage), len(records)+3)
	}
	rest := coverage[len(records):]
	for i, want := range []map[string]any{
		{"outcome": "no-record", "confirmed": false, "error": nil},
		{"outcome": "failed", "confirmed": nil, "error": "=status 500"},
		{"outcome": nil, "confirmed": nil, "error": nil},
	} {
		want["attempts"], want["at"], want["year"] = json.Number(strconv.Itoa(i+1)), "2025-11-30T12:00:00.000000Z",
			json.Number("2025")
		for name, value := range want {
			if rest[i][name] != value {
				t.Errorf("coverage %d: %s = %v (%T), want %v (%T)", i, name, rest[i][name], rest[i][name], value, value)
			}
		}
	}
}

// assemble makes records of the rows of an export.
func assemble(t testing.TB, tables map[string]table) (records []contract.Record) {
	t.Helper()
	lists := map[string]map[any][]any{TableEntries: {}, TableParties: {}}
	for name, byCase := range lists {
		for _, row := range tables[name] {
			byCase[row["case_id"]] = append(byCase[row["case_id"]], row)
			if want := json.Number(strconv.Itoa(len(byCase[row["case_id"]]))); row["position"] != want {
				t.Fatalf("%s of %v: position %v, want %v", name, row["case_id"], row["position"], want)
			}
		}
	}
	for _, row := range tables[TableCases] {
		row["version"] = contract.RecordVersion
		if _, nested := row["docket"]; !nested {
			row["docket"] = append([]any{}, lists[TableEntries][row["case_id"]]...)
			if row["party_count"] != nil {
				row["parties"] = append([]any{}, lists[TableParties][row["case_id"]]...)
			}
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		record, err := contract.ParseRecord(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b contract.Record) int { return a.CaseID.Compare(b.CaseID) })
	return records
}

// checkRoundTrip exports records, among them drawn ones, and reads them back.
func checkRoundTrip(t *testing.T, o Options, out func(dir string) string, read readBack) {
	t.Helper()
	o.Rules, o.Program = testRules(t), "fct-scraper test"
	run := func(t testing.TB, records ...contract.Record) {
		one := o
		one.Out = out(t.TempDir())
		if _, err := one.Run(t.Context(), sourceOf(records...)); err != nil {
			t.Fatal(err)
		}
		checkRecords(t, read(t, one.Out), records)
	}
	t.Run("large", func(t *testing.T) { run(t, fcttest.LargeRecord(1)) })
	t.Run("none", func(t *testing.T) { run(t) })
	t.Run("odd", func(t *testing.T) {
		var records []contract.Record
		for i, text := range fcttest.OddTexts() {
			r := contract.Record{Version: contract.RecordVersion,
				CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: i + 1}, Flags: []string{text},
				Docket: []contract.DocketEntry{{Text: text}}, Entries: 1, FetchedAt: time.Unix(int64(i), 0).UTC(),
				Source: text}
			r.StyleOfCause, r.PartyNames = text, []string{text, ""}
			records = append(records, r)
		}
		run(t, records...)
	})
	t.Run("drawn", func(t *testing.T) {
		records := slices.Clone(drawnRecords())
		for i, r := range records {
			if o.Format == FormatXLSX && !r.FetchedAt.Before(xlsxMicroseconds) {
				records[i].FetchedAt = r.FetchedAt.Truncate(time.Millisecond)
			}
		}
		run(t, records...)
	})
}

// drawnRecords returns the records of all round trips: drawing them takes longer than to export them.
var drawnRecords = sync.OnceValue(func() (records []contract.Record) {
	draw := rapid.Custom(func(t *rapid.T) contract.Record { return fcttest.DrawRecord(t, 1) })
	for i := range fcttest.Scaled(100, 5000) {
		r := draw.Example(i)
		r.CaseID.Number = i + 1
		records = append(records, r)
	}
	return records
})

func inFolder(dir string) string { return dir + "/" }

func inFile(name string) func(string) string {
	return func(dir string) string { return filepath.Join(dir, name) }
}

func TestRoundTrip_NDJSON(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatNDJSON}, inFolder, readFolder)
}

func TestRoundTrip_NDJSONFlat(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatNDJSON, Flat: true}, inFolder, readFolder)
}

func TestRoundTrip_NDJSONZstd(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatNDJSON}, inFile("a.ndjson.zst"), readFolder)
}

func TestRoundTrip_NDJSONGzip(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatNDJSON}, inFile("a.ndjson.gz"), readFolder)
}

func TestRoundTrip_CSV(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatCSV}, inFolder, readFolder)
}

func TestRoundTrip_CSVMark(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatCSV, BOM: true}, inFolder, readFolder)
}

// readFolder reads NDJSON and CSV files as the datapackage describes them, and compares sizes, hashes
// and counts with it.
func readFolder(t testing.TB, out string) map[string]table {
	t.Helper()
	folder := filepath.Dir(out)
	tables := map[string]table{}
	for _, r := range readDescriptor(t, folder).Resources {
		name := filepath.Join(folder, r.Path)
		size, sum, err := digest(name)
		if err != nil || size != r.Bytes || sum != r.Hash {
			t.Fatalf("%s has %d bytes and %s (%v), the datapackage says %d and %s", r.Path, size, sum, err, r.Bytes,
				r.Hash)
		}
		data := decompress(t, name)
		var rows table
		if r.Format == FormatCSV {
			rows = parseCSV(t, data, r.Schema)
		} else {
			for line := range bytes.Lines(data) {
				var row map[string]any
				d := json.NewDecoder(bytes.NewReader(line))
				d.UseNumber()
				if err := d.Decode(&row); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				for _, f := range r.Schema.Fields {
					if _, known := row[f.Name]; !known {
						t.Fatalf("%s: no column %s", line, f.Name)
					}
				}
				rows = append(rows, row)
			}
		}
		if tables[r.Name] = rows; len(rows) != r.Rows {
			t.Fatalf("%s has %d rows, the datapackage says %d", r.Path, len(rows), r.Rows)
		}
	}
	return tables
}

type readDescription struct {
	Resources []resource `json:"resources"`
}

func readDescriptor(t testing.TB, folder string) (d readDescription) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, descriptorName))
	if err == nil {
		err = json.Unmarshal(data, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func decompress(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(data)
	switch filepath.Ext(name) {
	case ".gz":
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case ".zst":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	if data, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data
}

// parseCSV reads CSV as RFC 4180 defines it; encoding/csv would change line ends inside of fields.
func parseCSV(t testing.TB, data []byte, schema tableSchema) (rows table) {
	t.Helper()
	text := strings.TrimPrefix(string(data), "\ufeff")
	var header, fields []string
	for len(text) > 0 {
		field := ""
		if strings.HasPrefix(text, `"`) {
			var whole strings.Builder // a long field has many quotes
			for more := true; more; {
				part, rest, closed := strings.Cut(text[1:], `"`)
				if !closed {
					t.Fatalf("a quote is not closed: %.80q", text)
				}
				whole.WriteString(part)
				text = rest
				if more = strings.HasPrefix(text, `"`); more {
					whole.WriteByte('"')
				}
			}
			field = whole.String()
		} else {
			end := strings.IndexAny(text, ",\r")
			field, text = text[:end], text[end:]
		}
		fields = append(fields, field)
		switch {
		case strings.HasPrefix(text, ","):
			text = text[1:]
			continue
		case !strings.HasPrefix(text, "\r\n"):
			t.Fatalf("after field %q comes %.20q", field, text)
		}
		text = text[2:]
		if header == nil {
			header, fields = fields, nil
			continue
		}
		if len(fields) != len(header) || len(fields) != len(schema.Fields) {
			t.Fatalf("%d fields, the header has %d and the schema %d", len(fields), len(header), len(schema.Fields))
		}
		row := map[string]any{}
		for i, f := range schema.Fields {
			if f.Name != header[i] {
				t.Fatalf("column %d is %s, the schema says %s", i, header[i], f.Name)
			}
			row[f.Name] = typed(t, fields[i], f.Type)
		}
		rows, fields = append(rows, row), nil
	}
	return rows
}

// typed returns a field as JSON has it.
func typed(t testing.TB, field, kind string) any {
	t.Helper()
	switch {
	case field == "":
		return nil
	case kind == "string" && isFormula(field) && field[0] != '\'':
		t.Fatalf("%q is a formula", field)
	case kind == "string" && isFormula(field):
		return field[1:]
	case kind == "string", kind == "date", kind == "datetime":
		return field
	}
	var value any
	d := json.NewDecoder(strings.NewReader(field))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		t.Fatalf("%s %q: %v", kind, field, err)
	}
	return value
}
