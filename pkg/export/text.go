package export

import (
	"io"
	"strings"
)

// ndjsonWriter writes a JSON object a line. Nested tables are lists of objects.
type ndjsonWriter struct {
	to    io.Writer
	table Table
	line  []byte
}

func (w *ndjsonWriter) write(row Row, nested [][]Row) error {
	w.line = appendObject(w.line[:0], w.table, row)
	for i, n := range w.table.nested {
		w.line = w.line[:len(w.line)-1]
		if len(row) > 0 || i > 0 {
			w.line = append(w.line, ',')
		}
		w.line = append(appendQuoted(w.line, n.name), ':')
		w.line = append(appendObjects(w.line, n.table, nested[i]), '}')
	}
	w.line = append(w.line, '\n')
	_, err := w.to.Write(w.line)
	return err
}

func (w *ndjsonWriter) close() error { return nil }

func appendObject(to []byte, t Table, row Row) []byte {
	to = append(to, '{')
	for i, v := range row {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendQuoted(to, t.Columns[i].Name), ':')
		to = v.appendJSON(to, t.Columns[i].Type)
	}
	return append(to, '}')
}

func appendObjects(to []byte, t Table, rows []Row) []byte {
	if rows == nil {
		return append(to, "null"...)
	}
	to = append(to, '[')
	for i, row := range rows {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendObject(to, t, row)
	}
	return append(to, ']')
}

// csvWriter writes CSV (RFC 4180) with a header. Null is an empty field. A list is a JSON array.
type csvWriter struct {
	to    io.Writer
	table Table
	line  []byte
}

func newCSVWriter(to io.Writer, t Table, bom bool) (*csvWriter, error) {
	w := &csvWriter{to: to, table: t}
	if bom {
		w.line = append(w.line, "\ufeff"...)
	}
	w.line = append(append(w.line, strings.Join(t.names(), ",")...), "\r\n"...)
	_, err := to.Write(w.line)
	return w, err
}

func (w *csvWriter) write(row Row, _ [][]Row) error {
	w.line = w.line[:0]
	for i, v := range row {
		if i > 0 {
			w.line = append(w.line, ',')
		}
		if v.set {
			w.line = appendField(w.line, v.string(w.table.Columns[i].Type), w.table.Columns[i].Type)
		}
	}
	w.line = append(w.line, "\r\n"...)
	_, err := w.to.Write(w.line)
	return err
}

func (w *csvWriter) close() error { return nil }

// appendField appends a field. A text that a spreadsheet would take for a formula gets a single
// quote before it; so does one that begins with such quotes, so that a reader can remove one.
func appendField(to []byte, text string, t Type) []byte {
	quoted := strings.ContainsAny(text, "\",\r\n") || text != strings.TrimSpace(text)
	if quoted {
		to = append(to, '"')
	}
	if t == Text && isFormula(text) {
		to = append(to, '\'')
	}
	if !quoted {
		return append(to, text...)
	}
	for {
		before, after, found := strings.Cut(text, `"`)
		to = append(to, before...)
		if !found {
			return append(to, '"')
		}
		to, text = append(to, `""`...), after
	}
}

// isFormula reports whether a text begins with a character that begins a formula, after any number
// of single quotes.
func isFormula(text string) bool {
	text = strings.TrimLeft(text, "'")
	return text != "" && strings.IndexByte("=+-@", text[0]) >= 0
}
