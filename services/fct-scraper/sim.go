package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"fct-scraper/pkg/courtsim"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// simFlags are the number space and the faults of a simulator, as they are typed.
type simFlags struct {
	addr    string
	seed    uint64
	highest int
	missing float64
	gaps    []string
	latency time.Duration
	faults  []string
	tokens  int
}

func (p *program) simCommand() *cobra.Command {
	f := &simFlags{}
	cmd := &cobra.Command{
		Use: "sim", Short: "Run the bundled court simulator as an HTTP server", Args: cobra.NoArgs,
		Example: "  fct-scraper sim --addr 127.0.0.1:8090 --max 2000 --missing 0.1 --fault 500:0.2",
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.simulate(cmd.Context(), f) },
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *simFlags) add(flags *pflag.FlagSet) {
	usual := courtsim.DefaultOptions()
	flags.StringVar(&f.addr, "addr", "127.0.0.1:8090", "address of this machine to listen on; port 0 picks one")
	flags.Uint64Var(&f.seed, "seed", usual.Seed, "which court: the same seed gives the same answers")
	flags.IntVar(&f.highest, "max", usual.Max, "highest number that exists")
	flags.Float64Var(&f.missing, "missing", usual.Missing, "share of numbers that do not exist, 0 to 1")
	flags.StringArrayVar(&f.gaps, "gap", nil, "numbers that do not exist, from-to (repeatable)")
	flags.DurationVar(&f.latency, "latency", 0, "wait before each answer")
	flags.IntVar(&f.tokens, "token-life", 0, "posts that the tokens of a page of the HTML face are good for; 0 is any number")
	flags.StringArrayVar(&f.faults, "fault", nil,
		"kind:share[:times|:forever], a share of the numbers (repeatable); kinds: "+strings.Join(courtsim.FaultKinds(), " "))
}

// options reads what was typed; every mistake is told.
func (f *simFlags) options() (courtsim.Options, error) {
	options := courtsim.Options{Seed: f.seed, Max: f.highest, Missing: f.missing, Latency: f.latency, TokenLife: f.tokens}
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
	if err := errors.Join(problems...); err != nil {
		return options, fmt.Errorf("%w: %w", errUsage, err)
	}
	return options, nil
}

// simulate serves until a signal ends it.
func (p *program) simulate(ctx context.Context, f *simFlags) (err error) {
	options, err := f.options()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := startSimulator(f.addr, options)
	if err != nil {
		return err
	}
	if err := p.print(server.URL + "\n"); err != nil {
		return errors.Join(err, server.Close())
	}
	<-ctx.Done()
	return server.Close()
}
