package export

import (
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

const (
	// maxRowGroupBytes ends a row group: it is in memory until it is complete. maxRowGroupRows limits
	// the rows of one.
	maxRowGroupBytes, maxRowGroupRows = 32 << 20, 100_000
	// parquetPage is the size of a page in bytes. Each column has one in memory.
	parquetPage = 128 << 10
)

// parquetWriter writes Parquet. Lists have the three levels of the format's definition of LIST.
type parquetWriter struct {
	writer *parquet.GenericWriter[any]
	table  Table
	row    parquet.Row
	size   int // of the current row group
	rows   int
}

func newParquetWriter(to io.Writer, t Table, program string) *parquetWriter {
	return &parquetWriter{table: t, writer: parquet.NewGenericWriter[any](to, parquet.NewSchema(t.Name, schemaNode(t)),
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault, Concurrency: 1}), parquet.PageBufferSize(parquetPage),
		parquet.MaxRowsPerRowGroup(maxRowGroupRows), parquet.CreatedBy(program, "", ""))}
}

// orderedGroup is a group whose fields keep the order of the columns; those of parquet.Group are
// sorted by name.
type orderedGroup struct {
	parquet.Group
	order []string
}

func (g orderedGroup) Fields() []parquet.Field {
	byName := map[string]parquet.Field{}
	for _, f := range g.Group.Fields() {
		byName[f.Name()] = f
	}
	fields := make([]parquet.Field, len(g.order))
	for i, name := range g.order {
		fields[i] = byName[name]
	}
	return fields
}

func (g *orderedGroup) add(name string, node parquet.Node) {
	g.Group[name] = node
	g.order = append(g.order, name)
}

// schemaNode returns the schema of a table: every column is optional, each nested table is an
// optional list of required groups.
func schemaNode(t Table) parquet.Node {
	g := orderedGroup{Group: parquet.Group{}}
	for _, c := range t.Columns {
		g.add(c.Name, parquet.Optional(leafNode(c.Type)))
	}
	for _, n := range t.nested {
		g.add(n.name, parquet.Optional(parquet.List(schemaNode(n.table))))
	}
	return g
}

func leafNode(t Type) parquet.Node {
	switch t {
	case Int:
		return parquet.Int(64)
	case Bool:
		return parquet.Leaf(parquet.BooleanType)
	case Date:
		return parquet.Date()
	case Time:
		return parquet.Timestamp(parquet.Microsecond)
	case List:
		return parquet.List(parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary)))
	case JSON:
		return parquet.JSON()
	case Text:
	}
	return parquet.String()
}

func (w *parquetWriter) write(row Row, nested [][]Row) error {
	w.row = w.row[:0]
	column := 0
	for i, v := range row {
		w.value(v, w.table.Columns[i].Type, column, 0, 0)
		column++
	}
	for i, n := range w.table.nested {
		w.list(n.table, nested[i], column)
		column += len(n.table.Columns)
	}
	if _, err := w.writer.WriteRows([]parquet.Row{w.row}); err != nil {
		return err
	}
	if w.rows++; w.size < maxRowGroupBytes && w.rows < maxRowGroupRows {
		return nil
	}
	w.size, w.rows = 0, 0
	return w.writer.Flush()
}

func (w *parquetWriter) close() error { return w.writer.Close() }

// list adds the rows of a nested table column by column. A null list has definition level 0, an empty
// one 1.
func (w *parquetWriter) list(t Table, rows []Row, column int) {
	for i, c := range t.Columns {
		if len(rows) == 0 {
			w.null(column+i, 0, count(rows != nil))
			continue
		}
		for n, row := range rows {
			w.value(row[i], c.Type, column+i, min(n, 1), 2)
		}
	}
}

// value adds a value of an optional leaf, or a list of texts, below a node of some definition level.
// repetition is 0 for the first value of a row.
func (w *parquetWriter) value(v Value, t Type, column, repetition, definition int) {
	switch {
	case !v.set:
		w.null(column, repetition, definition)
	case t != List:
		w.add(leafValue(v, t).Level(repetition, definition+1, column))
	case len(*v.list) == 0:
		w.null(column, repetition, definition+1)
	default:
		own := 1 // the list repeats at its own level
		if definition > 0 {
			own = 2
		}
		for i, text := range *v.list {
			if i > 0 {
				repetition = own
			}
			w.add(stringValue(text).Level(repetition, definition+3, column))
		}
	}
}

func (w *parquetWriter) null(column, repetition, definition int) {
	w.row = append(w.row, parquet.NullValue().Level(repetition, definition, column))
}

func (w *parquetWriter) add(v parquet.Value) {
	w.row = append(w.row, v)
	w.size += 8
	if v.Kind() == parquet.ByteArray {
		w.size += len(v.ByteArray())
	}
}

func leafValue(v Value, t Type) parquet.Value {
	switch t {
	case Int, Time:
		return parquet.Int64Value(v.number)
	case Date:
		return parquet.Int32Value(int32(v.number))
	case Bool:
		return parquet.BooleanValue(v.number != 0)
	case Text, JSON, List:
	}
	return stringValue(v.text)
}

// stringValue does not copy the text: the writer only reads it.
func stringValue(text string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(text), len(text))) //nolint:gosec // it is not changed
}
