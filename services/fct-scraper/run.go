package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// jsonFlag asks for the result as one JSON document.
const jsonFlag = "json"

// program is one call of fct-scraper: what it was given from outside, and how it ends.
type program struct {
	environ []string
	stdout  *stdoutWriter
	stderr  io.Writer
	// now is when it was called; it gives the default year.
	now time.Time
	// mistakes are what is wrong with the flags and arguments of the call.
	mistakes []config.Mistake
	// exitCode is what a command that did its work ends with.
	exitCode int
	// jsonWanted says that the call asks for a JSON document, document that one was written: stdout holds at most one.
	jsonWanted  bool
	jsonWritten atomic.Bool
	// lastYearReport is the report of last year's run, once this year's batch follows it.
	lastYearReport atomic.Pointer[contract.Report]
}

// run does what args ask for and returns the exit code. The result goes to stdout, everything else to stderr.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	return (&program{environ: environ, stdout: &stdoutWriter{w: stdout}, stderr: stderr, now: time.Now()}).run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	p.parse(root, args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = p.stdout.writeErr() // the library's own commands do not look
	}
	if err == nil {
		return p.exitCode
	}
	code := errorExitCode(err)
	if errors.Is(err, errResult) && p.exitCode != codeCompleted {
		code = p.exitCode // how the work ended says more
	}
	// What cannot be said on stderr cannot be said at all.
	_, _ = fmt.Fprintf(p.stderr, "fct-scraper: %s\n", errorText(err))
	if p.jsonWanted {
		_ = p.printJSON(p.failureOf(code, err)) // stderr has it too
	}
	return code
}

// writeAborted writes the document of a command that is ended before it has a result. It waits for stdout for a second at most.
func (p *program) writeAborted(code int) {
	if !p.jsonWanted {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = p.printJSON(p.failureOf(code, errAborted)) // nobody is left to be told
	}()
	select {
	case <-written:
	case <-time.After(time.Second):
	}
}

// failure is the one document that a command with --json writes when it has no result.
type failure struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		// Problems are the lines of the message, one a problem.
		Problems []string `json:"problems"`
	} `json:"error"`
	// LastYear is the report of the run that had ended before.
	LastYear *contract.Report `json:"last_year,omitempty"`
}

func (p *program) failureOf(code int, err error) (f failure) {
	f.Error.Code, f.Error.Problems = code, strings.Split(errorText(err), "\n")
	f.Error.Message = strings.Join(f.Error.Problems, "; ")
	f.LastYear = p.lastYearReport.Load()
	return f
}

// parse reads the command line. The library is left with the command and its arguments, and completes the words of a shell itself.
func (p *program) parse(root *cobra.Command, args []string) {
	if len(args) > 0 && slices.Contains([]string{cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, args[0]) {
		root.SetArgs(args)
		return
	}
	c := parseCommandLine(root, args, p.environ)
	p.jsonWanted, p.mistakes = c.wantsJSON(), c.mistakes
	root.SetArgs(slices.Concat(c.path(), []string{"--"}, c.arguments))
}

// collectArgErrors has what a command finds wrong with its arguments told together with everything else that is wrong.
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

// rejectMistakes ends a command that has no settings when something is wrong with its flags or arguments. One that has reads them first, and tells
// what is wrong with them too: see sources.
func (p *program) rejectMistakes(cmd *cobra.Command, _ []string) error {
	if len(p.mistakes) == 0 || cmd.Flags().Lookup(configFlag) != nil {
		return nil
	}
	return config.Mistaken(p.mistakes)
}

func (p *program) rootCommand() *cobra.Command {
	flags := &batchFlags{}
	root := &cobra.Command{
		Use:   "fct-scraper",
		Short: "Collect every file of a court, completely, politely and provably",
		Long: "fct-scraper asks a court for each number of a series and year once, tells success from no-record, failed and\n" +
			"blocked, survives any crash, and ends with a report whose figures add up.",
		Example:           "  fct-scraper --batch --config court.toml\n  fct-scraper batch 2025 --max-cases 50",
		Args:              noSubcommand,
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: p.rejectMistakes,
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().NFlag() > 0
			switch {
			case flags.batch:
				return p.runBatches(cmd, flags, nil)
			case !given && len(p.mistakes) == 0:
				return cmd.Help()
			case given && len(args) == 0 && !cmd.Flags().Changed("help"):
				p.mistakes = append(p.mistakes, config.Mistake{Problem: "flags without a command: want one such as batch, or --batch"})
			}
			_, err := p.loadSettings(cmd)
			return err
		},
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	addSettings(root.Flags(), allSettings)
	root.Flags().BoolVar(&flags.batch, "batch", false, "run one batch to its end")
	flags.add(root.Flags())
	flags.addNewFlag(root.Flags())
	root.AddCommand(p.batchCommand(), p.serveCommand(), p.probeCommand(), p.reportCommand(), p.explainCommand(), p.configCommand(), p.simCommand(), p.versionCommand(), p.healthCommand(),
		p.runsCommand(), p.statusCommand(), p.stopCommand(), p.setupCommand())
	completeLibraryCommands(root)
	eachCommand(root, p.collectArgErrors)
	return root
}
