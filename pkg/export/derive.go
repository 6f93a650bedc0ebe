package export

import (
	"context"
	"errors"
	"fmt"

	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/ordered"
)

// bundle is the rows of one number.
type bundle struct {
	Coverage
	// hasRecord reports that the number has a record, so that its rows replace older ones.
	hasRecord bool
	// rows are those of each table of the export.
	rows [][]Row
	// nested are those of the nested tables of each table, for its only row; nil is unknown.
	nested [][][]Row
}

const (
	// A batch of numbers is handed to a worker: enough to make the hand-over cheap, few enough to keep
	// memory low.
	batchItems, batchBytes = 64, 512 << 10
)

// batch is what was derived from some numbers, up to an error.
type batch struct {
	bundles []*bundle
	err     error
}

// derive turns numbers into rows, in their order. Workers do so, one for each processor.
func derive(
	ctx context.Context, rules *facts.Rules, tables []Table,
	numbers func(context.Context, func(Item) error) error, take func(*bundle) error,
) error {
	produce := func(ctx context.Context, pass func([]Item) error) error { return readBatches(ctx, numbers, pass) }
	newWorker := func() func([]Item) batch {
		d := deriver{tables: tables}
		if rules != nil {
			d.reader = rules.NewReader()
		}
		return d.derive
	}
	return ordered.Map(ctx, produce, newWorker, func(b batch) error {
		for _, one := range b.bundles {
			if err := take(one); err != nil {
				return err
			}
		}
		return b.err
	})
}

// readBatches passes all numbers on in batches.
func readBatches(
	ctx context.Context, numbers func(context.Context, func(Item) error) error, pass func([]Item) error,
) error {
	var items []Item
	size := 0
	err := numbers(ctx, func(item Item) error {
		items = append(items, item)
		if size += len(item.Record); len(items) < batchItems && size < batchBytes {
			return nil
		}
		full := items
		items, size = nil, 0
		return pass(full)
	})
	if err == nil && len(items) > 0 {
		err = pass(items)
	}
	return err
}

type deriver struct {
	tables []Table
	reader *facts.Reader
}

func (d *deriver) derive(items []Item) (derived batch) {
	derived.bundles = make([]*bundle, 0, len(items))
	for i := range items {
		one, err := d.bundle(&items[i])
		if err != nil {
			derived.err = err
			return derived
		}
		derived.bundles = append(derived.bundles, one)
	}
	return derived
}

// bundle returns the rows of a number.
func (d *deriver) bundle(item *Item) (*bundle, error) {
	n := &Number{Coverage: item.Coverage}
	if item.Record != nil {
		record, err := facts.Decode(item.Record)
		if err != nil {
			return nil, UnreadableRecord(item.CaseID, err)
		}
		if n.Record = record; d.reader != nil {
			n.Facts = d.reader.Of(record)
		}
	}
	b := &bundle{Coverage: item.Coverage, hasRecord: n.Record != nil, rows: make([][]Row, len(d.tables)),
		nested: make([][][]Row, len(d.tables))}
	for i, t := range d.tables {
		var err error
		if b.rows[i], err = rowsOf(t, n); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRecord, item.CaseID, err)
		}
		if len(b.rows[i]) == 0 {
			continue
		}
		for _, nested := range t.nested {
			var rows []Row
			if nested.known(n) {
				if rows, err = rowsOf(nested.table, n); err != nil {
					return nil, fmt.Errorf("%w: %s: %w", ErrRecord, item.CaseID, err)
				}
			}
			b.nested[i] = append(b.nested[i], rows)
		}
	}
	return b, nil
}

var errNUL = errors.New("has a NUL byte, which databases and spreadsheets cannot hold")

// rowsOf returns the rows of a table. It is not nil.
func rowsOf(t Table, n *Number) ([]Row, error) {
	rows := make([]Row, t.rows(n))
	values := make(Row, 0, len(rows)*len(t.Columns))
	for i := range rows {
		from := len(values)
		values = t.appendRow(values, n, i)
		rows[i] = values[from:len(values):len(values)]
		for j, v := range rows[i] {
			if v.hasNUL() {
				return nil, fmt.Errorf("column %s of row %d of %s %w", t.Columns[j].Name, i+1, t.Name, errNUL)
			}
		}
	}
	return rows, nil
}
