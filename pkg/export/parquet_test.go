package export

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/parquet-go/parquet-go"
)

func TestRoundTrip_Parquet(t *testing.T) {
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatParquet}, inFolder, readParquet(false))
}

func TestRoundTrip_ParquetFlat(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatParquet, Flat: true}, inFolder, readParquet(true))
}

// readParquet reads the tables of a folder with the types of their schemas.
func readParquet(flat bool) readBack {
	return func(t testing.TB, out string) map[string]table {
		t.Helper()
		tables := map[string]table{}
		for _, r := range readDescriptor(t, out).Resources {
			rows, err := parquet.ReadFile[any](filepath.Join(out, r.Path))
			if err != nil || len(rows) != r.Rows {
				t.Fatalf("%s: %d rows, %v; the datapackage says %d", r.Path, len(rows), err, r.Rows)
			}
			o := Options{Format: FormatParquet, Out: out, Flat: flat}
			plan, err := o.plan()
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range plan {
				if one.Name == r.Name {
					tables[r.Name] = typedRows(t, one, rows)
				}
			}
		}
		return tables
	}
}

// typedRows returns rows as JSON has them.
func typedRows(t testing.TB, of Table, rows []any) (typed table) {
	t.Helper()
	for _, one := range rows {
		row, is := one.(map[string]any)
		if !is || len(row) != len(of.Columns)+len(of.nested) {
			t.Fatalf("%s: a row is %v", of.Name, one)
		}
		for _, c := range of.Columns {
			value := row[c.Name]
			switch v := value.(type) {
			case nil, bool, string, []any, map[string]any:
			case int32:
				value = time.Unix(int64(v)*24*3600, 0).UTC().Format(time.DateOnly)
			case int64:
				if value = json.Number(fmt.Sprint(v)); c.Type == Time {
					value = time.UnixMicro(v).UTC().Format(timeForm)
				}
			default:
				t.Fatalf("%s.%s is %T", of.Name, c.Name, v)
			}
			row[c.Name] = value
		}
		for _, n := range of.nested {
			if list, is := row[n.name].([]any); is {
				row[n.name] = typedRows(t, n.table, list)
				if len(list) == 0 {
					row[n.name] = table{}
				}
			}
		}
		typed = append(typed, row)
	}
	return typed
}

// The layout of publishers has their columns in their order, with dates and times.
func TestParquet_LayoutRLL(t *testing.T) {
	t.Parallel()
	r := fcttest.LargeRecord(1)
	r.FiledOn, r.StyleOfCause, r.LanguageEN = "2025-01-02", "ROE v. MCI", "French"
	o := Options{Format: FormatParquet, Layout: LayoutRLL, Out: filepath.Join(t.TempDir(), "rll.parquet")}
	if _, err := o.Run(t.Context(), sourceOf(r)); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(o.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	want := "citation citation2 dataset year name language document_date source_url scraped_timestamp unofficial_text other"
	got := ""
	for _, f := range opened.Schema().Fields() {
		got += f.Name() + " "
	}
	if got != want+" " {
		t.Errorf("columns %s, want %s", got, want)
	}
	rows, err := parquet.ReadFile[any](o.Out)
	if err != nil || len(rows) != 1 {
		t.Fatal(len(rows), err)
	}
	row := typedRows(t, rllTable(), rows)[0]
	for name, value := range map[string]any{
		"citation": "IMM-1-25", "citation2": nil, "dataset": "IMM", "year": json.Number("2025"), "name": "ROE v. MCI",
		"language":      "fr",
		"document_date": "2025-01-02", "source_url": r.Source, "scraped_timestamp": "2025-11-30T12:00:00.123456Z",
		"unofficial_text": docketText(&r),
	} {
		if row[name] != value {
			t.Errorf("%s = %v, want %v", name, row[name], value)
		}
	}
	other, err := json.Marshal(row["other"])
	if err != nil {
		t.Fatal(err)
	}
	record, err := contract.ParseRecord(other)
	if err != nil || string(record.FileContent()) != string(r.FileContent()) {
		t.Errorf("other is not the record: %v", err)
	}
}

// Row groups that are full are written: the rows of all are there.
func TestParquet_RowGroups(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	long := fcttest.LargeRecord(1)
	for i := range long.Docket {
		long.Docket[i].Text += fmt.Sprintf("%4000d", i)
	}
	second, third := long, long
	second.CaseID.Number, third.CaseID.Number = 2, 3
	o := Options{Format: FormatParquet, Out: t.TempDir() + "/"}
	if _, err := o.Run(t.Context(), sourceOf(long, second, third, long, second, long, third)); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(o.Out + "cases.parquet")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := parquet.OpenFile(file, info.Size())
	if err != nil || opened.NumRows() != 7 || len(opened.RowGroups()) < 2 {
		t.Errorf("%d rows in %d row groups, %v", opened.NumRows(), len(opened.RowGroups()), err)
	}
}
