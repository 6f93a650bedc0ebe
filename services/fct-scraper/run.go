package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// jsonFlag asks for the result as one JSON document.
const jsonFlag = "json"

// program is one call of fct-scraper: what it was given from outside, and how it ends.
type program struct {
	environ []string
	stdout  io.Writer
	stderr  io.Writer
	// now is when it was called; it gives the default year.
	now time.Time
	// begun says that a command's own work has begun: what went wrong before it is a mistake in the call.
	begun bool
	// code is what a command that did its work ends with.
	code int
	// json says that the call asks for a JSON document, document that one was written: stdout holds at most one.
	json     bool
	document atomic.Bool
	// lastYear is the report of last year's run, once this year's batch follows it.
	lastYear atomic.Pointer[contract.Report]
}

// run does what args ask for and returns the exit code. The result goes to stdout, everything else to stderr.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	return (&program{environ: environ, stdout: stdout, stderr: stderr, now: time.Now()}).run(ctx, args)
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	args = joinValues(root, args)
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	p.json = asksForJSON(root, args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return p.code
	}
	code := codeUsage
	if p.begun {
		code = codeOf(err)
	}
	// What cannot be said on stderr cannot be said at all.
	_, _ = fmt.Fprintf(p.stderr, "fct-scraper: %s\n", shownError(err))
	if p.json {
		_ = p.printJSON(p.failureOf(code, err)) // stderr has it too
	}
	return code
}

// cutOff writes the document of a command that is ended before it has a result. It waits for stdout for a second at most.
func (p *program) cutOff(code int) {
	if !p.json {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_ = p.printJSON(p.failureOf(code, errCutOff)) // nobody is left to be told
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
	f.Error.Code, f.Error.Problems = code, strings.Split(shownError(err), "\n")
	f.Error.Message = strings.Join(f.Error.Problems, "; ")
	f.LastYear = p.lastYear.Load()
	return f
}

// asksForJSON says whether args ask a command that can for a JSON document. It reads the args itself: the flags of a call that is refused
// may never have been parsed.
func asksForJSON(root *cobra.Command, args []string) (asks bool) {
	cmd, _, err := root.Find(args)
	if err == nil && cmd.Flags().Lookup(jsonFlag) == nil {
		return false
	}
	for _, arg := range args {
		name, value, given := strings.Cut(arg, "=")
		switch {
		case arg == "--":
			return asks
		case name != "--"+jsonFlag:
		case given:
			asks, err = strconv.ParseBool(value)
			asks = asks || err != nil // a value that is refused
		default:
			asks = true
		}
	}
	return asks
}

func (p *program) rootCommand() *cobra.Command {
	flags := &batchFlags{}
	root := &cobra.Command{
		Use:   "fct-scraper",
		Short: "Collect every file of a court, completely, politely and provably",
		Long: "fct-scraper asks a court for each number of a series and year once, tells success from no-record, failed and\n" +
			"blocked, survives any crash, and ends with a report whose figures add up.",
		Example:          "  fct-scraper --batch --config court.toml\n  fct-scraper batch 2025 --max-cases 50",
		Args:             noCommand,
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { p.begun = true },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !flags.batch && cmd.Flags().NFlag() > 0 {
				return fmt.Errorf("%w: flags without a command: want one such as batch, or --batch", errUsage)
			}
			if !flags.batch {
				return cmd.Help()
			}
			return p.batch(cmd, flags, nil)
		},
	}
	root.SetFlagErrorFunc(flagError)
	addSettings(root.Flags(), all)
	root.Flags().BoolVar(&flags.batch, "batch", false, "run one batch to its end")
	flags.add(root.Flags())
	flags.addNew(root.Flags())
	root.AddCommand(p.batchCommand(), p.serveCommand(), p.probeCommand(), p.reportCommand(), p.explainCommand(), p.configCommand(), p.simCommand(), p.versionCommand(), p.healthCommand(),
		p.runsCommand(), p.statusCommand(), p.stopCommand(), p.setupCommand())
	checkHelpTopic(root)
	return root
}
