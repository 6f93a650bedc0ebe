package export

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

func TestRoundTrip_SQLite(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	checkRoundTrip(t, Options{Format: FormatSQLite}, inFile("a.db"), readSQLite)
}

func readSQLite(t testing.TB, out string) map[string]table {
	t.Helper()
	db, err := openDatabase(out, "ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // only read
	var sound string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Fatalf("integrity: %s, %v", sound, err)
	}
	tables := map[string]table{}
	for _, of := range Tables() {
		tables[of.Name] = readRows(t, db, of, "SELECT * FROM "+of.Name+" ORDER BY row_id")
	}
	return tables
}

// readRows returns rows of a database as JSON has them.
func readRows(t testing.TB, db *sql.DB, of Table, query string) (rows table) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	names, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]Type{}
	for _, c := range of.Columns {
		types[c.Name] = c.Type
	}
	for found.Next() {
		values, row := make([]any, len(names)), map[string]any{}
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			switch v := values[i].(type) {
			case int64:
				row[name] = any(json.Number(fmt.Sprint(v)))
				if types[name] == Bool {
					row[name] = v == 1
				}
			case string:
				row[name] = v
				if types[name] == List || types[name] == JSON {
					row[name] = json.RawMessage(v)
				}
			case nil:
				row[name] = nil
			default:
				t.Fatalf("%s.%s is %T", of.Name, name, v)
			}
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func query[T any](t *testing.T, db *sql.DB, text string, args ...any) (value T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), text, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// A second export replaces the rows that differ, keeps the others, and removes entries that a case no
// longer has. Search and views show the new state.
func TestSQLite_Upsert(t *testing.T) {
	t.Parallel()
	o := Options{Format: FormatSQLite, Rules: testRules(t), Out: filepath.Join(t.TempDir(), "court.db")}
	run := func(records ...contract.Record) *sql.DB {
		if _, err := o.Run(t.Context(), sourceOf(records...)); err != nil {
			t.Fatal(err)
		}
		db, err := openDatabase(o.Out, "ro")
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	first, second := fcttest.LargeRecord(1), fcttest.LargeRecord(2)
	first.StyleOfCause, second.StyleOfCause = "ROE, ÉLODIE v. MCI", "DOE v. MCI"
	db := run(first, second)
	keys := query[int](t, db, "SELECT sum(row_id) FROM entries WHERE case_id = 'IMM-2-25'")
	if n := query[int](t, db, "SELECT count(*) FROM cases_text WHERE cases_text MATCH 'elodie'"); n != 1 {
		t.Errorf("%d cases found", n)
	}
	if n := query[int](t, db, "SELECT count(*) FROM entries WHERE row_id IN (SELECT rowid FROM entries_text WHERE entries_text MATCH 'dismissing')"); n != 4998 {
		t.Errorf("%d entries found", n)
	}
	if n := query[int](t, db, "SELECT decisions FROM leave_by_judge WHERE judge = 'Roe'"); n != 2 {
		t.Errorf("%d leave decisions", n)
	}
	if n := query[int](t, db, "SELECT count(*) FROM milestones WHERE case_id = 'IMM-1-25'"); n != 2499 {
		t.Errorf("%d milestones", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	first.StyleOfCause, first.Docket, first.Entries = "POE v. MCI", first.Docket[:10], 10
	db = run(first)
	if n := query[int](t, db, "SELECT count(*) FROM entries WHERE case_id = 'IMM-1-25'"); n != 10 {
		t.Errorf("%d entries, want 10", n)
	}
	if now := query[int](t, db, "SELECT sum(row_id) FROM entries WHERE case_id = 'IMM-2-25'"); now != keys {
		t.Errorf("the rows of the other case changed: %d, want %d", now, keys)
	}
	for term, want := range map[string]int{"roe": 0, "poe": 1, "doe": 1} {
		if n := query[int](t, db, "SELECT count(*) FROM cases_text WHERE cases_text MATCH ?", term); n != want {
			t.Errorf("%d cases with %s, want %d", n, term, want)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(o.Out), "*")); err != nil || len(left) != 2 {
		t.Errorf("files %v, %v", left, err)
	}
}

// A database of another program stays as it is.
func TestSQLite_ForeignFile(t *testing.T) {
	t.Parallel()
	o := Options{Format: FormatSQLite, Out: filepath.Join(t.TempDir(), "other.db")}
	db, err := openDatabase(o.Out, "rwc")
	if err == nil {
		_, err = db.ExecContext(t.Context(), "CREATE TABLE cases (a)")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "a.txt")
	if err := os.WriteFile(text, []byte("no database, but text of some length"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{o.Out, text} {
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		o.Out = name
		if _, err := o.Run(t.Context(), sourceOf()); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(name); err != nil || string(after) != string(before) {
			t.Errorf("%s changed, %v", name, err)
		}
	}
}
