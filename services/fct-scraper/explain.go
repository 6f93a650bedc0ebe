package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
)

func (p *program) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain <case-id>", Short: "Tell the whole life of one number: every attempt, answer and decision, with times", Args: oneCase,
		Example: "  fct-scraper explain IMM-231-25\n  fct-scraper explain IMM-231-25 --json --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), forStore())
	asJSON := cmd.Flags().Bool("json", false, "print the life as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		settings, err := p.settings(cmd)
		if err != nil {
			return err
		}
		id, err := contract.ParseCaseID(args[0])
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		life, err := p.explain(cmd.Context(), settings, id)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(life)
		}
		return p.print(lifeText(life, settings.Output))
	}
	return cmd
}

// oneCase lets a command have one argument, a case id.
func oneCase(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("argument <case-id> is missing: allowed is <series>-<number>-<yy>, such as IMM-231-25")
	}
	_, err := contract.ParseCaseID(args[0])
	return errors.Join(err, takes(1)(cmd, args))
}

// explain reads a life out of the store, which stays as it is: no stream is made, no run is marked as stopped.
func (p *program) explain(ctx context.Context, settings *config.Settings, id contract.CaseID) (life reporter.History, err error) {
	if err := stored(settings.Config); err != nil {
		return life, fmt.Errorf("explaining %s: %w", id, err)
	}
	log := logger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr)
	there, forget := filesOf(settings.Output)
	defer forget()
	err = outliving(func() (err error) {
		b, err := lookAt(ctx, settings.Config, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.close()) }()
		if err := b.verify(ctx, settings.Config, log); err != nil {
			return err
		}
		life, err = reporter.Explain(ctx, b.Bus, id, there)
		return b.cutOff(err)
	})
	switch {
	case err == nil, errors.Is(err, reporter.ErrLedger):
		return life, err
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return life, fmt.Errorf("%w: no run was ever started on this store: %w", errUsage, err)
	default:
		return life, fmt.Errorf("%w: %w", errBroker, err)
	}
}

// lookAt connects to a store as openBroker does, for one who only reads.
func lookAt(ctx context.Context, c config.Config, log *slog.Logger) (*broker, error) {
	b, nc, err := connect(ctx, c, access{}, log)
	if err != nil {
		return nil, err
	}
	if b.Bus, err = bus.New(nc, log, bus.Options{}); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errBroker, err), b.close())
	}
	return b, nil
}

// filesOf says which files are in the output folder, links that lead out of it not followed. A folder that is not there has
// none, and is not made.
func filesOf(output string) (there func(name string) bool, done func()) {
	root, err := os.OpenRoot(output)
	if err != nil {
		return func(string) bool { return false }, func() {}
	}
	there = func(name string) bool {
		info, err := root.Stat(name)
		return err == nil && info.Mode().IsRegular()
	}
	return there, func() { _ = root.Close() } // it was only read
}
