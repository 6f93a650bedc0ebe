package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/store"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// batchFlags are the flags of a batch that are no settings.
type batchFlags struct {
	batch, json, unblock bool
}

func (f *batchFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "print the report as one JSON document")
	flags.BoolVar(&f.unblock, "unblock", false, "ask again although the site told us to go away")
}

// lastWords is how long a stopped process may stay beyond graceful_shutdown_timeout; a second is promised.
const lastWords = 900 * time.Millisecond

func (p *program) batchCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use: "batch [<year>]", Short: "Run one batch to its end and print its summary", Args: cobra.MaximumNArgs(1),
		Example: "  fct-scraper batch 2025 --max-cases 50\n  fct-scraper batch --config config.toml --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			year := ""
			if len(args) > 0 {
				year = args[0]
			}
			return p.batch(cmd, flags, year)
		},
	}
	flags.add(cmd.Flags())
	return cmd
}

// batch runs one batch, all services in this process, until it ends or a signal stops it.
func (p *program) batch(cmd *cobra.Command, flags *batchFlags, year string) error {
	more := make(map[string]string)
	if year != "" {
		digits, err := config.ParseYear(year)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		more["year"] = digits
	}
	settings, err := p.settings(cmd, more)
	if err != nil {
		return err
	}
	signals := listen(settings.GracefulShutdownTimeout.Std() + lastWords)
	defer signals.close()
	screen := newScreen(p.stderr, settings.Config, p.environ)
	defer screen.close()
	state, err := p.work(cmd.Context(), settings, flags.unblock, signals, screen)
	screen.close()
	if err != nil {
		return err
	}
	p.code = codeOfRun(state, signals.code())
	if state.Report == nil {
		return fmt.Errorf("running the batch: %s: %s", state.Status, state.Reason)
	}
	if flags.json {
		return p.printJSON(state.Report)
	}
	return p.print(summary(*state.Report, settings.Output, state.File))
}

// work opens everything, runs the batch and closes everything.
func (p *program) work(ctx context.Context, settings *config.Settings, unblock bool, signals *signals, screen *screen) (state contract.State, err error) {
	log := logger(settings.Config, p.environ, screen.terminal, screen)
	announce(log, settings.Config)
	broker, err := openBroker(ctx, settings.Config, log)
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, broker.close()) }()
	output, err := store.Open(settings.Output)
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	court, err := openCourt(settings.Config)
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, court.close()) }()
	h := house{settings: settings, broker: broker, court: court, output: output, log: log, fetcher: nameOf(broker), unblock: unblock}
	return h.run(ctx, signals, screen)
}

// nameOf names this process's fetcher: always alike on a store of its own, so that a killed process leaves no place
// taken behind.
func nameOf(b *broker) string {
	if b.embedded {
		return "embedded"
	}
	return fmt.Sprintf("process-%d", os.Getpid())
}

// run sets the services to work, starts the batch and waits for its end. An error of a service ends it early.
func (h house) run(ctx context.Context, signals *signals, screen *screen) (contract.State, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, working := errgroup.WithContext(ctx)
	if err := h.open(working, group); err != nil {
		return contract.State{}, err
	}
	var state contract.State
	group.Go(func() (err error) {
		state, err = h.batch(working, signals, screen)
		cancel() // the services have nothing more to do
		return err
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = context.Cause(working)
	}
	return state, err
}

// announce says which settings are not carried out yet.
func announce(log *slog.Logger, c config.Config) {
	if c.HTTPAddr != "" {
		log.Warn("setting.unused", "key", "http_addr", "reason", "pages and metrics are not served yet")
	}
	if c.Robots && c.Site != simSite {
		log.Warn("setting.unused", "key", "robots", "reason", "robots.txt is not read yet")
	}
}
