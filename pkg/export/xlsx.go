package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fct-scraper/pkg/store"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"github.com/xuri/excelize/v2"
)

// The limits of Excel ("Excel specifications and limits").
const (
	xlsxRows      = excelize.TotalRows      // of a sheet, the header among them
	xlsxCellUnits = excelize.TotalCellChars // of a text, in UTF-16 code units
	// xlsxFirstDay is 1900-03-01: Excel counts days from 1900 and a day too many before this one.
	xlsxFirstDay = 61
	// xlsxEpoch is 1970-01-01 in the days of Excel.
	xlsxEpoch = 25569
	// xlsxInteger is above all integers that Excel keeps: it has 15 digits.
	xlsxInteger = 1_000_000_000_000_000
)

// xlsxSheetBytes is the size of XML at which a table continues on a new sheet. A file of 4 GiB or more
// in a ZIP archive needs a header that package zip does not write and Excel insists on.
const xlsxSheetBytes = 2 << 30

// TableLongTexts is the sheet for what does not fit into cells.
const TableLongTexts = "long_texts"

// xlsxOutput is an output to a workbook of Excel. The rows of each sheet wait in a compressed file
// beside the output until all are known; the library writes everything else. Its own StreamWriter
// changes some texts (docs/adr/0017-rows-of-a-workbook.md).
type xlsxOutput struct {
	*folder
	file   *store.Pending
	book   *excelize.File
	tables []*xlsxTable
	// longTexts is nil until a text needs it.
	longTexts *xlsxTable
	styles    xlsxStyles
	// long counts texts that continue in longTexts, odd values that are texts because Excel has no
	// number for them.
	long, odd int
	maxRows   int // of a sheet
}

// xlsxStyles are the styles of cells; 0 is the plain one.
type xlsxStyles struct {
	header, date, time, text, long int
}

// xlsxTable is a table on one sheet or more.
type xlsxTable struct {
	Table
	sheets []*xlsxSheet
	// letters are the names of the columns in Excel, widths those for the texts of the first rows.
	letters []string
	widths  []int
	row     []byte
}

type xlsxSheet struct {
	name  string
	spool *store.Pending
	pack  *zstd.Encoder
	rows  int // with the header
	bytes int64
}

func openXLSX(o *Options, tables []Table) (_ output, err error) {
	x := &xlsxOutput{book: excelize.NewFile(), maxRows: xlsxRows}
	defer func() {
		if err != nil {
			x.abort()
		}
	}()
	if x.folder, err = openFolder(o.Out); err != nil {
		return nil, err
	}
	if x.file, err = x.folder.begin(x.name); err != nil {
		return nil, err
	}
	if err := x.addStyles(); err != nil {
		return nil, err
	}
	for _, t := range tables {
		one, err := x.newTable(t)
		x.tables = append(x.tables, one)
		if err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *xlsxOutput) addStyles() error {
	date, moment := "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
	const textFormat = 49 // "@"
	for _, s := range []struct {
		id    *int
		style excelize.Style
	}{
		{&x.styles.header, excelize.Style{Font: &excelize.Font{Bold: true}}},
		{&x.styles.date, excelize.Style{CustomNumFmt: &date}},
		{&x.styles.time, excelize.Style{CustomNumFmt: &moment}},
		{&x.styles.text, excelize.Style{NumFmt: textFormat}},
		{&x.styles.long, excelize.Style{NumFmt: textFormat,
			Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"FFF2CC"}}}},
	} {
		id, err := x.book.NewStyle(&s.style)
		if err != nil {
			return err
		}
		*s.id = id
	}
	return nil
}

// newTable begins a table. It returns one for abort also with an error.
func (x *xlsxOutput) newTable(t Table) (*xlsxTable, error) {
	one := &xlsxTable{Table: t}
	for i, c := range t.Columns {
		letters, err := excelize.ColumnNumberToName(i + 1)
		if err != nil {
			return one, err
		}
		one.letters, one.widths = append(one.letters, letters), append(one.widths, xlsxWidth(c))
	}
	return one, x.addSheet(one)
}

// addSheet begins the next sheet of a table.
func (x *xlsxOutput) addSheet(t *xlsxTable) error {
	s := &xlsxSheet{name: t.Name, rows: 1}
	if n := len(t.sheets); n > 0 {
		s.name += " " + strconv.Itoa(n+1)
	}
	t.sheets = append(t.sheets, s)
	var err error
	if s.spool, err = x.Begin(x.name); err != nil {
		return err
	}
	s.pack, err = zstd.NewWriter(s.spool, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(1<<20))
	return err
}

// xlsxWidth is the width of a column in characters before its texts are known.
func xlsxWidth(c Column) int {
	const filterButton = 4
	width := len(c.Name) + filterButton
	switch c.Type {
	case Date:
		return max(width, len(time.DateOnly)+1)
	case Time:
		return max(width, len(time.DateTime)+1)
	case Text, Int, Bool, List, JSON:
	}
	return width
}

func (x *xlsxOutput) write(_ context.Context, b *bundle) error {
	for i, t := range x.tables {
		for n, row := range b.rows[i] {
			if err := x.writeRow(t, row, b, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeRow writes the n-th row of a number.
func (x *xlsxOutput) writeRow(t *xlsxTable, row Row, b *bundle, n int) error {
	s := t.sheets[len(t.sheets)-1]
	if s.rows == x.maxRows || s.bytes >= xlsxSheetBytes {
		if err := s.pack.Close(); err != nil {
			return err
		}
		if err := x.addSheet(t); err != nil {
			return err
		}
		s = t.sheets[len(t.sheets)-1]
	}
	s.rows++
	number := strconv.Itoa(s.rows)
	t.row = append(append(append(t.row[:0], `<row r="`...), number...), `">`...)
	for i, v := range row {
		if !v.set {
			continue
		}
		kind := t.Columns[i].Type
		if kind == Text || kind == List || kind == JSON {
			text := v.string(kind)
			first, rest := cutUnits(text, xlsxCellUnits)
			if t.measure(s, i, first); rest != "" {
				if err := x.writeRest(t, i, rest, b, n); err != nil {
					return err
				}
			}
			t.row = x.appendText(t.row, t.letters[i]+number, first, rest != "")
			continue
		}
		t.row = x.appendNumber(t.row, t.letters[i]+number, v, kind)
	}
	t.row = append(t.row, "</row>"...)
	s.bytes += int64(len(t.row))
	_, err := s.pack.Write(t.row)
	return err
}

// measure widens a column for one of its first texts.
func (t *xlsxTable) measure(s *xlsxSheet, column int, text string) {
	const firstRows, widest = 100, 60
	if s.rows <= firstRows && len(t.sheets) == 1 {
		t.widths[column] = max(t.widths[column], min(utf8.RuneCountInString(text)+1, widest))
	}
}

// writeRest writes what is left of a text that does not fit into its cell.
func (x *xlsxOutput) writeRest(t *xlsxTable, column int, rest string, b *bundle, n int) error {
	if x.longTexts == nil {
		var err error
		if x.longTexts, err = x.newTable(longTexts()); err != nil {
			return err
		}
	}
	x.long++
	position := Value{}
	if t.Name == TableEntries || t.Name == TableParties {
		position = intValue(n + 1)
	}
	for part := 2; rest != ""; part++ {
		var text string
		text, rest = cutUnits(rest, xlsxCellUnits)
		row := Row{textValue(t.Name), textValue(b.CaseID.String()), position, textValue(t.Columns[column].Name),
			intValue(part), textValue(text)}
		if err := x.writeRow(x.longTexts, row, b, n); err != nil {
			return err
		}
	}
	return nil
}

// longTexts returns the table of TableLongTexts; writeRest makes its rows.
func longTexts() Table {
	return Table{Name: TableLongTexts, Help: "one row a further part of a text that a cell cannot hold",
		Columns: []Column{
			{Name: "table", Type: Text, Help: "table of the text", key: true},
			{Name: "case_id", Type: Text, Help: "number of the file", key: true},
			{Name: "position", Type: Int, Help: "position of the row of entries or parties; null for other tables"},
			{Name: "column", Type: Text, Help: "column of the text", key: true},
			{Name: "part", Type: Int, Help: "2 follows the cell of the table, 3 follows 2", key: true},
			{Name: "text", Type: Text, Help: "that part of the text"},
		}}
}

// appendText appends a cell with a text. Excel does not evaluate it. What looks like a formula has the
// number format of texts, so that it stays a text when somebody edits the cell.
func (x *xlsxOutput) appendText(to []byte, cell, text string, long bool) []byte {
	style := 0
	if isFormula(text) {
		style = x.styles.text
	}
	if long {
		style = x.styles.long
	}
	to = append(appendCell(to, cell, style), ` t="inlineStr"><is><t`...)
	if text != strings.TrimSpace(text) {
		to = append(to, ` xml:space="preserve"`...)
	}
	return append(appendXML(append(to, '>'), text), "</t></is></c>"...)
}

// appendNumber appends a cell with a number, a date, a time or a boolean.
func (x *xlsxOutput) appendNumber(to []byte, cell string, v Value, t Type) []byte {
	var style int
	var serial float64
	switch t {
	case Bool:
		to = append(appendCell(to, cell, 0), ` t="b"><v>`...)
		return append(strconv.AppendInt(to, v.number, 10), "</v></c>"...)
	case Date:
		style, serial = x.styles.date, float64(v.number+xlsxEpoch)
	case Time:
		const daily = int64(day / time.Microsecond)
		days := floorDiv(v.number, daily)
		style, serial = x.styles.time, float64(days+xlsxEpoch)+float64(v.number-days*daily)/float64(daily)
	case Text, Int, List, JSON:
		serial = float64(v.number)
	}
	if style != 0 && serial < xlsxFirstDay || max(serial, -serial) >= xlsxInteger {
		x.odd++
		return x.appendText(to, cell, v.string(t), false)
	}
	to = append(appendCell(to, cell, style), "><v>"...)
	return append(strconv.AppendFloat(to, serial, 'f', -1, 64), "</v></c>"...)
}

func appendCell(to []byte, cell string, style int) []byte {
	to = append(append(append(to, `<c r="`...), cell...), '"')
	if style != 0 {
		to = append(strconv.AppendInt(append(to, ` s="`...), int64(style), 10), '"')
	}
	return to
}

// appendXML appends a text as the content of an element. What XML cannot hold is written as _xHHHH_
// (ST_Xstring of ECMA-376), and so is the underscore before what looks like that.
func appendXML(to []byte, text string) []byte {
	text = strings.ToValidUTF8(text, "\ufffd")
	from := 0
	for i := 0; i < len(text); i++ {
		var instead string
		size := 1
		switch c := text[i]; {
		case c == '&':
			instead = "&amp;"
		case c == '<':
			instead = "&lt;"
		case c == '>':
			instead = "&gt;"
		case c == '\r':
			instead = "&#13;"
		case c == '_' && isEscape(text[i:]):
			instead = "_x005F_"
		case c < ' ' && c != '\t' && c != '\n':
			instead = fmt.Sprintf("_x%04X_", c)
		case strings.HasPrefix(text[i:], "\ufffe"):
			instead, size = "_xFFFE_", len("\ufffe")
		case strings.HasPrefix(text[i:], "\uffff"):
			instead, size = "_xFFFF_", len("\uffff")
		default:
			continue
		}
		to = append(append(to, text[from:i]...), instead...)
		i += size - 1
		from = i + 1
	}
	return append(to, text[from:]...)
}

// isEscape reports whether a text begins like _x000D_.
func isEscape(text string) bool {
	const form = "_x0000_"
	if len(text) < len(form) || text[1] != 'x' || text[len(form)-1] != '_' {
		return false
	}
	_, err := strconv.ParseUint(text[2:len(form)-1], 16, 16)
	return err == nil
}

// cutUnits cuts a text after at most so many UTF-16 code units, between two characters.
func cutUnits(text string, limit int) (first, rest string) {
	if len(text) <= limit { // a code unit has at least a byte
		return text, ""
	}
	units := 0
	for i, r := range text {
		if r >= 0x10000 {
			units++
		}
		if units++; units > limit {
			return text[:i], text[i:]
		}
	}
	return text, ""
}

func (x *xlsxOutput) finish(ctx context.Context, s *summary) error {
	tables := x.tables
	if x.longTexts != nil {
		tables = append(tables, x.longTexts)
		s.result.Rows[TableLongTexts] = -len(x.longTexts.sheets) // without the headers
		for _, sheet := range x.longTexts.sheets {
			s.result.Rows[TableLongTexts] += sheet.rows
		}
	}
	x.warn(s.result, tables)
	if err := x.save(ctx, s, tables); err != nil {
		return err
	}
	var described []resource
	for _, t := range tables {
		r, err := s.describe(t.Table, x.file)
		if err != nil {
			return err
		}
		names := make([]string, len(t.sheets))
		for i, sheet := range t.sheets {
			names[i] = sheet.name
		}
		r.Dialect = map[string]any{"sheet": names[0]}
		if len(names) > 1 {
			r.Dialect["sheets"] = names
		}
		described = append(described, r)
	}
	return x.commit(ctx, s, []*store.Pending{x.file}, described)
}

// warn says what the sheets could not hold.
func (x *xlsxOutput) warn(r *Result, tables []*xlsxTable) {
	for _, t := range tables {
		if n := len(t.sheets); n > 1 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s has %d sheets, up to %q: a sheet holds %d rows", t.Name, n,
				t.sheets[n-1].name, x.maxRows))
		}
	}
	if x.long > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("texts longer than a cell holds (%d characters): %d; they continue in the sheet %s",
			xlsxCellUnits, x.long, TableLongTexts))
	}
	if x.odd > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("values written as text: %d; Excel has no days before 1900-03-01 and no integers of more than 15 digits",
			x.odd))
	}
}

// save writes the workbook.
func (x *xlsxOutput) save(ctx context.Context, s *summary, tables []*xlsxTable) error {
	at := s.Now.UTC().Format(time.RFC3339)
	err := x.book.SetDocProps(&excelize.DocProperties{Creator: s.Program, LastModifiedBy: s.Program, Created: at,
		Modified: at})
	if err != nil {
		return err
	}
	w := &xlsxArchive{ctx: ctx, sheets: map[string]*xlsxSheet{}}
	for _, t := range tables {
		for _, sheet := range t.sheets {
			if err := sheet.pack.Close(); err != nil {
				return err
			}
			index, err := x.layOut(t, sheet)
			if err != nil {
				return err
			}
			w.sheets[fmt.Sprintf("xl/worksheets/sheet%d.xml", index+1)] = sheet
		}
	}
	buffer := bufio.NewWriterSize(x.file, 256<<10)
	w.Writer = zip.NewWriter(buffer)
	w.RegisterCompressor(zip.Deflate, func(to io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(to, flate.DefaultCompression)
	})
	x.book.SetZipWriter(func(io.Writer) excelize.ZipWriter { return w })
	if err = x.book.Write(io.Discard); w.err != nil {
		err = w.err
	}
	if err != nil {
		return err
	}
	return buffer.Flush()
}

// layOut makes a sheet with the header of a table and returns its index.
func (x *xlsxOutput) layOut(t *xlsxTable, s *xlsxSheet) (index int, err error) {
	if err := x.book.SetSheetName("Sheet1", s.name); err != nil { // that of a new file
		return 0, err
	}
	if index, err = x.book.NewSheet(s.name); err != nil {
		return 0, err
	}
	names, last := t.names(), t.letters[len(t.letters)-1]
	if err = x.book.SetSheetRow(s.name, "A1", &names); err == nil {
		err = x.book.SetCellStyle(s.name, "A1", last+"1", x.styles.header)
	}
	for i, letters := range t.letters {
		if err == nil {
			err = x.book.SetColWidth(s.name, letters, letters, float64(t.widths[i]))
		}
	}
	if err == nil {
		err = x.book.SetPanes(s.name, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2",
			ActivePane: "bottomLeft"})
	}
	all := "A1:" + last + strconv.Itoa(s.rows)
	if err == nil {
		err = x.book.AutoFilter(s.name, all, nil)
	}
	if err == nil {
		err = x.book.SetSheetDimension(s.name, all) // some programs read no further
	}
	return index, err
}

// xlsxArchive is the archive of a workbook. It adds the rows to the sheets that the library writes.
type xlsxArchive struct {
	*zip.Writer
	ctx    context.Context //nolint:containedctx // of one call of the library
	sheets map[string]*xlsxSheet
	// err is the first error; the library loses some.
	err error
}

// Create adds a file.
func (w *xlsxArchive) Create(name string) (io.Writer, error) {
	to, err := w.Writer.Create(name)
	w.note(err)
	return &xlsxPart{w, to, w.sheets[name]}, w.err
}

func (w *xlsxArchive) note(err error) {
	if w.err == nil {
		w.err = err
	}
}

// xlsxPart is a file of an archive. Each is written by one call.
type xlsxPart struct {
	archive *xlsxArchive
	to      io.Writer
	sheet   *xlsxSheet // nil for other files
}

func (p *xlsxPart) Write(data []byte) (int, error) {
	err := p.write(data)
	p.archive.note(err)
	return len(data), err
}

func (p *xlsxPart) write(data []byte) error {
	if p.sheet == nil {
		_, err := p.to.Write(data)
		return err
	}
	before, after, found := bytes.Cut(data, []byte("</sheetData>"))
	if !found {
		return fmt.Errorf("sheet %s has no end of its rows", p.sheet.name)
	}
	if _, err := p.to.Write(before); err != nil {
		return err
	}
	if err := p.copyRows(); err != nil {
		return err
	}
	_, err := p.to.Write(append([]byte("</sheetData>"), after...))
	return err
}

// copyRows copies the rows of the sheet until the context ends.
func (p *xlsxPart) copyRows() error {
	file, err := os.Open(p.sheet.spool.Path())
	if err != nil {
		return p.sheet.spool.NotWritable(err)
	}
	defer func() { _ = file.Close() }() // only read
	rows, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer rows.Close()
	for {
		if p.archive.ctx.Err() != nil {
			return context.Cause(p.archive.ctx)
		}
		if _, err := io.CopyN(p.to, rows, 1<<20); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (x *xlsxOutput) abort() {
	tables := x.tables
	if x.longTexts != nil {
		tables = append(tables, x.longTexts)
	}
	for _, t := range tables {
		for _, s := range t.sheets {
			if s.pack != nil {
				s.pack.Reset(nil) // else its goroutines may stay
			}
			if s.spool != nil {
				s.spool.Discard()
			}
		}
	}
	if x.file != nil {
		x.file.Discard()
	}
	_ = x.book.Close() // has no temporary files
	x.close()
}
