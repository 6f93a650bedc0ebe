package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/analysis"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/store"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/snapshot"

	"github.com/spf13/cobra"
)

// analysisPage is the name of the page; the CSV files lie beside it.
const analysisPage = "analysis.html"

func (p *program) analyzeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "analyze [<file|folder|->...]",
		Short: "Write a page of charts, and their numbers as CSV, about the records",
		Long: "analyze counts the records of the store, or those of the arguments, which are as for facts. It writes one HTML page that\n" +
			"loads nothing and needs no script (" + analysisPage + "), and a CSV file for each chart: cases by month, time to close, time to\n" +
			"the first decision (Kaplan-Meier), outcomes, offices, decisions on leave by judge, Rule 9 waits, coverage. Only the store\n" +
			"knows which numbers failed or have no record.",
		Args:    factsArgs,
		Example: "  fct-scraper analyze --year 25 --out charts\n  zcat records.ndjson.gz | fct-scraper analyze - --out charts",
	}
	addSettings(cmd.Flags(), storeSettings("site", "progress", "graceful_shutdown_timeout"))
	year := cmd.Flags().String("year", "", "only cases of this year, such as 25 or 2025")
	prefix := cmd.Flags().String("prefix", "", "only cases of this series, such as IMM")
	out := cmd.Flags().String("out", "", "folder of the page and the CSV files (default <output>/analysis)")
	file := cmd.Flags().String("rules", "", "rule file (TOML) in place of the rules that the profile of the site names")
	cmd.Flags().Bool(jsonFlag, false, "print what was written as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		if err := errors.Join(emptyFlags(cmd.Flags()), p.expandHome("--out", out), p.expandHome("--rules", file)); err != nil {
			return err
		}
		if *out == "" {
			*out = filepath.Join(settings.Output, "analysis")
		}
		// The page is a file in that folder, as for an export.
		if err := checkOut(settings.Config, filepath.Join(*out, analysisPage)); err != nil {
			return err
		}
		rules, err := runtime.FactRules(settings.Site, *file)
		if err != nil {
			return err
		}
		ctx, release := p.stopAtSignal(cmd.Context(), settings, "nothing was written")
		defer release()
		display := newProgressDisplay(p.stderr, settings.Config, p.environ)
		defer display.close()
		process := p.process(settings)
		process.Log = newLogger(settings.Config, p.environ, isTerminal(p.stderr), display)
		work := analysisWork{rules: rules, selected: analysisFilter(*year, *prefix), counted: analysis.New()}
		work.progress = func(done int) { display.showWork("analyzed", done, work.all, process.Log) }
		from := "the files " + strings.Join(args, ", ")
		if len(args) > 0 {
			err = work.count(ctx, recordSource{stdin: cmd.InOrStdin(), paths: args})
		} else {
			from = "the store " + cmp.Or(settings.NATSURL, settings.DataDir)
			err = process.ReadStore(ctx, "analyzing",
				func(taken *snapshot.Snapshot) error { return work.countStore(ctx, taken) })
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		return p.writeAnalysis(work.counted, from, *out)
	}
	return cmd
}

// analysisFilter returns a filter of cases by year and series; an empty text is all. loadSettings has
// checked both.
func analysisFilter(year, prefix string) func(contract.CaseID) bool {
	if short, err := contract.ParseYear(year); err == nil {
		year = short
	}
	return func(id contract.CaseID) bool {
		return (year == "" || id.Year == year) && (prefix == "" || id.Series == prefix)
	}
}

// analysisResult is what analyze wrote.
type analysisResult struct {
	Out   string   `json:"out"`
	Page  string   `json:"page"`
	Files []string `json:"files"`
	Cases int      `json:"cases"`
	Open  int      `json:"open"`
	// Conflicting is the number of cases in which rules or entries disagree.
	Conflicting int       `json:"conflicting"`
	FetchedFrom time.Time `json:"fetched_from"`
	FetchedTo   time.Time `json:"fetched_to"`
}

// analysisWork counts records.
type analysisWork struct {
	rules    *facts.Rules
	selected func(contract.CaseID) bool
	counted  *analysis.Analysis
	// progress is called now and then with how many numbers are done; all is their count if it is known.
	progress func(done int)
	done     atomic.Int64
	all      int
}

// countStore counts the selected numbers of a store.
func (w *analysisWork) countStore(ctx context.Context, taken *snapshot.Snapshot) error {
	w.counted = analysis.New()
	w.counted.CoverageKnown()
	w.all = taken.Count()
	w.done.Store(0)
	source := taken.Source(func(c export.Coverage) bool { return w.selected(c.CaseID) })
	all := source.Numbers
	source.Numbers = func(ctx context.Context, take func(export.Item) error) error {
		return all(ctx, func(item export.Item) error {
			if item.Record != nil {
				return take(item)
			}
			w.counted.AddNumber(item.CaseID, item.Outcome, item.Unconfirmed)
			w.countDone()
			return nil
		})
	}
	return w.count(ctx, recordSource{each: storedRecords(ctx, source)})
}

func (w *analysisWork) countDone() {
	if done := w.done.Add(1); done%1000 == 0 {
		w.progress(int(done))
	}
}

// count counts the selected records of a source. Each worker has a tally of its own.
func (w *analysisWork) count(ctx context.Context, source recordSource) error {
	var tallies sync.Map // of each *facts.Reader, which belongs to one worker
	add := func(buffer []byte, reader *facts.Reader, data []byte) ([]byte, error) {
		record, err := facts.Decode(data)
		if err != nil || !w.selected(record.CaseID) {
			return buffer, err
		}
		tally, known := tallies.Load(reader)
		if !known {
			tally = w.counted.NewTally()
			tallies.Store(reader, tally)
		}
		if err := tally.(*analysis.Tally).Add(record, reader.Of(record)); err != nil {
			return nil, runtime.Usagef("%w", err)
		}
		w.countDone()
		return buffer, nil
	}
	return deriveFacts(ctx, w.rules, source, add, func([]byte) error { return nil })
}

// writeAnalysis writes all files, or none if one cannot be written. The page is the last one: it refers
// to the others.
func (p *program) writeAnalysis(counted *analysis.Analysis, from, out string) error {
	report := counted.Report(analysis.Options{
		Program: "fct-scraper " + version(), Now: p.now, From: sanitize.Mask(sanitize.Line(from)),
	})
	if report.Cases == 0 {
		return runtime.Usagef("no record is selected in %s: allowed are a year and a series that have records", from)
	}
	result, err := writeFiles(report, out)
	if err != nil {
		return err
	}
	return p.printResult(result, analysisText(result))
}

func writeFiles(report *analysis.Report, out string) (*analysisResult, error) {
	folder, err := store.Open(out)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	result := &analysisResult{
		Out: out, Page: filepath.Join(out, analysisPage), Cases: report.Cases, Open: report.Open,
		Conflicting: report.Conflicting,
		FetchedFrom: report.Oldest, FetchedTo: report.Newest,
	}
	var page strings.Builder
	if err := report.WriteHTML(&page); err != nil {
		return nil, err
	}
	var files []store.File
	for _, table := range report.Tables() {
		files = append(files, store.File{Name: table.File, Data: table.CSV()})
	}
	files = append(files, store.File{Name: analysisPage, Data: []byte(page.String())})
	for _, file := range files {
		result.Files = append(result.Files, file.Name)
	}
	return result, folder.WriteAll(files)
}

func analysisText(r *analysisResult) string {
	return fmt.Sprintf("%s, %d still open, %d with conflicts, fetched until %s\n  page   %s\n  tables %d CSV files beside it\n",
		sanitize.Plural(r.Cases, "case"), r.Open, r.Conflicting, r.FetchedTo.UTC().Format(time.RFC3339),
		sanitize.Line(r.Page), len(r.Files)-1)
}
