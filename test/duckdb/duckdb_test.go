// Package duckdb_test reads exports back with DuckDB, a reader that shares no code with the writers.
package duckdb_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"

	_ "github.com/duckdb/duckdb-go/v2"
	"pgregory.net/rapid"
)

// sourceOf returns a source with these records.
func sourceOf(records []contract.Record) export.Source {
	return export.Source{Sequence: 1, Runs: []contract.RunID{"run"},
		Numbers: func(_ context.Context, take func(export.Item) error) error {
			for _, r := range records {
				c := export.Coverage{CaseID: r.CaseID, Outcome: contract.Success, At: r.FetchedAt, Attempts: 1,
					RunID: "run", Site: "court"}
				if err := take(export.Item{Coverage: c, Record: r.FileContent()}); err != nil {
					return err
				}
			}
			return nil
		}}
}

func write(t testing.TB, o export.Options, records []contract.Record) {
	t.Helper()
	rules, err := facts.Load("federal-court")
	if err != nil {
		t.Fatal(err)
	}
	o.Rules = rules
	if _, err := o.Run(t.Context(), sourceOf(records)); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// records returns one odd record for each odd text, drawn ones and a large one.
func records() []contract.Record {
	all := []contract.Record{fcttest.LargeRecord(1)}
	for i, text := range fcttest.OddTexts() {
		r := contract.Record{Version: contract.RecordVersion, CaseID: fcttest.CaseOf(i + 2),
			Docket: []contract.DocketEntry{{Text: text}}, Entries: 1,
			Flags: []string{text}, FetchedAt: time.UnixMicro(int64(i) + 1).UTC(), Source: text}
		r.StyleOfCause, r.PartyNames = text, []string{text, ""}
		all = append(all, r)
	}
	draw := rapid.Custom(func(t *rapid.T) contract.Record { return fcttest.DrawRecord(t, 1) })
	for i := range 300 {
		r := draw.Example(i)
		r.CaseID.Number = len(all) + 1
		all = append(all, r)
	}
	return all
}

// jsonRows returns the rows of a query, each as JSON.
func jsonRows(t testing.TB, db *sql.DB, query string) (rows []map[string]any) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), "SELECT to_json(r)::VARCHAR FROM ("+query+") r")
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var text string
		var row map[string]any
		err := found.Scan(&text)
		if err == nil {
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			err = d.Decode(&row)
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// compare assembles records of rows and compares them. Entries and parties are nested or in rows of
// their own.
func compare(t testing.TB, cases, entries, parties []map[string]any, want []contract.Record) {
	t.Helper()
	lists := [2]map[any][]any{{}, {}}
	for i, rows := range [][]map[string]any{entries, parties} {
		for _, row := range rows {
			lists[i][row["case_id"]] = append(lists[i][row["case_id"]], row)
		}
	}
	var got []contract.Record
	for _, row := range cases {
		row["version"] = contract.RecordVersion
		at, err := time.Parse("2006-01-02 15:04:05.999999", strings.TrimSuffix(fmt.Sprint(row["fetched_at"]), "+00"))
		if err != nil {
			t.Fatal(err)
		}
		row["fetched_at"] = at
		if _, nested := row["docket"]; !nested {
			row["docket"] = append([]any{}, lists[0][row["case_id"]]...)
			if row["party_count"] != nil {
				row["parties"] = append([]any{}, lists[1][row["case_id"]]...)
			}
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		record, err := contract.ParseRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, record)
	}
	slices.SortFunc(got, func(a, b contract.Record) int { return a.CaseID.Compare(b.CaseID) })
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if g, w := string(got[i].FileContent()), string(want[i].FileContent()); g != w {
			t.Errorf("read back:\n%s\nwant:\n%s", g, w)
		}
	}
}

func TestParquet_Nested(t *testing.T) {
	want, out := records(), filepath.Join(t.TempDir(), "cases.parquet")
	write(t, export.Options{Format: export.FormatParquet, Out: out}, want)
	compare(t, jsonRows(t, open(t), "FROM '"+out+"'"), nil, nil, want)
}

// TestREADME runs the query of the README on an export of the simulator's files.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^    duckdb -c "(.*'cases\.parquet'.*)"$`).FindSubmatch(readme)
	if found == nil {
		t.Fatal("the README has no line duckdb -c with 'cases.parquet'")
	}
	out := filepath.Join(t.TempDir(), "cases.parquet")
	write(t, export.Options{Format: export.FormatParquet, Out: out}, simulated(t, 100))
	decisions := map[any]int{}
	judges := map[any]bool{}
	for _, row := range jsonRows(t, open(t), strings.ReplaceAll(string(found[1]), "cases.parquet", out)) {
		n, err := row["count_star()"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		decisions[row["leave"]] += int(n)
		judges[row["leave_judge"]] = true
	}
	if len(decisions) != 2 || decisions["granted"] < 10 || decisions["dismissed"] < 10 || len(judges) < 8 || judges[nil] {
		t.Errorf("decisions on leave %v by judges %v", decisions, judges)
	}
}

// simulated returns the records of the simulator's first numbers.
func simulated(t testing.TB, numbers int) (all []contract.Record) {
	t.Helper()
	sim, err := courtsim.New(courtsim.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	server, err := sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	profile, err := site.Load("fct-cf")
	if err != nil {
		t.Fatal(err)
	}
	client, err := site.NewClient(site.Options{Profile: profile, Origin: server.URL, UserAgent: "test",
		RequestTimeout: time.Minute, JobTimeout: time.Minute, MaxBody: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	noWait := func(context.Context) (time.Duration, error) { return 0, nil }
	for n := 1; n <= numbers; n++ {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: n}
		exchanges, err := client.Fetch(t.Context(), id, noWait)
		if err != nil {
			t.Fatal(err)
		}
		if record := profile.Read(id, exchanges).Record; record != nil {
			record.FetchedAt = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
			all = append(all, *record)
		}
	}
	return all
}

func TestParquet_Flat(t *testing.T) {
	want, out := records(), t.TempDir()
	write(t, export.Options{Format: export.FormatParquet, Flat: true, Out: out}, want)
	db := open(t)
	compare(t, jsonRows(t, db, "FROM '"+out+"/cases.parquet'"),
		jsonRows(t, db, "FROM '"+out+"/entries.parquet' ORDER BY case_id, position"),
		jsonRows(t, db, "FROM '"+out+"/parties.parquet' ORDER BY case_id, position"), want)
	types := map[string]string{}
	for _, row := range jsonRows(t, db, "SELECT column_name, column_type FROM (DESCRIBE FROM '"+out+"/cases.parquet')") {
		types[fmt.Sprint(row["column_name"])] = fmt.Sprint(row["column_type"])
	}
	for name, want := range map[string]string{"case_id": "VARCHAR", "year": "BIGINT", "filed_on": "DATE",
		"fetched_at":  "TIMESTAMP WITH TIME ZONE",
		"party_names": "VARCHAR[]", "leave_on": "DATE", "milestones": "JSON", "party_count": "BIGINT"} {
		if types[name] != want {
			t.Errorf("type of %s is %s, want %s", name, types[name], want)
		}
	}
}

func TestCSV(t *testing.T) {
	want, out := records(), t.TempDir()
	write(t, export.Options{Format: export.FormatCSV, Out: out}, want)
	db := open(t)
	read := func(table, types string) []map[string]any {
		rows := jsonRows(t, db, fmt.Sprintf(`FROM read_csv('%s/%s.csv', header=true, auto_detect=false, delim=',', quote='"', escape='"',
			nullstr='', max_line_size=10000000, columns=%s)`, out, table, types))
		for _, row := range rows {
			for name, value := range row {
				if text, is := value.(string); is {
					if bare := strings.TrimLeft(text, "'"); bare != text && bare != "" &&
						strings.ContainsAny(bare[:1], "=+-@") {
						row[name] = text[1:]
					}
				}
			}
		}
		return rows
	}
	cases, entries, parties := columns(t, out, "cases"), columns(t, out, "entries"), columns(t, out, "parties")
	compare(t, read("cases", cases), read("entries", entries), read("parties", parties), want)
}

// columns returns the columns that the datapackage states for a table, as DuckDB wants them.
func columns(t testing.TB, folder, table string) string {
	t.Helper()
	kinds := map[string]string{"string": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN", "date": "DATE",
		"datetime": "TIMESTAMPTZ", "array": "JSON", "any": "JSON"}
	data, err := os.ReadFile(filepath.Join(folder, "datapackage.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Resources []struct {
			Name   string
			Schema struct{ Fields []struct{ Name, Type string } }
		}
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range d.Resources {
		for _, f := range r.Schema.Fields {
			if r.Name == table {
				all = append(all, fmt.Sprintf("'%s': '%s'", f.Name, kinds[f.Type]))
			}
		}
	}
	return "{" + strings.Join(all, ", ") + "}"
}
