package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// simFlags are the number space and the faults of a simulator. Those that are parsed further are as
// typed.
type simFlags struct {
	courtsim.Options
	addr, block, robots string
	gaps, faults        []string
}

func (p *program) simCommand() *cobra.Command {
	f := &simFlags{}
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run the bundled court simulator as an HTTP server",
		Long: "Run the bundled court simulator as an HTTP server: the court's JSON calls and its HTML form,\n" +
			"in English and French, with files of invented people. /__stats returns all requests as JSON,\n" +
			"/__truth?from=1&to=100 which numbers exist.\n\n" +
			"Kinds of faults:\n" + courtsim.FaultHelp(),
		Example: "  fct-scraper sim --addr 127.0.0.1:8090 --max 2000 --missing 0.1 --fault 500:0.2\n" +
			"  fct-scraper sim --max 500 --block-after 100:429-bare",
	}
	var options courtsim.Options
	cmd.Args = func(cmd *cobra.Command, args []string) (err error) {
		options, err = f.options(p.environ)
		return errors.Join(err, maxArgs(0)(cmd, args))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.simulate(cmd.Context(), f.addr, options) }
	f.add(cmd.Flags())
	return cmd
}

func (f *simFlags) add(flags *pflag.FlagSet) {
	f.Options = courtsim.DefaultOptions()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8090", "loopback address to listen on; port 0 picks a free one")
	flags.Uint64Var(&f.Seed, "seed", f.Seed, "seed of the invented files: the same seed gives the same answers")
	flags.IntVar(&f.Max, "max", f.Max, "highest number that exists")
	flags.Float64Var(&f.Missing, "missing", f.Missing, "share of numbers that do not exist, 0 to 1")
	flags.StringArrayVar(&f.gaps, "gap", nil, "numbers that do not exist, from-to (repeatable)")
	flags.DurationVar(&f.Latency, "latency", 0, "wait before each answer")
	flags.IntVar(&f.TokenLife, "token-life", 0,
		"number of posts for which the tokens of an HTML page are valid; 0 is unlimited")
	flags.StringArrayVar(&f.faults, "fault", nil,
		"kind:share[:times|:forever], a share of the numbers (repeatable); kinds: see above")
	flags.StringVar(&f.block, "block-after", "",
		"n:kind, every answer from the n-th request on is this block: "+strings.Join(courtsim.BlockKinds(), " "))
	flags.IntVar(&f.SoftBlockAfter, "soft-block-after", 0, "no case exists from this request on; 0 is never")
	flags.StringVar(&f.Division, "division", courtsim.DivisionAny,
		"value of division that the docket call accepts: number is division=IMM-1-25, t is the letter, any is both")
	flags.StringVar(&f.robots, "robots", "", `robots.txt: a file, or the text with \n between lines; none by default`)
}

// options parses the flags. The error joins all mistakes.
func (f *simFlags) options(environ []string) (courtsim.Options, error) {
	options := f.Options
	var problems []error
	for _, text := range f.gaps {
		gap, err := courtsim.ParseGap(text)
		problems = append(problems, err)
		options.Gaps = append(options.Gaps, gap)
	}
	for _, text := range f.faults {
		fault, err := courtsim.ParseFault(text)
		problems = append(problems, err)
		options.Faults = append(options.Faults, fault)
	}
	var err error
	if f.block != "" {
		options.BlockAfter, err = courtsim.ParseBlock(f.block)
		problems = append(problems, err)
	}
	options.Robots, err = robotsText(f.robots, environ)
	problems = append(problems, err)
	return options, errors.Join(problems...)
}

// robotsText returns the text of robots.txt. typed is that text if it contains a colon, as every
// rule does, else the name of a file.
func robotsText(typed string, environ []string) (string, error) {
	if typed == "" || strings.Contains(typed, ":") {
		return strings.ReplaceAll(typed, `\n`, "\n"), nil
	}
	path, err := config.ExpandHome(typed, environ)
	if err != nil {
		return "", fmt.Errorf("--robots: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading --robots: %w", err)
	}
	return string(text), nil
}

// simulate runs the simulator until a signal arrives.
func (p *program) simulate(ctx context.Context, addr string, options courtsim.Options) error {
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	server, err := runtime.StartSimulator(addr, options)
	if err != nil {
		return err
	}
	if err := p.print(server.URL + "\n"); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}
