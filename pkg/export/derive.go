package export

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"

	"golang.org/x/sync/errgroup"
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

// batch is some numbers in order. Its bundles are ready when done is closed.
type batch struct {
	items   []Item
	bundles []*bundle
	err     error
	done    chan struct{}
}

// derive turns numbers into rows, in their order. Workers do so, one for each processor.
func derive(
	ctx context.Context, rules *facts.Rules, tables []Table,
	numbers func(context.Context, func(Item) error) error, take func(*bundle) error,
) error {
	workers := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	work, inOrder := make(chan *batch), make(chan *batch, workers)
	group.Go(func() error {
		defer close(work)
		defer close(inOrder)
		return readBatches(ctx, numbers, inOrder, work)
	})
	for range workers {
		group.Go(func() error {
			d := deriver{tables: tables}
			if rules != nil {
				d.reader = rules.NewReader()
			}
			for b := range work {
				d.derive(b)
			}
			return nil
		})
	}
	group.Go(func() error {
		for b := range inOrder {
			select {
			case <-b.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			for _, one := range b.bundles {
				if err := take(one); err != nil {
					return err
				}
			}
			if b.err != nil {
				return b.err
			}
		}
		return nil
	})
	return group.Wait()
}

// readBatches passes all numbers on in batches.
func readBatches(ctx context.Context, numbers func(context.Context, func(Item) error) error, to ...chan *batch) error {
	b, size := &batch{done: make(chan struct{})}, 0
	pass := func() error {
		for _, c := range to {
			select {
			case c <- b:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		b, size = &batch{done: make(chan struct{})}, 0
		return nil
	}
	err := numbers(ctx, func(item Item) error {
		b.items = append(b.items, item)
		if size += len(item.Record); len(b.items) == batchItems || size >= batchBytes {
			return pass()
		}
		return nil
	})
	if err == nil && len(b.items) > 0 {
		err = pass()
	}
	return err
}

type deriver struct {
	tables []Table
	reader *facts.Reader
}

func (d *deriver) derive(b *batch) {
	defer close(b.done)
	b.bundles = make([]*bundle, 0, len(b.items))
	for i := range b.items {
		one, err := d.bundle(&b.items[i])
		if err != nil {
			b.err = fmt.Errorf("%w: %s: %w", ErrRecord, b.items[i].CaseID, err)
			return
		}
		b.bundles = append(b.bundles, one)
	}
	b.items = nil
}

// bundle returns the rows of a number.
func (d *deriver) bundle(item *Item) (*bundle, error) {
	n := &Number{Coverage: item.Coverage}
	if item.Record != nil {
		record, err := contract.ParseRecord(item.Record)
		if err != nil {
			return nil, err
		}
		if n.Record = &record; d.reader != nil {
			n.Facts = d.reader.Of(&record)
		}
	}
	b := &bundle{Coverage: item.Coverage, hasRecord: n.Record != nil, rows: make([][]Row, len(d.tables)),
		nested: make([][][]Row, len(d.tables))}
	for i, t := range d.tables {
		var err error
		if b.rows[i], err = rowsOf(t, n); err != nil {
			return nil, err
		}
		if len(b.rows[i]) == 0 {
			continue
		}
		for _, nested := range t.nested {
			var rows []Row
			if nested.known(n) {
				if rows, err = rowsOf(nested.table, n); err != nil {
					return nil, err
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
