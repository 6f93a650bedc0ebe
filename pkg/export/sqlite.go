package export

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"fct-scraper/pkg/store"

	_ "modernc.org/sqlite" // the driver
)

// sqliteViews are the views and the search of a database with all columns.
//
//go:embed sqlite.sql
var sqliteViews string

// sqliteID marks a database of this program (PRAGMA application_id): "fctx".
const sqliteID = 0x66637478

// sqliteOutput is an output to an SQLite database. An existing one is copied and its rows are
// replaced where they differ.
type sqliteOutput struct {
	*folder
	file   *store.Pending
	db     *sql.DB
	tx     *sql.Tx
	tables []sqliteTable
	// complete reports that the tables have all columns, replaces that the database had rows.
	complete, replaces bool
	values             []any
}

type sqliteTable struct {
	Table
	insert, prune *sql.Stmt
}

func openSQLite(ctx context.Context, o *Options, tables []Table) (_ output, err error) {
	s := &sqliteOutput{complete: len(o.Columns) == 0}
	defer func() {
		if err != nil {
			s.abort()
		}
	}()
	if s.folder, err = openFolder(o.Out); err != nil {
		return nil, err
	}
	if s.file, err = s.folder.begin(s.name); err != nil {
		return nil, err
	}
	if err := s.copyExisting(ctx); err != nil {
		return nil, err
	}
	if s.db, err = openDatabase(s.file.Path(), "rwc"); err != nil {
		return nil, s.file.NotWritable(err)
	}
	s.db.SetMaxOpenConns(1)
	if err := s.begin(ctx, tables); err != nil {
		return nil, s.failed(ctx, err)
	}
	return s, nil
}

func openDatabase(path, mode string) (*sql.DB, error) {
	return sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "mode=" + mode}).String())
}

// copyExisting copies the database that the output replaces, if there is one.
func (s *sqliteOutput) copyExisting(ctx context.Context) error {
	old := filepath.Join(s.path, s.name)
	if _, err := os.Stat(old); os.IsNotExist(err) {
		return nil
	}
	refuse := func(reason any) error {
		return fmt.Errorf("%w: --out: %q is no database of an export (%v): allowed is a new name", ErrOptions, old,
			reason)
	}
	db, err := openDatabase(old, "ro")
	if err != nil {
		return refuse(err)
	}
	defer func() { _ = db.Close() }() // only read
	var id int
	switch err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return refuse(err)
	case id != sqliteID:
		return refuse(fmt.Sprintf("its application_id is %d", id))
	}
	s.replaces = true
	// VACUUM INTO writes an empty file or a new one.
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", s.file.Path()); err != nil {
		return s.failed(ctx, err)
	}
	return nil
}

// begin creates what is missing in the database and prepares the statements.
func (s *sqliteOutput) begin(ctx context.Context, tables []Table) error {
	// The file is synced before it gets its name. Until then a crash may leave anything in it.
	for _, pragma := range []string{
		"journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -16384",
		"temp_store = MEMORY",
		fmt.Sprintf("application_id = %d", sqliteID),
	} {
		if _, err := s.db.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	s.tx = tx
	for _, t := range tables {
		one, err := s.prepare(ctx, t)
		if err != nil {
			return err
		}
		s.tables = append(s.tables, one)
	}
	return nil
}

func (s *sqliteOutput) prepare(ctx context.Context, t Table) (one sqliteTable, err error) {
	one.Table = t
	var columns []string
	for _, c := range t.Columns {
		columns = append(columns, sqliteColumn(c))
	}
	// row_id gives the search a key that VACUUM does not change.
	create := fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (row_id INTEGER PRIMARY KEY, %s, UNIQUE (%s)) STRICT", t.Name,
		strings.Join(columns, ", "), strings.Join(t.keys(), ", "))
	if _, err := s.tx.ExecContext(ctx, create); err != nil {
		return one, err
	}
	if err := s.addColumns(ctx, t); err != nil {
		return one, err
	}
	if one.insert, err = s.tx.PrepareContext(ctx, upsert(t, "?", "IS NOT")); err != nil {
		return one, err
	}
	if keys := t.keys(); len(keys) > 1 && s.replaces { // entries and parties: those that a case no longer has
		one.prune, err = s.tx.PrepareContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s = ? AND %s > ?", t.Name,
			keys[0], keys[1]))
	}
	return one, err
}

// addColumns adds the columns that an older version of a table lacks.
func (s *sqliteOutput) addColumns(ctx context.Context, t Table) error {
	for _, c := range t.Columns {
		var count int
		err := s.tx.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", t.Name,
			c.Name).Scan(&count)
		if err == nil && count == 0 {
			_, err = s.tx.ExecContext(ctx, "ALTER TABLE "+t.Name+" ADD COLUMN "+sqliteColumn(c))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sqliteColumn returns the definition of a column. SQLite has no types for days, times and lists:
// they are texts in the forms that its functions read.
func sqliteColumn(c Column) string {
	name := c.Name + " "
	switch c.Type {
	case Int:
		name += "INTEGER"
	case Bool:
		name += "INTEGER CHECK (" + c.Name + " IN (0, 1))"
	case List, JSON:
		name += "TEXT CHECK (json_valid(" + c.Name + "))"
	case Text, Date, Time:
		name += "TEXT"
	}
	if c.key {
		name += " NOT NULL"
	}
	return name
}

// upsert returns the statement that inserts a row or replaces it where it differs. distinct is the
// operator for "differs or one is null".
func upsert(t Table, mark, distinct string) string {
	var set, differs []string
	for _, c := range t.Columns {
		if !c.key {
			set = append(set, fmt.Sprintf("%s = excluded.%[1]s", c.Name))
			differs = append(differs, fmt.Sprintf("%s.%s %s excluded.%[2]s", t.Name, c.Name, distinct))
		}
	}
	action := "NOTHING"
	if len(set) > 0 {
		action = fmt.Sprintf("UPDATE SET %s WHERE %s", strings.Join(set, ", "), strings.Join(differs, " OR "))
	}
	marks := strings.TrimSuffix(strings.Repeat(mark+", ", len(t.Columns)), ", ")
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO %s", t.Name,
		strings.Join(t.names(), ", "), marks,
		strings.Join(t.keys(), ", "), action)
}

func (s *sqliteOutput) write(ctx context.Context, b *bundle) error {
	for i := range s.tables {
		t := &s.tables[i]
		for _, row := range b.rows[i] {
			s.values = s.values[:0]
			for j, v := range row {
				s.values = append(s.values, sqliteValue(v, t.Columns[j].Type))
			}
			if _, err := t.insert.ExecContext(ctx, s.values...); err != nil {
				return s.failed(ctx, err)
			}
		}
		if t.prune != nil && b.hasRecord {
			if _, err := t.prune.ExecContext(ctx, b.CaseID.String(), len(b.rows[i])); err != nil {
				return s.failed(ctx, err)
			}
		}
	}
	return nil
}

// failed returns the error of the database, unless the export was stopped.
func (s *sqliteOutput) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.file.NotWritable(err)
}

func sqliteValue(v Value, t Type) any {
	switch {
	case !v.set:
		return nil
	case t == Int || t == Bool:
		return v.number
	}
	return v.string(t)
}

func (s *sqliteOutput) finish(ctx context.Context, sum *summary) error {
	err := s.tx.Commit()
	s.tx = nil
	if err == nil && s.complete {
		_, err = s.db.ExecContext(ctx, sqliteViews)
	}
	if err == nil {
		err = s.db.Close()
		s.db = nil
	}
	if err != nil {
		return s.failed(ctx, err)
	}
	var described []resource
	for _, t := range s.tables {
		r, err := sum.describe(t.Table, s.file)
		if err != nil {
			return err
		}
		r.Dialect = map[string]any{"table": t.Name}
		described = append(described, r)
	}
	return s.commit(ctx, sum, []*store.Pending{s.file}, described)
}

func (s *sqliteOutput) abort() {
	if s.tx != nil {
		_ = s.tx.Rollback() // the file is discarded
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.file != nil {
		s.file.Discard()
	}
	s.close()
}
