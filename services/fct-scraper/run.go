package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// program is one call of fct-scraper: what it was given from outside, and how it ends.
type program struct {
	environ []string
	stdout  io.Writer
	stderr  io.Writer
	// begun says that a command's own work has begun: what went wrong before it is a mistake in the call.
	begun bool
	// code is what a command that did its work ends with.
	code int
}

// run does what args ask for and returns the exit code. The result goes to stdout, everything else to stderr.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdout: stdout, stderr: stderr}
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return p.code
	}
	// What cannot be said on stderr cannot be said at all.
	_, _ = fmt.Fprintf(stderr, "fct-scraper: %s\n", shownError(err))
	if !p.begun {
		return codeUsage
	}
	return codeOf(err)
}

func (p *program) rootCommand() *cobra.Command {
	flags := &batchFlags{}
	root := &cobra.Command{
		Use:   "fct-scraper",
		Short: "Collect every file of a court, completely, politely and provably",
		Long: "fct-scraper asks a court for each number of a series and year once, tells success from no-record, failed and\n" +
			"blocked, survives any crash, and ends with a report whose figures add up.",
		Example:          "  fct-scraper --batch --config config.toml\n  fct-scraper batch 2025 --max-cases 50",
		Args:             cobra.NoArgs,
		SilenceUsage:     true,
		SilenceErrors:    true,
		PersistentPreRun: func(*cobra.Command, []string) { p.begun = true },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !flags.batch {
				return cmd.Help()
			}
			return p.batch(cmd, flags, nil)
		},
	}
	addSettings(root.PersistentFlags())
	root.Flags().BoolVar(&flags.batch, "batch", false, "run one batch to its end")
	flags.add(root.Flags())
	flags.addNew(root.Flags())
	root.AddCommand(p.batchCommand(), p.serveCommand(), p.probeCommand(), p.reportCommand(), p.explainCommand(), p.configCommand(), p.simCommand(), p.versionCommand(), p.healthCommand(),
		p.runsCommand(), p.statusCommand(), p.stopCommand(), p.setupCommand())
	return root
}
