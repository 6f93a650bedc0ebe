package export

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fct-scraper/pkg/store"

	"github.com/jackc/pgx/v5"
)

// postgresViews are the indexes and views of a database with all columns.
//
//go:embed postgres.sql
var postgresViews string

// postgresLock keeps other exports from writing to the same schema until the end of the transaction.
const postgresLock = "SELECT pg_try_advisory_xact_lock(hashtext('fct-scraper export ' || coalesce(current_schema(), '')))"

// postgresBatch is how many bytes of rows are copied at a time, about.
const postgresBatch = 8 << 20

// postgresCloseTimeout is how long saying goodbye to a database may take.
const postgresCloseTimeout = 5 * time.Second

// postgresOutput is an output to a PostgreSQL database: rows are copied into temporary tables, then
// those that differ replace what the tables have. It is one transaction.
type postgresOutput struct {
	conn   *pgx.Conn
	tx     pgx.Tx
	tables []Table
	// complete reports that the tables have all columns.
	complete bool
	// rows are those of each table that are not copied yet.
	rows [][]Row
	size int
}

func openPostgres(ctx context.Context, o *Options, tables []Table) (_ output, err error) {
	config, err := pgx.ParseConfig(o.Out)
	if err != nil { // the error has no password
		return nil, fmt.Errorf("%w: --out: %w", ErrOptions, err)
	}
	p := &postgresOutput{tables: tables, complete: len(o.Columns) == 0, rows: make([][]Row, len(tables))}
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	if p.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, p.failed(ctx, "connecting to the database of --out", err)
	}
	if p.tx, err = p.conn.Begin(ctx); err != nil {
		return nil, p.failed(ctx, "beginning the transaction", err)
	}
	var alone bool
	if err := p.tx.QueryRow(ctx, postgresLock).Scan(&alone); err != nil {
		return nil, p.failed(ctx, "locking the schema", err)
	} else if !alone {
		return nil, p.failed(ctx, "locking the schema", errors.New("another export writes to it: wait for its end"))
	}
	for _, t := range tables {
		if err := p.create(ctx, t); err != nil {
			return nil, p.failed(ctx, "creating table "+t.Name, err)
		}
	}
	return p, nil
}

// failed returns the error of the database, unless the export was stopped.
func (p *postgresOutput) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %s: nothing was changed: %w", store.ErrNotWritable, doing, oneLine{err})
}

// oneLine is an error of the driver, which has a line for each address that it tried, on one line.
type oneLine struct{ error }

func (e oneLine) Unwrap() error { return e.error }

// Error returns the distinct lines.
func (e oneLine) Error() string {
	var lines []string
	for line := range strings.Lines(e.error.Error()) {
		lines = appendNew(lines, strings.TrimSpace(line))
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

// create creates a table, or the columns that it lacks, and the temporary table beside it.
func (p *postgresOutput) create(ctx context.Context, t Table) error {
	var columns []string
	for _, c := range t.Columns {
		columns = append(columns, postgresColumn(c))
	}
	statements := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s, PRIMARY KEY (%s))", t.Name,
		strings.Join(columns, ", "),
		strings.Join(t.keys(), ", "))}
	for i, c := range t.Columns {
		if !c.key {
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s", t.Name,
				columns[i]))
		}
	}
	statements = append(statements, fmt.Sprintf("CREATE TEMPORARY TABLE new_%s (%s) ON COMMIT DROP", t.Name,
		strings.Join(columns, ", ")))
	for _, statement := range statements {
		if _, err := p.tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func postgresColumn(c Column) string {
	return c.Name + " " + map[Type]string{Text: "text", Int: "bigint", Bool: "boolean", Date: "date",
		Time: "timestamptz", List: "text[]",
		JSON: "jsonb"}[c.Type]
}

func (p *postgresOutput) write(ctx context.Context, b *bundle) error {
	for i := range p.tables {
		p.rows[i] = append(p.rows[i], b.rows[i]...)
		for _, row := range b.rows[i] {
			for _, v := range row {
				p.size += 16 + len(v.text)
			}
		}
	}
	if p.size < postgresBatch {
		return nil
	}
	return p.copyRows(ctx)
}

// copyRows copies the waiting rows into the temporary tables.
func (p *postgresOutput) copyRows(ctx context.Context) error {
	p.size = 0
	for i, t := range p.tables {
		rows := p.rows[i]
		source := pgx.CopyFromSlice(len(rows), func(n int) ([]any, error) {
			values := make([]any, len(t.Columns))
			for j, v := range rows[n] {
				values[j] = postgresValue(v, t.Columns[j].Type)
			}
			return values, nil
		})
		if _, err := p.tx.CopyFrom(ctx, pgx.Identifier{"new_" + t.Name}, t.names(), source); err != nil {
			return p.failed(ctx, "copying rows of "+t.Name, err)
		}
		clear(rows)
		p.rows[i] = rows[:0]
	}
	return nil
}

func postgresValue(v Value, t Type) any {
	switch {
	case !v.set:
		return nil
	case t == Int:
		return v.number
	case t == Bool:
		return v.number != 0
	case t == Date, t == Time:
		return v.asTime(t)
	case t == List:
		return *v.list
	case t == JSON:
		return json.RawMessage(v.text)
	}
	return v.text
}

func (p *postgresOutput) finish(ctx context.Context, s *summary) error {
	if err := p.copyRows(ctx); err != nil {
		return err
	}
	for _, t := range p.tables {
		if err := p.merge(ctx, t); err != nil {
			return p.failed(ctx, "replacing rows of "+t.Name, err)
		}
	}
	if p.complete {
		if _, err := p.tx.Exec(ctx, postgresViews); err != nil {
			return p.failed(ctx, "creating views", err)
		}
	}
	if err := p.state(ctx, s); err != nil {
		return p.failed(ctx, "stating the export", err)
	}
	if err := p.tx.Commit(ctx); err != nil {
		return p.failed(ctx, "committing", err)
	}
	p.tx = nil
	s.result.Out = p.conn.Config().Database // the URL may have a password
	return nil
}

// merge replaces the rows that differ and removes entries and parties that a case no longer has.
func (p *postgresOutput) merge(ctx context.Context, t Table) error {
	var set, own, given []string
	for _, c := range t.Columns {
		if !c.key {
			set = append(set, c.Name+" = excluded."+c.Name)
			own, given = append(own, t.Name+"."+c.Name), append(given, "excluded."+c.Name)
		}
	}
	action := "NOTHING"
	if len(set) > 0 {
		action = fmt.Sprintf("UPDATE SET %s WHERE (%s) IS DISTINCT FROM (%s)", strings.Join(set, ", "),
			strings.Join(own, ", "), strings.Join(given, ", "))
	}
	names, keys := strings.Join(t.names(), ", "), t.keys()
	if len(keys) > 1 {
		_, err := p.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %[1]s old USING new_cases c WHERE old.%[2]s = c.case_id
			AND NOT EXISTS (SELECT FROM new_%[1]s n WHERE n.%[2]s = old.%[2]s AND n.%[3]s = old.%[3]s)`, t.Name, keys[0], keys[1]))
		if err != nil {
			return err
		}
	}
	_, err := p.tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %[2]s FROM new_%[1]s ON CONFLICT (%[3]s) DO %[4]s", t.Name, names,
		strings.Join(keys, ", "), action))
	return err
}

// state adds a row about the export, in place of the datapackage of files.
func (p *postgresOutput) state(ctx context.Context, s *summary) error {
	text, err := json.Marshal(map[string]any{
		"program": s.Program, "ledger_sequence": s.Sequence, "run_ids": s.Runs, "filters": s.Filters,
		"coverage": s.result.Outcomes, "row_count": s.result.Rows,
	})
	if err != nil {
		return err
	}
	_, err = p.tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS exports (at timestamptz NOT NULL, export jsonb NOT NULL)`)
	if err == nil {
		_, err = p.tx.Exec(ctx, "INSERT INTO exports (at, export) VALUES ($1, $2)", s.Now.UTC(), text)
	}
	return err
}

// abort ends the connection, and with it a transaction that was not committed.
func (p *postgresOutput) abort() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), postgresCloseTimeout)
		defer cancel()
		_ = p.conn.Close(ctx)
	}
}
