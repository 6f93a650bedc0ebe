package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// batchFlags are the flags of a batch that are not settings.
type batchFlags struct {
	runtime.BatchOptions
	batch, json bool
	// list is the file of the list, "-" for stdin; empty for none.
	list string
}

func (f *batchFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "print the result as one JSON document")
	flags.BoolVar(&f.Unblock, "unblock", false, "send requests although the site has blocked this client")
	addRepairFlag(flags, &f.Repair)
}

// addRepairFlag adds --repair to a command that may accept a damaged store.
func addRepairFlag(flags *pflag.FlagSet, repair *bool) {
	flags.BoolVar(repair, "repair", false,
		"accept a damaged or older store in data_dir as it is; what it lost is requested again")
}

// addBatchFlags adds --new, for a batch that runs every day, and --list.
func (f *batchFlags) addBatchFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.list, listFlag, "", "collect the case ids of a file, or of stdin for -: one a line or in the first column of a CSV or TSV")

	flags.BoolVar(&f.OnlyNew, "new", false, "collect new cases: no-records above the highest record are requested again; "+
		"without a year, last year's batch runs first in January and February")
}

// addQuietFlag adds --quiet, for a batch that a scheduler starts.
func (p *program) addQuietFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&p.quiet, "quiet", false,
		"print nothing if the exit code is 0, but the document of --json; else the errors and the summary")
}

// quieten turns off progress and, unless log_level is set, all log lines but errors, if --quiet is given.
func (p *program) quieten(settings *config.Settings) {
	if !p.quiet {
		return
	}
	settings.Progress = "none"
	if settings.Origin("log_level") == "default" {
		settings.LogLevel = "error"
	}
}

// listFlag names the file with a list of case ids.
const listFlag = "list"

// runResult is the end of a run with its latest progress event, which is empty if the run did not get
// so far.
type runResult struct {
	runtime.RunResult
	lastEvent contract.Event
}

// exitMargin is how long a stopped process may take beyond graceful_shutdown_timeout, with abortTimeout,
// which the last output of an aborted command may take. The contract allows a second.
const (
	exitMargin   = 900 * time.Millisecond
	abortTimeout = 400 * time.Millisecond
)

func (p *program) batchCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use:   "batch [<year>]",
		Short: "Run one batch to its end and print its summary",
		Args:  maxArgs(1),
		Long: "batch runs one batch to its end and prints its summary.\n\n" +
			"In January and February `batch --new` runs two batches unless an argument, a flag, a variable or the file gives\n" +
			"the year: last year's and, if that completes, this year's. start, end and max_cases apply to each of them.\n" +
			"--json prints this year's report, with last year's report under last_year. If this year's batch is not started,\n" +
			"it prints last year's report, with the missing year under not_started. The exit code is the worse one: any\n" +
			"other code is worse than 3, and 3 (some numbers failed or are unconfirmed) is worse than 0.\n\n" +
			"`batch --list <file>` collects the cases of a list instead of a range: an id a line, or in the first column of a CSV\n" +
			"or TSV, with or without a header. Ids may be written as IMM-231-25, IMM-231-2025, imm 231 25 or IMM-00231-25; # begins a\n" +
			"comment; duplicates count once. A bad line ends the command before anything is requested. Each series and year of\n" +
			"the list is a batch of its own, one after the other as with --new: --json prints the last report, with the others\n" +
			"under earlier_runs and the batches that were not started under not_started_batches. The list takes the place of\n" +
			"prefix, year, start, end, max_cases and probe of the file and the environment.",
		Example: "  fct-scraper batch 2025 --max-cases 50\n" +
			"  fct-scraper batch --config court.toml --json\n  fct-scraper batch --new\n  fct-scraper batch --list ids.csv",
		RunE: func(cmd *cobra.Command, args []string) error { return p.runBatches(cmd, flags, args) },
	}
	addSettings(cmd.Flags(), allSettings)
	flags.add(cmd.Flags())
	flags.addBatchFlags(cmd.Flags())
	p.addQuietFlag(cmd.Flags())
	p.addOpenFlag(cmd.Flags())
	return cmd
}

// batchSources returns the sources of the settings of a command whose argument may be the year.
func (p *program) batchSources(cmd *cobra.Command, args []string) config.Sources {
	src := p.sources(cmd)
	if len(args) > 0 {
		src.Arguments = map[string]string{"year": args[0]}
	}
	src.SendsRequests = true
	return src
}

// listenSignals starts to receive the signals that stop a command with settings.
func (p *program) listenSignals(settings *config.Settings) *signals {
	return listenSignals(settings.GracefulShutdownTimeout+exitMargin-abortTimeout, p.writeAborted)
}

// runBatch runs a batch with all services in this process until it ends or a signal stops it. It
// sets the exit code to that of this run, or if that is 0 to that of the run before it.
func (p *program) runBatch(
	ctx context.Context, settings *config.Settings, options runtime.BatchOptions, signals *signals,
) (runResult, error) {
	display := newProgressDisplay(p.stderr, settings.Config, p.environ)
	defer display.close()
	p.display.Store(display)
	log := newLogger(settings.Config, p.environ, display.terminal, display)
	if display.style == "tty" {
		log = slog.New(blockHandler{log.Handler(), display.warn})
	}
	options.Stop = signals
	if p.opensPage {
		options.StatusAddr = anyPort
	}
	options.Follow = func(nc *nats.Conn, run contract.RunID) (func(), error) { return display.follow(nc, run, log) }
	redirectLibraryLog(log)
	process := p.process(settings)
	process.Log = log
	ended, err := process.Batch(ctx, options)
	run := runResult{ended, display.latest()}
	if err != nil {
		return run, err
	}
	p.exitCode = cmp.Or(runExitCode(run.State, signals.exitCode()), p.exitCode)
	if wrong := reporter.StateError(run.State); wrong != nil && run.Report == nil {
		return run, fmt.Errorf("running the batch: run %s: %w", run.Manifest.RunID, wrong)
	}
	if run.Report == nil {
		return run, fmt.Errorf("running the batch: %s: %s", run.Status, run.Reason)
	}
	return run, nil
}

// runBatches runs the batches of a command, one after the other, and prints their reports.
func (p *program) runBatches(cmd *cobra.Command, flags *batchFlags, args []string) error {
	batches, err := p.batches(cmd, flags, args)
	if err != nil {
		return err
	}
	signals := p.listenSignals(batches[0])
	defer signals.close()
	for i, settings := range batches {
		if follows, err := p.runOneBatch(cmd, flags, args, settings, signals, batches[i+1:]); err != nil || !follows {
			return err
		}
	}
	return nil
}

// batches returns the settings of each batch of a command: one for each series and year of a list;
// last year's, if lastYearSettings returns one, and this year's; or that of the settings.
func (p *program) batches(cmd *cobra.Command, flags *batchFlags, args []string) ([]*config.Settings, error) {
	src := p.batchSources(cmd, args)
	if cmd.Flags().Changed(listFlag) {
		return p.listBatches(cmd, flags, src)
	}
	settings, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	p.quieten(settings)
	if last := lastYearSettings(settings, flags.OnlyNew, p.now); last != nil {
		return []*config.Settings{last, settings}, nil
	}
	return []*config.Settings{settings}, nil
}

// listBatches returns the settings of each batch of the list of --list. Its error has the bad lines
// together with all other mistakes.
func (p *program) listBatches(cmd *cobra.Command, flags *batchFlags, src config.Sources) ([]*config.Settings, error) {
	var list *caseList
	if flags.list != "-" || len(src.Mistakes) == 0 { // else nobody needs to type the list
		var err error
		if list, err = p.openList("--list", flags.list); err != nil {
			for line := range strings.SplitSeq(errorLines(err), "\n") {
				src.Mistakes = append(src.Mistakes, config.Mistake{Problem: line})
			}
		}
	}
	src.Mistakes = append(src.Mistakes, listMistakes(cmd, list, src.Arguments["year"])...)
	settings, err := config.Load(src)
	if err != nil {
		return nil, err
	}
	p.quieten(settings)
	if list.duplicates > 0 {
		p.process(settings).Log.Info("batch.list.read", "file", flags.list, "duplicates", list.duplicates)
	}
	return settingsOfLists(settings, list.Lists()), nil
}

// settingsOfLists returns the settings of a batch for each list.
func settingsOfLists(settings *config.Settings, lists []contract.CaseList) (batches []*config.Settings) {
	for _, list := range lists {
		each := *settings
		each.Batch = each.WithIDs(list)
		batches = append(batches, &each)
	}
	return batches
}

// listMistakes returns the flags and arguments that contradict a list. The list may be nil.
func listMistakes(cmd *cobra.Command, list *caseList, year string) (mistakes []config.Mistake) {
	add := func(key, format string, args ...any) {
		mistakes = append(mistakes, config.Mistake{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
	given := func(name string) (value string, given bool) {
		flag := cmd.Flags().Lookup(name)
		return flag.Value.String(), flag.Changed
	}
	for _, name := range []string{"start", "end", "max-cases"} {
		if value, is := given(name); is {
			add(settingKey(name), "--%s: %s = %s: want --list alone, or a range of numbers", name, settingKey(name),
				config.Shown("", value))
		}
	}
	for _, name := range []string{"probe", "new"} {
		value, is := given(name)
		if on, err := strconv.ParseBool(value); is && err == nil && on {
			add("", "--%s: %s = true: want it left out: only the numbers of --list are requested", name, name)
		}
	}
	if list == nil {
		return mistakes
	}
	prefix, prefixGiven := given("prefix")
	flagYear, yearGiven := given("year")
	foreign := func(origin, key, value string, has func(contract.CaseList) string) {
		for _, l := range list.Lists() {
			if has(l) != value {
				add(key, "%s: %s = %s: want that of all ids of --list, or to leave it out: it has ids of %s-%s",
					origin, key,
					config.Shown("", value), l.Series, l.Year)
				return
			}
		}
	}
	if prefixGiven {
		foreign("--prefix", "prefix", prefix, func(l contract.CaseList) string { return l.Series })
	}
	ofYear := func(origin, text string) {
		if digits, err := contract.ParseYear(text); err == nil { // else it is a mistake of its own
			foreign(origin, "year", digits, func(l contract.CaseList) string { return l.Year })
		}
	}
	if yearGiven {
		ofYear("--year", flagYear)
	}
	if year != "" {
		ofYear("argument", year)
	}
	return mistakes
}

// lastYearSettings returns the settings of last year's batch if it must run first, else nil. That
// is so in January and February for a batch with --new and without a year: the site may have added
// cases of December after the last batch of the old year, and no later batch without a year would
// find them.
func lastYearSettings(settings *config.Settings, onlyNew bool, now time.Time) *config.Settings {
	if !onlyNew || yearIsSet(settings) || now.Month() > time.February {
		return nil
	}
	last := *settings
	last.Year = now.AddDate(-1, 0, 0).Format("06")
	return &last
}

// yearIsSet reports whether an argument, a flag, a variable or a file sets the year.
func yearIsSet(settings *config.Settings) bool { return settings.Origin("year") != "default" }

// mayFollow reports whether another batch may start after a run that ended with status. What
// stopped the run, such as a block, also applies to the next batch. stop is the exit code of a
// received signal, 0 if none.
func mayFollow(status contract.Status, stop int) bool {
	return status == contract.Completed && stop == 0
}

// batchDocument is the JSON result of a batch: the report of the latest run.
type batchDocument struct {
	*contract.Report
	earlierRuns
	// NotStarted is the year of the next batch of batch --new if it was not started.
	NotStarted string `json:"not_started,omitempty"`
	// NotStartedBatches are the series and years of a list that were not started, such as IMM-25.
	NotStartedBatches []string `json:"not_started_batches,omitempty"`
}

// runOneBatch runs one batch and prints its report. next are the batches that follow. follows
// reports whether the first of them may start; with --json the report is then stored for its
// document.
func (p *program) runOneBatch(
	cmd *cobra.Command, flags *batchFlags, args []string, settings *config.Settings, signals *signals,
	next []*config.Settings,
) (follows bool, err error) {
	flags.ResumeCommand = resumeCommand(cmd, args, settings)
	run, err := p.runBatch(cmd.Context(), settings, flags.BatchOptions, signals)
	if err != nil && (!flags.json || run.Report == nil) {
		return false, p.printErrorSummary(errorSummary{errorExitCode(err), err, settings, run.ID, run.lastEvent},
			flags.json)
	}
	stop := signals.exitCode()
	follows = len(next) > 0 && err == nil && mayFollow(run.Status, stop)
	if len(next) > 0 && run.Status == contract.Completed && stop != 0 { // the signal stops the next batch
		p.exitCode = stop
	}
	switch {
	case flags.json && follows:
		ended := p.endedRuns()
		if settings.IDs.IsZero() {
			ended.LastYear = run.Report
		} else {
			ended.Runs = append(slices.Clip(ended.Runs), run.Report)
		}
		p.earlier.Store(&ended)
		return true, nil
	case flags.json:
		document := batchDocument{Report: run.Report, earlierRuns: p.endedRuns()}
		switch {
		case len(next) == 0:
		case settings.IDs.IsZero():
			document.NotStarted = next[0].Year
		default:
			document.NotStartedBatches = batchNames(next)
		}
		return false, errors.Join(err, p.printJSON(document))
	}
	allStarted := len(next) == 0 || follows
	if p.quiet && allStarted && runExitCode(run.State, stop) == codeCompleted {
		return follows, nil
	}
	text := summary(*run.Report, settings.Output, run.File) + restoredText(run.Restored)
	if len(next) > 0 && !follows {
		them := "it"
		if len(next) > 1 {
			them = "them"
		}
		text += fmt.Sprintf("%s: not started; the same command resumes %s and then starts %s\n",
			strings.Join(batchNames(next), ", "), batchName(settings), them)
	}
	return follows, p.print(text)
}

// batchName names the series and year of a batch.
func batchName(s *config.Settings) string { return s.Prefix + "-" + s.Year }

func batchNames(all []*config.Settings) (names []string) {
	for _, s := range all {
		names = append(names, batchName(s))
	}
	return names
}

// resumeCommand returns a function that formats the command line for resuming the batch in a shell.
// It leaves out flags that apply only once and adds the year if it was not given. If from is not 0,
// the command starts there and covers the rest of max_cases.
func resumeCommand(cmd *cobra.Command, args []string, settings *config.Settings) func(from int) string {
	return func(from int) string {
		words := append(strings.Fields(cmd.CommandPath()), args...)
		left := []string{"unblock", "repair", "open"}
		listed := !settings.IDs.IsZero()
		switch {
		case from > 0 && listed:
			left = append(left, "safe-stop-no-records", "safe-stop-consecutive-no-record")
		case from > 0:
			left = append(left, "start", "max-cases")
		}
		words = append(words, givenFlags(cmd, left...)...)
		switch {
		case from > 0 && listed: // a list has no number to start at
			words = append(words, "--safe-stop-no-records", "0")
		case from > 0:
			words = append(words, "--start", strconv.Itoa(from))
			if settings.MaxCases > 0 {
				words = append(words, "--max-cases", strconv.Itoa(settings.MaxCases-(from-settings.Start)))
			}
		}
		if len(args) == 0 && !listed && !yearIsSet(settings) {
			words = append(words, "--year", settings.Year)
		}
		return quoteWords(words)
	}
}

// givenFlags returns the flags that a command line has, as words, but for those in left. Secrets are
// masked.
func givenFlags(cmd *cobra.Command, left ...string) (words []string) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		value := flag.Value.String()
		switch {
		case !flag.Changed || slices.Contains(left, flag.Name):
		case flag.Value.Type() == "bool" && value == "true":
			words = append(words, "--"+flag.Name)
		case flag.Value.Type() == "bool":
			words = append(words, "--"+flag.Name+"="+value)
		case flag.Value.Type() == config.KindSecret:
			words = append(words, "--"+flag.Name, "***")
		default:
			words = append(words, "--"+flag.Name, sanitize.Mask(value))
		}
	})
	return words
}

// quoteWords returns words as a command line of a shell.
func quoteWords(words []string) string {
	for i := range words {
		words[i] = sanitize.Quote(words[i])
	}
	return strings.Join(words, " ")
}
