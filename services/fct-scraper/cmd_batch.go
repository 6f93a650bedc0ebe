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

// addNewFlag adds --new, for a batch that runs every day.
func (f *batchFlags) addNewFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&f.OnlyNew, "new", false, "collect new cases: no-records above the highest record are requested again; "+
		"without a year, last year's batch runs first in January and February")
}

// runResult is the end of a run with its latest progress event, which is empty if the run did not get
// so far.
type runResult struct {
	runtime.RunResult
	lastEvent contract.Event
}

// exitMargin is how long a stopped process may take beyond graceful_shutdown_timeout. The contract
// allows a second.
const exitMargin = 900 * time.Millisecond

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
			"other code is worse than 3, and 3 (some numbers failed or are unconfirmed) is worse than 0.",
		Example: "  fct-scraper batch 2025 --max-cases 50\n" +
			"  fct-scraper batch --config court.toml --json\n  fct-scraper batch --new",
		RunE: func(cmd *cobra.Command, args []string) error { return p.runBatches(cmd, flags, args) },
	}
	addSettings(cmd.Flags(), allSettings)
	flags.add(cmd.Flags())
	flags.addNewFlag(cmd.Flags())
	return cmd
}

// batchSettings loads the settings of a command whose argument may be the year.
func (p *program) batchSettings(cmd *cobra.Command, args []string) (*config.Settings, error) {
	src := p.sources(cmd)
	if len(args) > 0 {
		src.Arguments = map[string]string{"year": args[0]}
	}
	src.SendsRequests = true
	return config.Load(src)
}

// listenSignals starts to receive the signals that stop a batch.
func (p *program) listenSignals(settings *config.Settings) *signals {
	return listenSignals(settings.GracefulShutdownTimeout+exitMargin, p.writeAborted)
}

// runBatch runs a batch with all services in this process until it ends or a signal stops it. It
// sets the exit code to that of this run, or if that is 0 to that of the run before it.
func (p *program) runBatch(
	ctx context.Context, settings *config.Settings, options runtime.BatchOptions, signals *signals,
) (runResult, error) {
	display := newProgressDisplay(p.stderr, settings.Config, p.environ)
	defer display.close()
	log := newLogger(settings.Config, p.environ, display.terminal, display)
	if display.style == "tty" {
		log = slog.New(caseEventsAtDebug{log.Handler()})
	}
	options.Stop = signals
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

// runBatches runs the batch of the settings, after last year's batch if lastYearSettings returns
// one, and prints the report.
func (p *program) runBatches(cmd *cobra.Command, flags *batchFlags, args []string) error {
	settings, err := p.batchSettings(cmd, args)
	if err != nil {
		return err
	}
	signals := p.listenSignals(settings)
	defer signals.close()
	if last := lastYearSettings(settings, flags.OnlyNew, p.now); last != nil {
		if follows, err := p.runOneBatch(cmd, flags, args, last, signals, settings.Year); err != nil || !follows {
			return err
		}
	}
	_, err = p.runOneBatch(cmd, flags, args, settings, signals, "")
	return err
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
	// LastYear is the report of last year's run if this year's run followed it.
	LastYear *contract.Report `json:"last_year,omitempty"`
	// NotStarted is the year of the next batch if it was not started.
	NotStarted string `json:"not_started,omitempty"`
}

// runOneBatch runs one batch and prints its report. next is the year of the batch that follows, ""
// if none. follows reports whether that one may start; with --json the report is then stored for
// its document.
func (p *program) runOneBatch(
	cmd *cobra.Command, flags *batchFlags, args []string, settings *config.Settings, signals *signals, next string,
) (follows bool, err error) {
	flags.ResumeCommand = resumeCommand(cmd, args, settings)
	run, err := p.runBatch(cmd.Context(), settings, flags.BatchOptions, signals)
	if err != nil && (!flags.json || run.Report == nil) {
		return false, p.printErrorSummary(errorSummary{errorExitCode(err), err, settings, run.ID, run.lastEvent}, flags.json)
	}
	stop := signals.exitCode()
	follows = next != "" && err == nil && mayFollow(run.Status, stop)
	if next != "" && run.Status == contract.Completed && stop != 0 { // the signal stops the next batch
		p.exitCode = stop
	}
	switch {
	case flags.json && follows:
		p.lastYearReport.Store(run.Report)
		return true, nil
	case flags.json:
		return false, errors.Join(err, p.printJSON(batchDocument{run.Report, p.lastYearReport.Load(), next}))
	}
	text := summary(*run.Report, settings.Output, run.File) + restoredText(run.Restored)
	if next != "" && !follows {
		text += fmt.Sprintf("%s-%s: not started; the same command resumes %s-%s and then starts it\n",
			settings.Prefix, next, settings.Prefix, settings.Year)
	}
	return follows, p.print(text)
}

// resumeCommand returns a function that formats the command line for resuming the batch in a shell.
// It leaves out flags that apply only once and adds the year if it was not given. If from is not 0,
// the command starts there and covers the rest of max_cases.
func resumeCommand(cmd *cobra.Command, args []string, settings *config.Settings) func(from int) string {
	return func(from int) string {
		words := append(strings.Fields(cmd.CommandPath()), args...)
		left := []string{"unblock", "repair"}
		if from > 0 {
			left = append(left, "start", "max-cases")
		}
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			value := flag.Value.String()
			switch {
			case !flag.Changed || slices.Contains(left, flag.Name):
			case flag.Value.Type() == "bool" && value == "true":
				words = append(words, "--"+flag.Name)
			case flag.Value.Type() == "bool":
				words = append(words, "--"+flag.Name+"="+value)
			default:
				words = append(words, "--"+flag.Name, sanitize.Mask(value))
			}
		})
		if from > 0 {
			words = append(words, "--start", strconv.Itoa(from))
			if settings.MaxCases > 0 {
				words = append(words, "--max-cases", strconv.Itoa(settings.MaxCases-(from-settings.Start)))
			}
		}
		if len(args) == 0 && !yearIsSet(settings) {
			words = append(words, "--year", settings.Year)
		}
		for i := range words {
			words[i] = sanitize.Quote(words[i])
		}
		return strings.Join(words, " ")
	}
}
