package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"github.com/jackc/pgx/v5"
)

// postgres is a cluster of its own on a Unix socket in a temporary folder.
type postgres struct {
	folder string
	run    func(name string, args ...string) error
}

// startPostgres starts a cluster. PostgreSQL does not run as root: then it runs as the user nobody.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	fcttest.SkipIfShort(t)
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		t.Fatal(err)
	}
	fcttest.SkipWithout(t, "PostgreSQL", len(found) > 0)
	binaries := filepath.Dir(slices.Max(found))
	folder, err := os.MkdirTemp("/tmp", "pg") //nolint:usetesting // a short path that nobody may enter: that of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	var as *syscall.SysProcAttr
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, gid := fcttest.Number(t, nobody.Uid), fcttest.Number(t, nobody.Gid)
		if err := os.Chown(folder, uid, gid); err != nil {
			t.Fatal(err)
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	p := &postgres{folder: folder, run: func(name string, args ...string) error {
		cmd := exec.CommandContext(context.Background(), filepath.Join(binaries, name), args...)
		cmd.SysProcAttr, cmd.Dir, cmd.Env = as, folder, []string{"LC_ALL=C.UTF-8", "HOME=" + folder}
		output, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, output)
		}
		return nil
	}}
	data := filepath.Join(folder, "data")
	if err := p.run("initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	access := []byte("local all reader scram-sha-256\nlocal all all trust\n") // one user needs a password
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), access, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop() })
	return p
}

func (p *postgres) start() error {
	return p.run("pg_ctl", "start", "-w", "-D", filepath.Join(p.folder, "data"), "-l", filepath.Join(p.folder, "log"),
		"-o",
		"-c listen_addresses='' -c fsync=off -c unix_socket_directories="+p.folder)
}

// stop ends the server as a power cut would.
func (p *postgres) stop() error {
	return p.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", filepath.Join(p.folder, "data"))
}

func (p *postgres) url(schema string) string {
	return "postgres:///postgres?user=test&host=" + p.folder + "&search_path=" + schema
}

func (p *postgres) connect(t testing.TB, schema string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.url(schema))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		t.Fatal(err)
	}
	return conn
}

// read reads all tables of a schema.
func (p *postgres) read(t testing.TB, schema string) map[string]table {
	t.Helper()
	conn := p.connect(t, schema)
	defer func() { _ = conn.Close(context.Background()) }()
	tables := map[string]table{}
	for _, of := range Tables() {
		order := "case_id"
		switch {
		case len(of.keys()) > 1:
			order = "case_id, position"
		case of.Name == TableCoverage:
			order = "number"
		}
		rows, err := conn.Query(t.Context(), "SELECT * FROM "+of.Name+" ORDER BY "+order)
		if err != nil {
			t.Fatal(err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowToMap)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range found {
			for _, c := range of.Columns {
				switch v := row[c.Name].(type) {
				case int64:
					row[c.Name] = json.Number(strconv.FormatInt(v, 10))
				case time.Time:
					row[c.Name] = v.UTC().Format(timeForm)
					if c.Type == Date {
						row[c.Name] = v.Format(time.DateOnly)
					}
				}
			}
			tables[of.Name] = append(tables[of.Name], row)
		}
	}
	return tables
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	p := startPostgres(t)
	t.Run("round trip", func(t *testing.T) {
		schemas := 0
		checkRoundTrip(t, Options{Format: FormatPostgres}, func(string) string {
			schemas++
			_ = p.connect(t, fmt.Sprintf("s%d", schemas)).Close(t.Context())
			return p.url(fmt.Sprintf("s%d", schemas))
		}, func(t testing.TB, _ string) map[string]table { return p.read(t, fmt.Sprintf("s%d", schemas)) })
	})
	t.Run("upsert", p.checkUpsert)
	t.Run("refuses", p.checkRefuses)
	t.Run("at once", p.checkAtOnce)
	t.Run("goes away", p.checkGoesAway)
}

// checkRefuses exports to databases that cannot be written: one line, without the password.
func (p *postgres) checkRefuses(t *testing.T) {
	conn := p.connect(t, "r")
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range []string{"CREATE ROLE reader LOGIN PASSWORD 'right'", "GRANT USAGE ON SCHEMA r TO reader"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	at := "&password=hunter2&host=" + p.folder
	for name, c := range map[string]struct {
		url, want string
		sentinel  error
	}{
		"malformed":       {"postgres://u:hunter2@host:port/db", "invalid port", ErrOptions},
		"bad escape":      {"postgres://u:hunt%zzer2@host/db", "failed to parse as URL", ErrOptions},
		"bad sslmode":     {"postgres://u:hunter2@host/db?sslmode=maybe", "sslmode is invalid", ErrOptions},
		"no host":         {"postgres://u:hunter2@no-such-host.invalid/db", "no-such-host.invalid", store.ErrNotWritable},
		"nobody there":    {"postgres://u:hunter2@127.0.0.1:1/db", "connection refused", store.ErrNotWritable},
		"no database":     {"postgres:///nosuch?user=test" + at, `database "nosuch" does not exist`, store.ErrNotWritable},
		"no user":         {"postgres:///postgres?user=nosuch" + at, `role "nosuch" does not exist`, store.ErrNotWritable},
		"wrong password":  {"postgres:///postgres?user=reader" + at, "password authentication failed", store.ErrNotWritable},
		"no schema":       {"postgres:///postgres?user=test&search_path=nosuch" + at, "no schema has been selected", store.ErrNotWritable},
		"read-only user":  {"postgres:///postgres?user=reader&search_path=r&password=right&host=" + p.folder, "permission denied for schema r", store.ErrNotWritable},
		"read-only state": {"postgres:///postgres?user=test&search_path=r&default_transaction_read_only=on" + at, "read-only transaction", store.ErrNotWritable},
	} {
		o := Options{Format: FormatPostgres, Out: c.url}
		_, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1)))
		if !errors.Is(err, c.sentinel) || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\t") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// checkAtOnce begins an export while another one writes to the same schema.
func (p *postgres) checkAtOnce(t *testing.T) {
	_ = p.connect(t, "o").Close(t.Context())
	o := Options{Format: FormatPostgres, Out: p.url("o")}
	source := sourceOf(fcttest.LargeRecord(1))
	numbers := source.Numbers
	source.Numbers = func(ctx context.Context, take func(Item) error) error {
		second := o
		if _, err := second.Run(ctx, sourceOf(fcttest.LargeRecord(2))); !errors.Is(err, store.ErrNotWritable) ||
			!strings.Contains(err.Error(), "another export writes to it: wait for its end") {
			t.Errorf("the error of the second export is %v", err)
		}
		return numbers(ctx, take)
	}
	if _, err := o.Run(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, p.read(t, "o"), []contract.Record{fcttest.LargeRecord(1)})
}

// checkUpsert exports twice: rows that are equal are not written again.
func (p *postgres) checkUpsert(t *testing.T) {
	conn := p.connect(t, "u")
	defer func() { _ = conn.Close(context.Background()) }()
	o := Options{Format: FormatPostgres, Out: p.url("u"), Rules: testRules(t)}
	first, second := fcttest.LargeRecord(1), fcttest.LargeRecord(2)
	for range 2 {
		if _, err := o.Run(t.Context(), sourceOf(first, second)); err != nil {
			t.Fatal(err)
		}
	}
	count := func(query string) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count("SELECT count(DISTINCT xmin::text) FROM cases"); n != 1 {
		t.Errorf("equal cases were written by %d transactions", n)
	}
	first.StyleOfCause, first.Docket, first.Entries = "NEW", first.Docket[:10], 10
	if _, err := o.Run(t.Context(), sourceOf(first, second)); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{
		"SELECT count(DISTINCT xmin::text) FROM cases":            2,
		"SELECT count(*) FROM entries WHERE case_id = 'IMM-1-25'": 10,
		"SELECT count(*) FROM entries":                            2510, "SELECT count(*) FROM exports": 3,
		"SELECT count(*) FROM cases WHERE style_of_cause = 'NEW'": 1,
	} {
		if n := count(query); n != want {
			t.Errorf("%s: %d, want %d", query, n, want)
		}
	}
}

// checkGoesAway stops the server in the middle: nothing of the export is there afterwards.
func (p *postgres) checkGoesAway(t *testing.T) {
	_ = p.connect(t, "g").Close(t.Context())
	o := Options{Format: FormatPostgres, Out: p.url("g"), Rules: testRules(t)}
	if _, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1))); err != nil {
		t.Fatal(err)
	}
	before := p.read(t, "g")
	changed := fcttest.LargeRecord(1)
	changed.StyleOfCause = "CHANGED"
	source := sourceOf(changed)
	numbers := source.Numbers
	source.Numbers = func(ctx context.Context, take func(Item) error) error {
		if err := numbers(ctx, take); err != nil {
			return err
		}
		return p.stop()
	}
	if _, err := o.Run(t.Context(), source); !errors.Is(err, store.ErrNotWritable) {
		t.Errorf("the error is %v", err)
	}
	if _, err := o.Run(t.Context(), sourceOf(changed)); !errors.Is(err, store.ErrNotWritable) {
		t.Errorf("the error without a server is %v", err)
	}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, p.read(t, "g"), []contract.Record{fcttest.LargeRecord(1)})
	if after := p.read(t, "g"); len(after[TableEntries]) != len(before[TableEntries]) {
		t.Errorf("%d entries, want %d", len(after[TableEntries]), len(before[TableEntries]))
	}
}
