package export

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/xuri/excelize/v2"
)

func TestRoundTrip_XLSX(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatXLSX}, inFile("a.xlsx"), readXLSX)
}

// xlsxMicroseconds is day 65,536 of Excel: from there on the floating-point number of a cell is coarser
// than microseconds.
var xlsxMicroseconds = time.Date(2079, 6, 6, 0, 0, 0, 0, time.UTC)

func openBook(t testing.TB, name string) *excelize.File {
	t.Helper()
	book, err := excelize.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
	return book
}

// readXLSX reads the sheets that the datapackage names, with the types of their columns.
func readXLSX(t testing.TB, out string) map[string]table {
	t.Helper()
	book := openBook(t, out)
	tables := map[string]table{}
	for _, r := range readDescriptor(t, filepath.Dir(out)).Resources {
		size, sum, err := digest(out)
		if err != nil || size != r.Bytes || sum != r.Hash {
			t.Fatalf("%d bytes and %s (%v), the datapackage says %d and %s", size, sum, err, r.Bytes, r.Hash)
		}
		sheets, several := r.Dialect["sheets"].([]any)
		if !several {
			sheets = []any{r.Dialect["sheet"]}
		}
		var rows table
		for _, sheet := range sheets {
			rows = append(rows, readSheet(t, book, sheet.(string), tableNamed(t, r.Name))...)
		}
		if len(rows) != r.Rows {
			t.Fatalf("%s has %d rows, the datapackage says %d", r.Name, len(rows), r.Rows)
		}
		tables[r.Name] = rows
	}
	for _, part := range tables[TableLongTexts] {
		joinPart(t, tables, part)
	}
	for name, rows := range tables {
		of := tableNamed(t, name)
		for _, row := range rows {
			for _, c := range of.Columns {
				if text, is := row[c.Name].(string); is && (c.Type == List || c.Type == JSON) {
					row[c.Name] = json.RawMessage(text)
				}
			}
		}
	}
	return tables
}

func tableNamed(t testing.TB, name string) Table {
	t.Helper()
	for _, one := range append(Tables(), longTexts()) {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("there is no table %s", name)
	return Table{}
}

// joinPart appends a part of a long text to the cell that it continues.
func joinPart(t testing.TB, tables map[string]table, part map[string]any) {
	t.Helper()
	for _, row := range tables[part["table"].(string)] {
		if row["case_id"] == part["case_id"] && (part["position"] == nil || row["position"] == part["position"]) {
			column := part["column"].(string)
			row[column] = row[column].(string) + part["text"].(string)
			return
		}
	}
	t.Fatalf("%v continues no row", part)
}

// readSheet returns the rows of a sheet as JSON has them.
func readSheet(t testing.TB, book *excelize.File, sheet string, of Table) (read table) {
	t.Helper()
	rows, err := book.Rows(sheet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }() // only read
	for first := true; rows.Next(); first = false {
		cells, err := rows.Columns(excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		if first {
			if !slices.Equal(cells, of.names()) {
				t.Fatalf("%s: columns %v, want %v", sheet, cells, of.names())
			}
			continue
		}
		row := map[string]any{}
		for i, c := range of.Columns {
			if row[c.Name] = nil; i < len(cells) && cells[i] != "" {
				row[c.Name] = ofCell(t, cells[i], c.Type)
			}
		}
		read = append(read, row)
	}
	if err := rows.Error(); err != nil {
		t.Fatal(err)
	}
	return read
}

// ofCell returns the value of a cell as JSON has it.
func ofCell(t testing.TB, cell string, kind Type) any {
	t.Helper()
	switch kind {
	case Text, List, JSON:
		return cell
	case Bool:
		return cell == "1"
	case Int:
		return json.Number(cell)
	case Date, Time:
	}
	serial, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		t.Fatalf("%q is no day or time: %v", cell, err)
	}
	at := time.UnixMicro(int64(math.Round((serial - xlsxEpoch) * float64(day/time.Microsecond)))).UTC()
	if !at.Before(xlsxMicroseconds) {
		at = at.Round(time.Millisecond)
	}
	if kind == Date {
		return at.Format(time.DateOnly)
	}
	return at.Format(timeForm)
}

// writeBook exports records and returns the result and the workbook.
func writeBook(t *testing.T, records ...contract.Record) (*Result, *excelize.File) {
	t.Helper()
	o := Options{Format: FormatXLSX, Out: filepath.Join(t.TempDir(), "a.xlsx"), Rules: testRules(t),
		Program: "fct-scraper test", Now: time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)}
	result, err := o.Run(t.Context(), sourceOf(records...))
	if err != nil {
		t.Fatal(err)
	}
	return result, openBook(t, o.Out)
}

// cellOf returns the name of a cell of a column in a row of data, from 1.
func cellOf(t *testing.T, of Table, column string, n int) string {
	t.Helper()
	name, err := excelize.CoordinatesToCellName(slices.Index(of.names(), column)+1, n+1)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// Cells have the types of Excel: what Excel shows is what a reader expects.
func TestXLSX_Types(t *testing.T) {
	t.Parallel()
	r := fcttest.LargeRecord(1)
	r.Docket, r.Entries = r.Docket[:2], 2
	r.FiledOn, r.StyleOfCause = "2025-01-02", "=1+1"
	r.Docket[0].EnteredOn, r.Docket[0].Text = "1899-12-31", "ROE v. MCI"
	result, book := writeBook(t, r)
	for _, want := range []struct {
		table, column string
		row           int
		kind          excelize.CellType
		shown, raw    string
	}{
		{TableCases, "case_id", 1, excelize.CellTypeInlineString, "IMM-1-25", "IMM-1-25"},
		{TableCases, "year", 1, excelize.CellTypeUnset, "2025", "2025"},
		{TableCases, "filed_on", 1, excelize.CellTypeUnset, "2025-01-02", "45659"},
		{TableCases, "fetched_at", 1, excelize.CellTypeUnset, "2025-11-30 12:00:00", "45991.5000014289"},
		{TableCases, "style_of_cause", 1, excelize.CellTypeInlineString, "=1+1", "=1+1"},
		{TableCases, "review", 1, excelize.CellTypeUnset, "", ""},
		{TableEntries, "final", 1, excelize.CellTypeBool, "FALSE", "0"},
		{TableEntries, "entered_on", 1, excelize.CellTypeInlineString, "1899-12-31", "1899-12-31"},
		{TableCoverage, "confirmed", 2, excelize.CellTypeBool, "FALSE", "0"},
		{TableCoverage, "error", 3, excelize.CellTypeInlineString, "=status 500", "=status 500"},
	} {
		cell := cellOf(t, tableNamed(t, want.table), want.column, want.row)
		kind, err := book.GetCellType(want.table, cell)
		if err != nil || kind != want.kind {
			t.Errorf("%s.%s has the type %d (%v), want %d", want.table, want.column, kind, err, want.kind)
		}
		if shown, err := book.GetCellValue(want.table, cell); err != nil || shown != want.shown {
			t.Errorf("%s.%s shows %q (%v), want %q", want.table, want.column, shown, err, want.shown)
		}
		raw, err := book.GetCellValue(want.table, cell, excelize.Options{RawCellValue: true})
		if err != nil || raw != want.raw {
			t.Errorf("%s.%s is %q (%v), want %q", want.table, want.column, raw, err, want.raw)
		}
		if formula, err := book.GetCellFormula(want.table, cell); err != nil || formula != "" {
			t.Errorf("%s.%s has the formula %q (%v)", want.table, want.column, formula, err)
		}
	}
	cell := cellOf(t, casesTable(), "style_of_cause", 1)
	id, err := book.GetCellStyle(TableCases, cell)
	if err != nil {
		t.Fatal(err)
	}
	if style, err := book.GetStyle(id); err != nil || style.NumFmt != 49 {
		t.Errorf("a text like a formula has the style %+v, %v", style, err)
	}
	if len(result.Warnings) != 1 || !strings.HasPrefix(result.Warnings[0], "values written as text: 1;") {
		t.Errorf("warnings %q", result.Warnings)
	}
}

// Every sheet has a bold header that stays in sight, with a filter over all rows.
func TestXLSX_Layout(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	_, book := writeBook(t, fcttest.LargeRecord(1))
	want := []string{TableCases, TableEntries, TableParties, TableCoverage, TableLongTexts}
	if got := book.GetSheetList(); !slices.Equal(got, want) {
		t.Fatalf("sheets %q, want %q", got, want)
	}
	filters := map[string]string{}
	for _, name := range book.GetDefinedName() {
		filters[name.Scope] = name.RefersTo
	}
	for _, sheet := range want {
		panes, err := book.GetPanes(sheet)
		if err != nil || !panes.Freeze || panes.YSplit != 1 {
			t.Errorf("%s: panes %+v, %v", sheet, panes, err)
		}
		id, err := book.GetCellStyle(sheet, "A1")
		if err != nil {
			t.Fatal(err)
		}
		if style, err := book.GetStyle(id); err != nil || style.Font == nil || !style.Font.Bold {
			t.Errorf("%s: style of the header %+v, %v", sheet, style, err)
		}
		rows, err := book.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		want := "A1:" + cellOf(t, tableNamed(t, sheet), tableNamed(t, sheet).names()[len(rows[0])-1], len(rows)-1)
		if all, err := book.GetSheetDimension(sheet); err != nil || all != want {
			t.Errorf("%s: cells %s, %v; want %s", sheet, all, err, want)
		}
		if width, err := book.GetColWidth(sheet, "A"); err != nil || width < 9 || width > 61 {
			t.Errorf("%s: width %f, %v", sheet, width, err)
		}
	}
	if got, want := filters[TableCoverage], TableCoverage+"!$A$1:$K$5"; strings.ReplaceAll(got, "'", "") != want {
		t.Errorf("filter of coverage %s, want %s", got, want)
	}
	if properties, err := book.GetDocProps(); err != nil || properties.Creator != "fct-scraper test" ||
		properties.Created != "2025-12-01T00:00:00Z" {
		t.Errorf("properties %+v, %v", properties, err)
	}
}

// Texts that XML or the escapes of Excel would change come back as they are.
func TestXLSX_Texts(t *testing.T) {
	t.Parallel()
	texts := []string{"_x000D_", "_x000d_", "_x005F_", "_x0041_x0042_", "__x0041__x0041_", "_xD800_", "_x00_", "_x0041",
		"a\x01b\x1f", "\ufffe\uffff\ufffd", "\x7f\u0085", " \t both \n", "\r\n", "\u00a0a", "]]>", "&lt;", "👩‍⚖️",
		"\u202eשלום", strings.Repeat("=", 300), "1e5", "TRUE", "#N/A"}
	r := contract.Record{Version: contract.RecordVersion, CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: 1},
		FetchedAt: time.Unix(0, 0).UTC()}
	for _, text := range texts {
		r.Docket = append(r.Docket, contract.DocketEntry{Text: text})
	}
	r.Entries = len(r.Docket)
	_, book := writeBook(t, r)
	for i, want := range texts {
		got, err := book.GetCellValue(TableEntries, cellOf(t, entriesTable(), "text", i+1))
		if err != nil || got != want {
			t.Errorf("%q came back as %q, %v", want, got, err)
		}
	}
}

// A text that is too long for a cell continues on a sheet of its own, cut between two characters.
func TestXLSX_LongText(t *testing.T) {
	t.Parallel()
	r := fcttest.LargeRecord(1)
	r.Docket, r.Entries = r.Docket[:3], 3
	full := strings.Repeat("é", xlsxCellUnits)
	long := "a" + strings.Repeat("👩", 75_000) // 150,001 code units
	r.Docket[0].Text, r.Docket[1].Text, r.Docket[2].Text = full, long, full+"_x0041_"
	result, book := writeBook(t, r)
	if n := result.Rows[TableLongTexts]; n != 5 {
		t.Errorf("%d rows of long texts, want 5", n)
	}
	want := "texts longer than a cell holds (32767 characters): 2; they continue in the sheet long_texts"
	if !slices.Equal(result.Warnings, []string{want}) {
		t.Errorf("warnings %q, want %q", result.Warnings, want)
	}
	tables := readXLSX(t, result.Out)
	for i, entry := range r.Docket {
		if got := tables[TableEntries][i]["text"]; got != entry.Text {
			t.Errorf("text %d came back different", i)
		}
		cell, err := book.GetCellValue(TableEntries, cellOf(t, entriesTable(), "text", i+1))
		if units := len(cell) - strings.Count(cell, "👩")*2 - strings.Count(cell, "é"); err != nil || units > xlsxCellUnits {
			t.Errorf("cell %d has %d code units, %v", i, units, err)
		}
	}
	for i, part := range tables[TableLongTexts] {
		position, number := json.Number("2"), json.Number(strconv.Itoa(i+2))
		if i == 4 {
			position, number = "3", "2"
		}
		if part["position"] != position || part["part"] != number || part["column"] != "text" ||
			part["case_id"] != "IMM-1-25" || part["table"] != TableEntries {
			t.Errorf("part %d: %v %v %v %v %v", i, part["table"], part["case_id"], part["position"], part["column"],
				part["part"])
		}
	}
}

// A table with more rows than a sheet holds continues on further sheets.
func TestXLSX_MoreRowsThanASheet(t *testing.T) {
	t.Parallel()
	records := []contract.Record{fcttest.LargeRecord(1), fcttest.LargeRecord(2)}
	for i := range records {
		records[i].Docket, records[i].Entries = records[i].Docket[:12], 12
	}
	o := Options{Format: FormatXLSX, Out: filepath.Join(t.TempDir(), "a.xlsx"), Rules: testRules(t)}
	tables, err := o.plan()
	if err != nil {
		t.Fatal(err)
	}
	out, err := openXLSX(&o, tables)
	if err != nil {
		t.Fatal(err)
	}
	defer out.abort()
	out.(*xlsxOutput).maxRows = 11
	source := sourceOf(records...)
	result := &Result{Rows: map[string]int{}}
	err = derive(t.Context(), o.Rules, tables, source.Numbers, func(b *bundle) error {
		for i, one := range tables {
			result.Rows[one.Name] += len(b.rows[i])
		}
		return out.write(t.Context(), b)
	})
	if err == nil {
		err = out.finish(t.Context(), &summary{&o, &source, result, tables})
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []string{TableCases, TableEntries, "entries 2", "entries 3", TableParties, TableCoverage}
	if got := openBook(t, o.Out).GetSheetList(); !slices.Equal(got, want) {
		t.Errorf("sheets %q, want %q", got, want)
	}
	warning := `entries has 3 sheets, up to "entries 3": a sheet holds 11 rows`
	if !slices.Equal(result.Warnings, []string{warning}) {
		t.Errorf("warnings %q, want %q", result.Warnings, warning)
	}
	checkRecords(t, readXLSX(t, o.Out), records)
}

// The rows of a workbook are read in the order of its files, and each name occurs once.
func TestXLSX_Archive(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	result, _ := writeBook(t, fcttest.LargeRecord(1))
	archive, err := zip.OpenReader(result.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }() // only read
	names := map[string]bool{}
	for _, file := range archive.File {
		if names[file.Name] {
			t.Errorf("%s occurs twice", file.Name)
		}
		names[file.Name] = true
		r, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // checks the CRC
			t.Errorf("%s: %v", file.Name, err)
		}
		_ = r.Close() // only read
	}
}

// An export that fails or is stopped leaves the old file and no temporary one.
func TestXLSX_Fails(t *testing.T) {
	t.Parallel()
	o := Options{Format: FormatXLSX, Out: filepath.Join(t.TempDir(), "a.xlsx")}
	if err := os.WriteFile(o.Out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := fcttest.LargeRecord(1)
	long.Docket[0].Text = strings.Repeat("long ", xlsxCellUnits)
	stopped := errors.New("stopped")
	for name, end := range map[string]func(context.CancelCauseFunc) error{
		"source": func(context.CancelCauseFunc) error { return stopped },
		"signal": func(cancel context.CancelCauseFunc) error { cancel(stopped); return nil },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		source := sourceOf(long)
		numbers := source.Numbers
		source.Numbers = func(ctx context.Context, take func(Item) error) error {
			return errors.Join(numbers(ctx, take), end(cancel))
		}
		if _, err := o.Run(ctx, source); !errors.Is(err, stopped) {
			t.Errorf("%s: %v", name, err)
		}
		cancel(nil)
		if left := exportFiles(t, o.Out); !slices.Equal(left, []string{"a.xlsx"}) {
			t.Errorf("%s: files %q", name, left)
		}
	}
	if text, err := os.ReadFile(o.Out); err != nil || string(text) != "old" {
		t.Errorf("the old file is %.20q, %v", text, err)
	}
}

// A workbook that cannot be written is an error, also where the library goes on, and no file appears.
func TestXLSX_SaveFails(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	for name, test := range map[string]struct {
		prepare func(*xlsxOutput, context.CancelCauseFunc) error
		want    error
	}{
		"rows are gone": {func(x *xlsxOutput, _ context.CancelCauseFunc) error {
			return os.Remove(x.tables[0].sheets[0].spool.Path())
		}, store.ErrNotWritable},
		"signal": {func(_ *xlsxOutput, cancel context.CancelCauseFunc) error {
			cancel(stopped)
			return nil
		}, stopped},
	} {
		o := Options{Format: FormatXLSX, Out: filepath.Join(t.TempDir(), "a.xlsx")}
		tables, err := o.plan()
		if err != nil {
			t.Fatal(err)
		}
		out, err := openXLSX(&o, tables)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if err := test.prepare(out.(*xlsxOutput), cancel); err != nil {
			t.Fatal(err)
		}
		source := sourceOf()
		err = out.finish(ctx, &summary{&o, &source, &Result{Rows: map[string]int{}}, tables})
		if !errors.Is(err, test.want) || strings.Count(err.Error(), test.want.Error()) != 1 {
			t.Errorf("%s: %v, want %v once", name, err, test.want)
		}
		out.abort()
		cancel(nil)
		if left := exportFiles(t, o.Out); len(left) > 0 {
			t.Errorf("%s: files %q", name, left)
		}
	}
}

// exportFiles returns the files in the folder of an export, without the lock.
func exportFiles(t *testing.T, out string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), "lock") {
			names = append(names, file.Name())
		}
	}
	return names
}
