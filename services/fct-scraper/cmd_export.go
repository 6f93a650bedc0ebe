package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/files"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exportFlags are the flags of the command export.
type exportFlags struct {
	export.Options
	series, ids, outcome, since, columns, rules string
}

func (f *exportFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.Format, "format", "", "format: "+strings.Join(export.Formats(), ", "))
	flags.StringVar(&f.Out, "out", "", "file, folder for a file of each table, - for stdout, or postgres://user@host/database; a name that ends with .gz or .zst is compressed")
	flags.StringVar(&f.Table, "table", "", "table of a single file: cases (the default), entries, parties or coverage")
	flags.StringVar(&f.columns, "columns", "", "columns with commas between them, such as case_id,leave,leave_judge; those of other tables as entries.text")
	flags.StringVar(&f.Layout, "layout", "", "rll: the columns in which publishers of open legal data exchange court files")
	flags.BoolVar(&f.Flat, "flat", false, "entries and parties as tables of their own where the format could nest them in their case")
	flags.BoolVar(&f.BOM, "bom", false, "begin a CSV file with a byte order mark, for Excel")
	f.addCases(flags)
	flags.StringVar(&f.outcome, "outcome", "", "only numbers with these outcomes: success, no-record, failed, none")
	flags.StringVar(&f.since, "since", "", "only numbers last requested at or after this day (2025-11-30, UTC) or time (RFC 3339)")
	flags.StringVar(&f.rules, "rules", "", "rule file (TOML) for the facts, in place of the rules that the profile of the site names")
	flags.Bool("json", false, "print what was exported as one JSON document")
}

// addCases adds the flags that select cases.
func (f *exportFlags) addCases(flags *pflag.FlagSet) {
	flags.StringVar(&f.series, "series", "", "only these series or series and years, such as IMM-25 or IMM-24,IMM-25,T")
	flags.StringVar(&f.ids, "ids", "", "only these cases: a file as for batch --list, - for stdin, or ids with commas between them")
}

func (p *program) exportCommand() *cobra.Command {
	flags := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "export --format <format> --out <file|folder|->",
		Short: "Write records, docket entries, facts and coverage as data",
		Long: "export writes the records of the store with their facts, and for each number how it stands. It sends no request. The\n" +
			"tables are cases, entries, parties (if collected) and coverage; docs/data.md describes their columns. The export shows\n" +
			"the store at one point, also while a batch runs. Files appear complete or not at all, with a datapackage.json.",
		Args: maxArgs(0),
		Example: "  fct-scraper export --format csv --out tables/\n  fct-scraper export --format ndjson --out cases.ndjson.zst --series IMM-25\n" +
			"  fct-scraper export --format xlsx --out court.xlsx --series IMM-25\n" +
			"  fct-scraper export --format csv --out - --columns case_id,leave,leave_on,leave_judge --ids files.txt",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runExport(cmd, flags) },
	}
	addSettings(cmd.Flags(), storeSettings("site", "progress", "graceful_shutdown_timeout"))
	flags.add(cmd.Flags())
	return cmd
}

func (p *program) runExport(cmd *cobra.Command, flags *exportFlags) error {
	settings, err := p.loadSettings(cmd)
	if err != nil {
		return err
	}
	if err := emptyFlags(cmd.Flags()); err != nil {
		return err
	}
	options := flags.Options
	options.Now, options.Program = p.now, "fct-scraper "+version()
	if err := errors.Join(p.expandHome("--out", &options.Out), p.expandHome("--rules", &flags.rules)); err != nil {
		return err
	}
	if flags.columns != "" {
		options.Columns = strings.Split(flags.columns, ",")
	}
	filter, err := p.exportFilter(flags)
	problems := []error{err, options.Check()}
	if options.Out != "" && options.Out != "-" && options.Format != export.FormatPostgres {
		out := options.Out
		if info, err := os.Stat(out); strings.HasSuffix(out, "/") || err == nil && info.IsDir() { // its files are the tables
			out = filepath.Join(out, export.TableCases+"."+options.Format)
		}
		problems = append(problems, checkOut(settings.Config, out, flags.ids, flags.rules))
	}
	if options.Out == "-" && p.jsonWanted {
		problems = append(problems, runtime.Usagef("--json with --out -: stdout holds one of the two"))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	options.Filters = filter.stated
	options.Rules, err = runtime.FactRules(settings.Site, flags.rules)
	if err != nil && !errors.Is(err, runtime.ErrNoRules) { // without rules the columns of facts are null
		return err
	}
	result, err := p.export(cmd.Context(), settings, &options, filter.matches)
	if failed := p.stdout.writeErr(); failed != nil { // no error of the store
		return failed
	}
	if err != nil || options.Out == "-" {
		return err
	}
	return p.printResult(result, exportText(result))
}

// emptyFlags returns an error for each text flag of a command, but for settings, that is given without
// a value, as by a variable of a script that is empty: it would select everything.
func emptyFlags(flags *pflag.FlagSet) error {
	var problems []error
	flags.Visit(func(f *pflag.Flag) {
		if _, setting := f.Value.(*settingFlag); !setting && f.Value.Type() == "string" && f.Value.String() == "" {
			problems = append(problems, runtime.Usagef(`--%s = "": want a value, or the flag left out`, f.Name))
		}
	})
	return errors.Join(problems...)
}

// expandHome replaces ~/ at the start of the path that a flag gives by the home folder.
func (p *program) expandHome(flag string, path *string) (err error) {
	if *path, err = config.ExpandHome(*path, p.environ); err != nil {
		return runtime.Usagef("%s: %w", flag, err)
	}
	return nil
}

// checkOut returns an error if the file out is one of the store or of a run, or one of inputs.
func checkOut(c config.Config, out string, inputs ...string) error {
	refuse := func(what, where string) error {
		return runtime.Usagef("--out %.200q: it is %s %.200q: want another place", out, what, where)
	}
	for _, input := range inputs {
		if isSameFile(out, input) {
			return refuse("the input", input)
		}
	}
	full, err := filepath.Abs(out)
	if err != nil {
		return runtime.Usagef("--out: %w", err)
	}
	folder := filepath.Dir(full)
	if isSameFile(folder, c.DataDir) {
		return refuse("in the store", c.DataDir)
	}
	if isSameFile(folder, c.Output) && files.IsOfRun(filepath.Base(full)) {
		return refuse("a file of runs in", c.Output)
	}
	for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if isSameFile(folder, filepath.Join(c.DataDir, natsd.StoreFolder)) {
			return refuse("in the store", c.DataDir)
		}
		if isSameFile(filepath.Dir(folder), c.Output) && files.IsOfRun(filepath.Base(folder)) {
			return refuse("among the files of runs in", c.Output)
		}
	}
	return nil
}

// isSameFile reports whether two names lead to one file that exists.
func isSameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// export writes the export. It stops at a signal and shows its progress.
func (p *program) export(
	ctx context.Context, settings *config.Settings, options *export.Options, selected func(export.Coverage) bool,
) (*export.Result, error) {
	ctx, release := p.stopAtSignal(ctx, settings, "nothing was exported")
	defer release()
	display := newProgressDisplay(p.stderr, settings.Config, p.environ)
	defer display.close()
	process := p.process(settings)
	process.Log = newLogger(settings.Config, p.environ, isTerminal(p.stderr), display)
	var all int
	options.Progress = func(done int) { display.showWork("exported", done, all, process.Log) }
	stdout := onceEach(func(part []byte) error {
		_, err := p.stdout.Write(part)
		return err
	})
	return process.Export(ctx, options, selected, func(numbers int) {
		all = numbers
		options.Stdout = writerFunc(stdout())
	})
}

// writerFunc is an io.Writer that writes all of the data or fails.
type writerFunc func(data []byte) error

// Write calls the function.
func (f writerFunc) Write(data []byte) (int, error) {
	if err := f(data); err != nil {
		return 0, err
	}
	return len(data), nil
}

// stopAtSignal returns a context that ends at a signal; its cause says what did not happen. The caller
// calls release at the end.
func (p *program) stopAtSignal(ctx context.Context, settings *config.Settings, nothing string) (_ context.Context,
	release func()) {
	signals := p.listenSignals(settings)
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-signals.Requested():
			cancel(workStopped{runtime.Interrupted{By: signals.Name()}, nothing})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		signals.close()
	}
}

// workStopped is the error of a command that a signal stopped before it wrote anything.
type workStopped struct {
	runtime.Interrupted
	nothing string
}

func (e workStopped) Error() string { return "stopped by " + e.By + ": " + e.nothing }

func (e workStopped) Unwrap() error { return e.Interrupted }

// outcomeNames are the values of --outcome.
func outcomeNames() map[string]contract.Outcome {
	return map[string]contract.Outcome{
		string(contract.Success): contract.Success, string(contract.NoRecord): contract.NoRecord,
		string(contract.Failed): contract.Failed, "none": "",
	}
}

// exportFilter selects numbers. A nil field selects all.
type exportFilter struct {
	series   map[string]bool // "IMM" or "IMM-25"
	ids      map[string]contract.CaseList
	outcomes map[contract.Outcome]bool
	since    time.Time
	// stated are the filters as the datapackage states them.
	stated map[string]string
}

func (f exportFilter) matches(c export.Coverage) bool {
	year := c.CaseID.Series + "-" + c.CaseID.Year
	return (f.series == nil || f.series[c.CaseID.Series] || f.series[year]) &&
		(f.ids == nil || f.ids[year].Contains(c.CaseID.Number)) &&
		(f.outcomes == nil || f.outcomes[c.Outcome]) &&
		!c.At.Before(f.since)
}

// exportFilter reads the flags that select numbers. Its error has all mistakes.
func (p *program) exportFilter(flags *exportFlags) (f exportFilter, err error) {
	f.stated = map[string]string{}
	var problems []error
	refuse := func(format string, args ...any) {
		problems = append(problems, runtime.Usagef(format, args...))
	}
	state := func(flag, value string) []string {
		if value == "" {
			return nil
		}
		f.stated[flag] = value
		return strings.Split(value, ",")
	}
	for _, word := range state("series", flags.series) {
		series, year, hasYear := strings.Cut(strings.TrimSpace(word), "-")
		key := series
		wrong := contract.CheckSeries(series)
		if hasYear {
			short, yearErr := contract.ParseYear(year)
			key, wrong = series+"-"+short, errors.Join(wrong, yearErr)
		}
		if wrong != nil {
			refuse("--series %.40q: want a series or a series and year, such as IMM or IMM-25", word)
			continue
		}
		if f.series == nil {
			f.series = map[string]bool{}
		}
		f.series[key] = true
	}
	for _, word := range state("outcome", flags.outcome) {
		outcome, known := outcomeNames()[strings.TrimSpace(word)]
		if !known {
			refuse("--outcome %.40q: want success, no-record, failed or none", word)
			continue
		}
		if f.outcomes == nil {
			f.outcomes = map[contract.Outcome]bool{}
		}
		f.outcomes[outcome] = true
	}
	if words := state("since", flags.since); words != nil {
		if f.since, err = time.Parse(time.DateOnly, flags.since); err != nil {
			f.since, err = time.Parse(time.RFC3339, flags.since)
		}
		if err != nil {
			refuse("--since %.40q: want a day such as 2025-11-30 or a time such as 2025-11-30T12:00:00Z", flags.since)
		} else if f.since.After(p.now) {
			refuse("--since %.40q is in the future: want a time before %s", flags.since, p.now.UTC().Format(time.RFC3339))
		}
	}
	if words := state("ids", flags.ids); words != nil {
		if f.ids, err = p.exportIDs(flags.ids, words); err != nil {
			refuse("%w", err)
		}
	}
	return f, errors.Join(problems...)
}

// exportIDs returns the cases of --ids by series and year.
func (p *program) exportIDs(value string, words []string) (map[string]contract.CaseList, error) {
	list := &caseList{}
	_, noID := parseListedID(words[0])
	if noID != nil && len(words) == 1 {
		var err error
		if list, err = p.openList("--ids", value); err != nil {
			return nil, err
		}
	} else {
		for _, word := range words {
			id, err := parseListedID(word)
			if err != nil {
				return nil, fmt.Errorf("--ids: %w", err)
			}
			list.Add(id)
		}
	}
	ids := map[string]contract.CaseList{}
	for _, one := range list.Lists() {
		ids[one.Series+"-"+one.Year] = one
	}
	return ids, nil
}

// exportText describes an export for people.
func exportText(r *export.Result) string {
	var text strings.Builder
	c := r.Outcomes
	fmt.Fprintf(&text, "exported %s as %s\n", sanitize.Plural(c.Success+c.NoRecord+c.Failed+c.None, "number"), r.Format)
	for _, name := range slices.Sorted(maps.Keys(r.Rows)) {
		fmt.Fprintf(&text, "  %-11s%s\n", name, sanitize.Plural(r.Rows[name], "row"))
	}
	fmt.Fprintf(&text, "  %-11s%d success, %d no-record (%d unconfirmed), %d failed, %d without an outcome\n",
		"numbers", c.Success,
		c.NoRecord, c.Unconfirmed, c.Failed, c.None)
	fmt.Fprintf(&text, "  %-11smessage %d of %s\n", "store", r.Sequence, sanitize.Plural(len(r.Runs), "run"))
	for _, name := range r.Files {
		fmt.Fprintf(&text, "  %-11s%s\n", "file", sanitize.Line(name))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&text, "  %-11s%s\n", "warning", sanitize.Line(warning))
	}
	return text.String()
}
