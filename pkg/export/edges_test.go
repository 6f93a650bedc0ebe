package export

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"

	"golang.org/x/sync/errgroup"
)

func TestCheck_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	device := filepath.Join(dir, "device")
	if err := os.Symlink(os.DevNull, device); err != nil { // a symbolic link, so that a fault cannot harm the device
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		Options
		want string
	}{
		"format missing":       {Options{Out: "x"}, `--format "": allowed are ndjson`},
		"format unknown":       {Options{Format: "exel", Out: "x"}, `--format "exel": allowed are ndjson`},
		"out missing":          {Options{Format: FormatCSV}, "--out is missing"},
		"column unknown":       {Options{Format: FormatCSV, Out: "x", Columns: []string{"nope"}}, `no column "nope"`},
		"column empty":         {Options{Format: FormatCSV, Out: "x", Columns: []string{"case_id", ""}}, `no column ""`},
		"table unknown":        {Options{Format: FormatCSV, Out: "x", Table: "case"}, `--table "case": allowed are`},
		"table of a folder":    {Options{Format: FormatCSV, Out: "x/", Table: "cases"}, `--table "cases": allowed where`},
		"device":               {Options{Format: FormatCSV, Out: device}, "is no regular file"},
		"device, SQLite":       {Options{Format: FormatSQLite, Out: device}, "is no regular file"},
		"name of descriptor":   {Options{Format: FormatNDJSON, Out: "a/datapackage.json"}, "this name is for the description"},
		"folder for SQLite":    {Options{Format: FormatSQLite, Out: dir}, "is a folder: allowed for --format sqlite"},
		"stdout for SQLite":    {Options{Format: FormatSQLite, Out: "-"}, "--out -: allowed for --format sqlite"},
		"folder for XLSX":      {Options{Format: FormatXLSX, Out: dir}, "is a folder: allowed for --format xlsx"},
		"stdout for XLSX":      {Options{Format: FormatXLSX, Out: "-"}, "--out -: allowed for --format xlsx"},
		"layout of XLSX":       {Options{Format: FormatXLSX, Out: "x", Layout: LayoutRLL}, `--layout "rll": allowed is rll, with`},
		"URL for CSV":          {Options{Format: FormatCSV, Out: "postgres://u:hunter2@h/d"}, "--format is csv: allowed is postgres"},
		"other URL for CSV":    {Options{Format: FormatCSV, Out: "mysql://u:hunter2@h/d"}, "--out is a URL: allowed for --format csv"},
		"file for PostgreSQL":  {Options{Format: FormatPostgres, Out: "u:hunter2@h/d"}, "allowed for --format postgres is a URL"},
		"words for PostgreSQL": {Options{Format: FormatPostgres, Out: "host=h password=hunter2"}, "allowed for --format postgres is a URL"},
		"compressed Parquet":   {Options{Format: FormatParquet, Out: "x.gz"}, ".gz and .zst are for ndjson and csv"},
		"compressed SQLite":    {Options{Format: FormatSQLite, Out: "x.zst"}, ".gz and .zst are for ndjson and csv"},
		"mark in NDJSON":       {Options{Format: FormatNDJSON, Out: "x", BOM: true}, "--bom: allowed with --format csv"},
		"flat CSV":             {Options{Format: FormatCSV, Out: "x", Flat: true}, "--flat: allowed with --format ndjson or parquet"},
		"flat SQLite":          {Options{Format: FormatSQLite, Out: "x", Flat: true}, "--flat: allowed with --format ndjson or parquet"},
		"flat layout":          {Options{Format: FormatNDJSON, Out: "x", Flat: true, Layout: LayoutRLL}, "--flat with --layout"},
		"layout unknown":       {Options{Format: FormatCSV, Out: "x", Layout: "odd"}, `--layout "odd": allowed is rll`},
		"layout of SQLite":     {Options{Format: FormatSQLite, Out: "x", Layout: LayoutRLL}, `--layout "rll": allowed is rll, with`},
	} {
		err := c.Check()
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestRun_ColumnTwice(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	o := Options{Format: FormatCSV, Out: "-", Stdout: &out, Columns: []string{"case_id", " case_id"}}
	if _, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1))); err != nil || out.String() != "case_id\r\nIMM-1-25\r\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// sourceOfJSON has one number, with this record.
func sourceOfJSON(record string) Source {
	return Source{Numbers: func(_ context.Context, take func(Item) error) error {
		return take(Item{Coverage: Coverage{CaseID: fcttest.CaseOf(7), Outcome: contract.Success}, Record: []byte(record)})
	}}
}

func TestRun_UnreadableRecord(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]string{
		`{"version":2,`:                 "unexpected end of JSON input",
		`[]`:                            "JSON array: allowed is an object",
		`{"version":3}`:                 "record version 3: allowed is 1 to 2",
		`{"version":2}`:                 "case_id is missing",
		`{"version":2,"case_id":["x"]}`: "case_id is a JSON array",
	} {
		o := Options{Format: FormatCSV, Out: t.TempDir() + "/"}
		_, err := o.Run(t.Context(), sourceOfJSON(record))
		if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "IMM-7-25: ") || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "`fct-scraper single IMM-7-25 --force` downloads it again") {
			t.Errorf("%s: %v, want %s", record, err, want)
		}
		checkNothingIn(t, o.Out)
	}
}

// checkNothingIn checks that a folder is empty.
func checkNothingIn(t *testing.T, folder string) {
	t.Helper()
	left, err := os.ReadDir(folder)
	if err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// An export to a file that another one writes is refused; one to another file of its folder is not.
func TestRun_SameFileAtOnce(t *testing.T) {
	t.Parallel()
	for _, format := range []string{FormatNDJSON, FormatSQLite, FormatXLSX} {
		dir := t.TempDir()
		o := Options{Format: format, Out: filepath.Join(dir, "one")}
		source := sourceOf(fcttest.LargeRecord(1))
		numbers := source.Numbers
		source.Numbers = func(ctx context.Context, take func(Item) error) error {
			second := o
			if _, err := second.Run(ctx, sourceOf(fcttest.LargeRecord(2))); !errors.Is(err, store.ErrClaimed) ||
				!errors.Is(err, store.ErrNotWritable) || !strings.Contains(err.Error(), "writes the files of one there: wait for its end") {
				t.Errorf("%s: the error of the second export is %v", format, err)
			}
			second.Out = filepath.Join(dir, "two")
			if _, err := second.Run(ctx, sourceOf(fcttest.LargeRecord(2))); err != nil {
				t.Error(format, err)
			}
			return numbers(ctx, take)
		}
		if _, err := o.Run(t.Context(), source); err != nil {
			t.Error(format, err)
		}
		found, err := os.ReadDir(dir)
		if err != nil || len(found) != 3 {
			t.Errorf("%s: files %v, %v", format, found, err)
		}
	}
}

// Exports to other files of one folder that end at the same time are all in its descriptor.
func TestRun_SameFolderAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var group errgroup.Group
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		group.Go(func() error {
			o := Options{Format: FormatNDJSON, Out: filepath.Join(dir, name)}
			_, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if d := readDescriptor(t, dir); len(d.Resources) != 6 {
		t.Errorf("%d resources, want 6", len(d.Resources))
	}
}

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestRun_FullOutputSaidOnce(t *testing.T) {
	t.Parallel()
	for _, format := range []string{FormatNDJSON, FormatCSV, FormatParquet} {
		o := Options{Format: format, Out: "-", Stdout: full{}}
		_, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1)))
		if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// An export that is stopped returns the cause, also while it copies the database that it replaces.
func TestRun_StoppedSQLite(t *testing.T) {
	t.Parallel()
	o := Options{Format: FormatSQLite, Out: filepath.Join(t.TempDir(), "a.db")}
	if _, err := o.Run(t.Context(), sourceOf(fcttest.LargeRecord(1))); err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(stopped)
	if _, err := o.Run(ctx, sourceOf(fcttest.LargeRecord(1))); !errors.Is(err, stopped) {
		t.Errorf("the error is %v", err)
	}
}
