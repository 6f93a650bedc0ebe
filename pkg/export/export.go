// Package export writes records, their docket entries and facts, and the coverage of a store as
// data: NDJSON, CSV, Parquet, SQLite, PostgreSQL and XLSX. Tables and columns are defined once; the
// formats know neither a record nor a store.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
)

// ErrOptions is wrapped by errors about options that contradict each other or name what does not
// exist.
var ErrOptions = errors.New("options of the export")

// ErrRecord is wrapped by errors about a record of the store that cannot be read or exported.
var ErrRecord = errors.New("record not exportable")

// UnreadableRecord returns the error, which wraps ErrRecord, of a record of the store that cannot be
// read because of err. It says what to do.
func UnreadableRecord(id contract.CaseID, err error) error {
	return fmt.Errorf("%w: %s: %w: a newer version of fct-scraper may have written it; `fct-scraper single %[2]s --force` downloads it again",
		ErrRecord, id, err)
}

// The formats.
const (
	FormatNDJSON   = "ndjson"
	FormatCSV      = "csv"
	FormatParquet  = "parquet"
	FormatSQLite   = "sqlite"
	FormatPostgres = "postgres"
	FormatXLSX     = "xlsx"
)

// LayoutRLL is the layout with the columns of the Refugee Law Lab.
const LayoutRLL = "rll"

// Options describe an export.
type Options struct {
	// Format is one of the formats, Out a file, a folder, "-" for Stdout or the URL of a database.
	Format, Out string
	// Table is the table of a file that holds one; empty is TableCases.
	Table string
	// Columns are names of columns, such as judge or entries.text; empty is all. A name without a
	// table is one of Table. Columns that are keys of a database are always written.
	Columns []string
	// Layout is LayoutRLL or empty.
	Layout string
	// Flat writes entries and parties as tables of their own where a format could nest them.
	Flat bool
	// BOM writes a byte order mark first, by which Excel tells UTF-8 in a CSV file.
	BOM bool
	// Rules derive the facts; without them the columns of facts are null.
	Rules *facts.Rules
	// Program is name and version of the program, Now the time of the export.
	Program string
	Now     time.Time
	// Filters are the filters of the numbers, by their flags, for the datapackage.
	Filters map[string]string
	Stdout  io.Writer
	// Progress is called now and then with the numbers that were written.
	Progress func(done int)
}

// Item is one number as the store has it.
type Item struct {
	Coverage
	// Record is the newest record as JSON; nil if there is none.
	Record []byte
}

// Source is a store at one point.
type Source struct {
	// Sequence is the last message of the ledger that the export has.
	Sequence uint64
	// Runs are the runs that have messages up to there.
	Runs []contract.RunID
	// Numbers passes every number on, in the order of series, year and number.
	Numbers func(ctx context.Context, take func(Item) error) error
}

// Result is what was exported.
type Result struct {
	Format   string           `json:"format"`
	Out      string           `json:"out"`
	Files    []string         `json:"files"`
	Rows     map[string]int   `json:"rows"`
	Sequence uint64           `json:"sequence"`
	Runs     []contract.RunID `json:"runs"`
	Outcomes Outcomes         `json:"coverage"`
	// Warnings say what the format could not hold.
	Warnings []string `json:"warnings"`
}

// Outcomes counts numbers by their outcome.
type Outcomes struct {
	Success     int `json:"success"`
	NoRecord    int `json:"no_record"`
	Unconfirmed int `json:"unconfirmed"`
	Failed      int `json:"failed"`
	None        int `json:"none"`
}

func (o *Outcomes) add(c *Coverage) {
	switch c.Outcome {
	case contract.Success:
		o.Success++
	case contract.NoRecord:
		if o.NoRecord++; c.Unconfirmed {
			o.Unconfirmed++
		}
	case contract.Failed:
		o.Failed++
	default:
		o.None++
	}
}

// output writes all tables of an export in one format. Nothing is visible before finish returns.
type output interface {
	// write adds the rows of one number.
	write(ctx context.Context, b *bundle) error
	// finish completes the output.
	finish(ctx context.Context, s *summary) error
	// abort discards the output; it has no effect after finish.
	abort()
}

// summary is what an output may state about the export.
type summary struct {
	*Options
	*Source
	result *Result
	tables []Table
}

// Check returns an error that wraps ErrOptions for each mistake in the options. It opens nothing.
func (o *Options) Check() error {
	_, err := o.plan()
	return err
}

// Run writes an export. If it fails or ctx ends, no file appears and no database changes. Errors wrap
// ErrOptions, ErrRecord, store.ErrNotWritable or are those of the source.
func (o *Options) Run(ctx context.Context, source Source) (*Result, error) {
	tables, err := o.plan()
	if err != nil {
		return nil, err
	}
	out, err := o.open(ctx, tables)
	if err != nil {
		return nil, err
	}
	defer out.abort()
	result := &Result{Format: o.Format, Out: o.Out, Rows: map[string]int{}, Sequence: source.Sequence,
		Runs:  source.Runs,
		Files: []string{}, Warnings: []string{}}
	for _, t := range tables {
		result.Rows[t.Name] = 0
	}
	done := 0
	err = derive(ctx, o.Rules, tables, source.Numbers, func(b *bundle) error {
		result.Outcomes.add(&b.Coverage)
		for i, t := range tables {
			result.Rows[t.Name] += len(b.rows[i])
		}
		if done++; o.Progress != nil && done%1000 == 0 {
			o.Progress(done)
		}
		return out.write(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := out.finish(ctx, &summary{o, &source, result, tables}); err != nil {
		return nil, err
	}
	return result, nil
}

// open opens the output.
func (o *Options) open(ctx context.Context, tables []Table) (output, error) {
	switch o.Format {
	case FormatSQLite:
		return openSQLite(ctx, o, tables)
	case FormatPostgres:
		return openPostgres(ctx, o, tables)
	case FormatXLSX:
		return openXLSX(o, tables)
	}
	return openFiles(o, tables)
}

// plan returns the tables of the export with their columns.
func (o *Options) plan() ([]Table, error) {
	p := planner{Options: o}
	p.check()
	tables := p.tables()
	tables = p.columns(tables)
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return tables, nil
}

type planner struct {
	*Options
	problems []error
}

func (p *planner) refuse(format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
}

// Formats returns the names of all formats.
func Formats() []string {
	return []string{FormatNDJSON, FormatCSV, FormatParquet, FormatSQLite, FormatPostgres, FormatXLSX}
}

// isStream reports whether the format is written to one stream a table.
func (o *Options) isStream() bool {
	return slices.Contains([]string{FormatNDJSON, FormatCSV, FormatParquet}, o.Format)
}

// nests reports whether the format holds entries and parties in the row of their case.
func (o *Options) nests() bool {
	return !o.Flat && (o.Format == FormatNDJSON || o.Format == FormatParquet)
}

// hasAllTables reports whether the output has all tables.
func (o *Options) hasAllTables() bool { return !o.isStream() || isFolder(o.Out) }

func (p *planner) check() {
	if !slices.Contains(Formats(), p.Format) {
		p.refuse("--format %.40q: allowed are %s", p.Format, strings.Join(Formats(), ", "))
		return
	}
	isURL := strings.HasPrefix(p.Out, "postgres://") || strings.HasPrefix(p.Out, "postgresql://")
	info, err := os.Stat(p.Out)
	switch {
	case p.Out == "":
		p.refuse("--out is missing: allowed are a file, a folder, - for stdout, or postgres://... for --format postgres")
	case p.Format == FormatPostgres && !isURL:
		p.refuse("--out: allowed for --format postgres is a URL such as postgres://host/database?user=name")
	case p.Format != FormatPostgres && isURL:
		p.refuse("--out postgres://...: --format is %s: allowed is postgres", p.Format)
	case p.Format != FormatPostgres && strings.Contains(p.Out, "://"): // it may have a password
		p.refuse("--out is a URL: allowed for --format %s is a file or folder", p.Format)
	case p.Format != FormatPostgres && err == nil && !info.IsDir() && !info.Mode().IsRegular():
		p.refuse("--out %.200q is no regular file: allowed are such a file, a folder, or - for stdout", p.Out)
	case p.Format != FormatPostgres && filepath.Base(p.Out) == descriptorName && !isFolder(p.Out):
		p.refuse("--out %.200q: this name is for the description of the files: allowed is another one", p.Out)
	case (p.Format == FormatSQLite || p.Format == FormatXLSX) && p.Out == "-":
		p.refuse("--out -: allowed for --format %s is a file", p.Format)
	case (p.Format == FormatSQLite || p.Format == FormatXLSX) && isFolder(p.Out):
		p.refuse("--out %.200q is a folder: allowed for --format %s is a file", p.Out, p.Format)
	}
	if _, compressed := compression(p.Out); compressed && p.Format != FormatNDJSON && p.Format != FormatCSV {
		p.refuse("--out %.200q: .gz and .zst are for ndjson and csv", p.Out)
	}
	if p.BOM && p.Format != FormatCSV {
		p.refuse("--bom: allowed with --format csv")
	}
	switch {
	case p.Flat && p.Format != FormatNDJSON && p.Format != FormatParquet:
		p.refuse("--flat: allowed with --format ndjson or parquet; %s has tables in any case", p.Format)
	case p.Flat && p.Layout != "":
		p.refuse("--flat with --layout: allowed is one of the two")
	}
	if p.Layout != "" && (p.Layout != LayoutRLL || !p.isStream()) {
		p.refuse("--layout %.40q: allowed is rll, with --format ndjson, csv or parquet", p.Layout)
	}
	if p.Table != "" && (p.hasAllTables() || p.Layout != "") {
		p.refuse("--table %.40q: allowed where --out is a file of one table, without --layout", p.Table)
	}
}

// tables returns the tables of the output with all columns.
func (p *planner) tables() []Table {
	all := Tables()
	if p.Layout == LayoutRLL {
		all[0] = rllTable()
		all = append(all[:1], all[3])
	} else if p.nests() {
		entries, parties := all[1], all[2]
		entries.Columns, parties.Columns = entries.Columns[2:], parties.Columns[2:] // the case and the place are known
		all[0].nested = []nestedTable{
			{"docket", entries, func(*Number) bool { return true }},
			{TableParties, parties, func(n *Number) bool { return n.Record.Parties != nil }},
		}
	}
	switch {
	case !p.hasAllTables():
		name := p.Table
		if name == "" {
			name = TableCases
		}
		i := slices.IndexFunc(all, func(t Table) bool { return t.Name == name })
		if i < 0 {
			p.refuse("--table %.40q: allowed are %s, %s, %s and %s", name, TableCases, TableEntries, TableParties,
				TableCoverage)
			return nil
		}
		return all[i : i+1]
	case p.nests() && p.Layout == "":
		return []Table{all[0], all[3]}
	}
	return all
}

// columns selects the columns of Options.Columns.
func (p *planner) columns(tables []Table) []Table {
	if len(p.Columns) == 0 || len(tables) == 0 {
		return tables
	}
	wanted := make([][]string, len(tables))
	nested := make([][][]string, len(tables))
	for i := range tables {
		nested[i] = make([][]string, len(tables[i].nested))
	}
	for _, name := range p.Columns {
		if !p.addColumn(tables, wanted, nested, strings.TrimSpace(name)) {
			p.refuse("--columns: there is no column %.60q: allowed are %s", name, columnNames(tables))
		}
	}
	for i := range tables {
		for j := len(tables[i].nested) - 1; j >= 0; j-- {
			switch {
			case nested[i][j] != nil:
				tables[i].nested[j].table = tables[i].nested[j].table.with(nested[i][j], false)
			case wanted[i] != nil:
				tables[i].nested = slices.Delete(tables[i].nested, j, j+1)
			}
		}
		if wanted[i] != nil {
			tables[i] = tables[i].with(wanted[i], p.Format == FormatSQLite || p.Format == FormatPostgres)
		}
	}
	return tables
}

// addColumn notes a wanted column: a name of the first table, or one after the name of its table. The
// name of a nested table alone is all its columns.
func (p *planner) addColumn(tables []Table, wanted [][]string, nested [][][]string, name string) bool {
	table, column, qualified := strings.Cut(name, ".")
	if !qualified {
		table, column = tables[0].Name, name
	}
	for i := range tables {
		for j, n := range tables[i].nested {
			if table != n.name && column != n.name && table != n.table.Name {
				continue
			}
			switch {
			case column == n.name:
				nested[i][j] = n.table.names()
			case qualified && slices.Contains(n.table.names(), column):
				nested[i][j] = appendNew(nested[i][j], column)
			default:
				continue
			}
			if wanted[i] == nil {
				wanted[i] = []string{}
			}
			return true
		}
		if tables[i].Name == table && slices.Contains(tables[i].names(), column) {
			wanted[i] = appendNew(wanted[i], column)
			return true
		}
	}
	return false
}

func appendNew(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// columnNames lists all columns for an error.
func columnNames(tables []Table) string {
	var names []string
	for i, t := range tables {
		for _, name := range t.names() {
			if i > 0 {
				name = t.Name + "." + name
			}
			names = append(names, name)
		}
		for _, n := range t.nested {
			for _, name := range n.table.names() {
				names = append(names, n.name+"."+name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// isFolder reports whether out names a folder: one that exists, or any name that ends like one.
func isFolder(out string) bool {
	return strings.HasSuffix(out, "/") || strings.HasSuffix(out, string(filepath.Separator)) || folderExists(out)
}
