package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// jsonFlag requests the result as one JSON document.
const jsonFlag = "json"

// program is one invocation of fct-scraper: its environment, output and result.
type program struct {
	environ []string
	stdin   io.Reader
	stdout  *stdoutWriter
	stderr  io.Writer
	// now is the time of the invocation. It determines the default year.
	now time.Time
	// mistakes are the mistakes in flags and arguments.
	mistakes []config.Mistake
	// opensPage reports that the address of the page is to be printed and opened.
	opensPage bool
	// quiet reports that a batch prints nothing if its exit code is 0.
	quiet bool
	// exitCode is the exit code if no error occurs.
	exitCode int
	// jsonWanted reports that a JSON document was requested, jsonWritten that it has been written:
	// stdout holds at most one.
	jsonWanted  bool
	jsonWritten atomic.Bool
	// earlier are the reports of the runs that have ended when another batch follows.
	earlier atomic.Pointer[earlierRuns]
	// display is the progress display of the batch that runs.
	display atomic.Pointer[progressDisplay]
}

// earlierRuns are the reports of the batches that a command ran before its last one.
type earlierRuns struct {
	// LastYear is the report of last year's run, for batch --new.
	LastYear *contract.Report `json:"last_year,omitempty"`
	// Runs are the reports of the earlier series and years of a list.
	Runs []*contract.Report `json:"earlier_runs,omitempty"`
}

// endedRuns returns the reports of the runs that have ended so far.
func (p *program) endedRuns() earlierRuns {
	if ended := p.earlier.Load(); ended != nil {
		return *ended
	}
	return earlierRuns{}
}

// run executes the command line args and returns the exit code. The result goes to stdout,
// everything else to stderr.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdin: os.Stdin, stdout: &stdoutWriter{w: stdout}, stderr: stderr, now: time.Now()}
	return p.run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	p.parse(root, args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = p.stdout.writeErr() // cobra's own commands ignore it
	}
	if err == nil {
		return p.exitCode
	}
	code := errorExitCode(err)
	if errors.Is(err, errResult) && p.exitCode != codeCompleted {
		code = p.exitCode // the outcome of the work is more specific
	}
	// There is nowhere to report a failed write to stderr.
	_, _ = fmt.Fprintf(p.stderr, "fct-scraper: %s\n", errorText(err))
	if p.jsonWanted {
		_ = p.printJSON(p.failureOf(code, err)) // the error is on stderr too
	}
	return code
}

// writeAborted removes the status block and writes the JSON document of a command that is aborted before
// it has a result. It waits at most abortTimeout for stderr and stdout, which may be pipes that nobody
// reads.
func (p *program) writeAborted(code int) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		if display := p.display.Load(); display != nil {
			display.close()
		}
		if p.jsonWanted {
			_ = p.printJSON(p.failureOf(code, errAborted)) // the process exits in any case
		}
	}()
	select {
	case <-written:
	case <-time.After(abortTimeout):
	}
}

// failure is the JSON document of a command without a result.
type failure struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		// Problems are the lines of the message, one for each problem.
		Problems []string `json:"problems"`
	} `json:"error"`
	earlierRuns
}

func (p *program) failureOf(code int, err error) (f failure) {
	f.Error.Code, f.Error.Problems = code, strings.Split(errorText(err), "\n")
	f.Error.Message = strings.Join(f.Error.Problems, "; ")
	f.earlierRuns = p.endedRuns()
	return f
}

// parse parses the command line. Cobra gets only the command and its arguments, except for shell
// completion, which it handles itself.
func (p *program) parse(root *cobra.Command, args []string) {
	if len(args) > 0 && slices.Contains([]string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, args[0]) {
		p.addCompletions(root)
		root.SetArgs(args)
		return
	}
	c := parseCommandLine(root, args, p.environ)
	p.jsonWanted, p.mistakes = c.wantsJSON(), c.mistakes
	root.SetArgs(slices.Concat(c.path(), []string{"--"}, c.arguments))
}

// collectArgErrors makes a command record mistakes in its arguments, to be reported together with
// all others.
func (p *program) collectArgErrors(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			for line := range strings.SplitSeq(errorLines(err), "\n") {
				p.mistakes = append(p.mistakes, config.Mistake{Problem: line})
			}
		}
		return nil
	}
}

// rejectMistakes returns the mistakes of a command without settings. A command with settings
// reports them together with the mistakes in its settings: see sources.
func (p *program) rejectMistakes(cmd *cobra.Command, _ []string) error {
	if len(p.mistakes) == 0 || cmd.Flags().Lookup(configFlag) != nil {
		return nil
	}
	return config.Mistaken(p.mistakes)
}

func (p *program) rootCommand() *cobra.Command {
	flags := &batchFlags{}
	showVersion := false
	root := &cobra.Command{
		Use:   "fct-scraper",
		Short: "Download every file of a court and prove that none is missing",
		Long: "fct-scraper requests each number of a series and year once, distinguishes success, no-record, failed and\n" +
			"blocked, loses nothing in a crash, and ends with a report whose figures add up.",
		Example:           "  fct-scraper --batch --config court.toml\n  fct-scraper batch 2025 --max-cases 50",
		Args:              noSubcommand,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: p.rejectMistakes,
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().NFlag() > 0
			switch {
			case showVersion && len(p.mistakes) == 0 && len(args) == 0:
				return p.printVersion()
			case flags.batch:
				return p.runBatches(cmd, flags, nil)
			case !given && len(p.mistakes) == 0:
				return cmd.Help()
			case given && len(args) == 0 && !cmd.Flags().Changed("help"):
				p.mistakes = append(p.mistakes,
					config.Mistake{Problem: "flags without a command: want one such as batch, or --batch"})
			}
			_, err := p.loadSettings(cmd)
			return err
		},
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	addSettings(root.Flags(), allSettings)
	root.Flags().BoolVar(&showVersion, "version", false, "print the version, as the command version does")
	root.Flags().BoolVar(&flags.batch, "batch", false, "run one batch to its end")
	flags.add(root.Flags())
	flags.addBatchFlags(root.Flags())
	p.addQuietFlag(root.Flags())
	root.AddCommand(p.batchCommand(), p.planCommand(), p.singleCommand(), p.serveCommand(), p.probeCommand(), p.reportCommand(),
		p.explainCommand(),
		p.configCommand(), p.simCommand(), p.versionCommand(), p.healthCommand(), p.runsCommand(),
		p.statusCommand(), p.stopCommand(), p.pauseCommand(), p.resumeCommand(), p.tuneCommand(), p.setupCommand(), p.factsCommand(), p.exportCommand(), p.analyzeCommand(), p.manCommand())
	completeLibraryCommands(root)
	groupCommands(root)
	p.wrapHelp(root)
	eachCommand(root, p.collectArgErrors)
	eachCommand(root, func(cmd *cobra.Command) { cmd.Flags().VisitAll(showDefault) })
	return root
}
