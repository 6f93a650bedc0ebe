package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// order is what is wanted of a batch beside its settings.
type order struct {
	// unblock asks again although the site told us to go away.
	unblock bool
	// probeOnly finds the bound and does nothing else; onlyNew goes on above the highest record that is collected.
	probeOnly, onlyNew bool
	// repair accepts a store of which the ledger is not what it was.
	repair bool
	// command is the call that goes on with the batch, from a number on when that is not 0.
	command func(from int) string
}

// batchFlags are the flags of a batch that are no settings.
type batchFlags struct {
	order
	batch, json bool
}

func (f *batchFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "print the result as one JSON document")
	flags.BoolVar(&f.unblock, "unblock", false, "ask again although the site told us to go away")
	addRepair(flags, &f.repair)
}

// addRepair adds the flag of those who may accept a damaged store.
func addRepair(flags *pflag.FlagSet, repair *bool) {
	flags.BoolVar(repair, "repair", false, "accept a damaged or older store in data_dir as it is; what it lost is asked for again")
}

// addNew adds the flag of those who run a batch every day.
func (f *batchFlags) addNew(flags *pflag.FlagSet) {
	flags.BoolVar(&f.onlyNew, "new", false, "collect what is new: no-records above the highest record are asked for again; "+
		"without a year, last year's first in January and February")
}

// ended is how a run ended, and what it was.
type ended struct {
	contract.State
	// id is the run's, last its newest progress; both are empty when it did not come so far.
	id       contract.RunID
	last     contract.Event
	manifest contract.Manifest
	// restored is what was rebuilt of the store before.
	restored []string
}

// lastWords is how long a stopped process may stay beyond graceful_shutdown_timeout; a second is promised.
const lastWords = 900 * time.Millisecond

func (p *program) batchCommand() *cobra.Command {
	flags := &batchFlags{}
	cmd := &cobra.Command{
		Use: "batch [<year>]", Short: "Run one batch to its end and print its summary", Args: takes(1),
		Long: "batch runs one batch to its end and prints its summary.\n\n" +
			"In January and February `batch --new` runs two batches unless an argument, a flag, a variable or the file gives\n" +
			"the year: last year's and, when that has completed, this year's. start, end and max_cases hold for each of them.\n" +
			"--json prints this year's report, with last year's report under last_year. When this year's batch is not started,\n" +
			"it prints last year's report, with the year that is left under not_started. The exit code is the worse one: any\n" +
			"other code is worse than 3, and 3 (some numbers failed or are unconfirmed) is worse than 0.",
		Example: "  fct-scraper batch 2025 --max-cases 50\n  fct-scraper batch --config court.toml --json\n  fct-scraper batch --new",
		RunE:    func(cmd *cobra.Command, args []string) error { return p.batch(cmd, flags, args) },
	}
	addSettings(cmd.Flags(), all)
	flags.add(cmd.Flags())
	flags.addNew(cmd.Flags())
	return cmd
}

// batchSettings are the settings of a command whose argument may be the year.
func (p *program) batchSettings(cmd *cobra.Command, args []string) (*config.Settings, error) {
	src := p.sources(cmd)
	if len(args) > 0 {
		src.Arguments = map[string]string{"year": args[0]}
	}
	src.Asks = true
	return config.Load(src)
}

// listen takes the signals that stop a batch of those settings.
func (p *program) listen(settings *config.Settings) *signals {
	return listen(settings.GracefulShutdownTimeout.Std()+lastWords, p.cutOff)
}

// runBatch runs a batch, all services in this process, until it ends or a signal stops it. The exit code is that of its
// run, or, when that is 0, of the run before it.
func (p *program) runBatch(ctx context.Context, settings *config.Settings, wanted order, signals *signals) (ended, error) {
	screen := newScreen(p.stderr, settings.Config, p.environ)
	defer screen.close()
	run, err := p.work(ctx, settings, wanted, signals, screen)
	run.last = screen.newest()
	if err != nil {
		return run, err
	}
	p.code = cmp.Or(codeOfRun(run.State, signals.code()), p.code)
	if wrong := reporter.StateError(run.State); wrong != nil && run.Report == nil {
		return run, fmt.Errorf("running the batch: run %s: %w", run.manifest.RunID, wrong)
	}
	if run.Report == nil {
		return run, fmt.Errorf("running the batch: %s: %s", run.Status, run.Reason)
	}
	return run, nil
}

// work opens everything, runs the batch and closes everything.
func (p *program) work(ctx context.Context, settings *config.Settings, wanted order, signals *signals, screen *screen) (run ended, err error) {
	if err := checkOpenFiles(settings.Config, openFilesLimit()); err != nil {
		return run, err
	}
	log := logger(settings.Config, p.environ, screen.terminal, screen)
	if screen.style == "tty" {
		log = slog.New(caseEventsAtDebug{log.Handler()})
	}
	court, err := openCourt(settings.Config, p.environ, log)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, court.close()) }()
	if err := sameFolder(settings.Output, court.Origin); err != nil {
		return run, err
	}
	turn := &turn{settings: settings, wanted: wanted, signals: signals, screen: screen, log: log}
	broker, run, err := turn.take(ctx)
	if err != nil || broker == nil {
		return run, err
	}
	defer func() { err = errors.Join(err, broker.close()) }()
	front := newFront()
	stop, err := front.listen(settings.HTTPAddr, "", log)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	output, err := store.Open(settings.Output)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	h := house{settings: settings, broker: broker, court: court, output: output, log: log, front: front, fetcher: nameOf(broker), process: nuid.Next(), wanted: wanted}
	release, err := reporter.Claim(ctx, h.reporter(), settings.Prefix, settings.Year) // before anything is asked
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, release()) }()
	err = broker.tellHolder(func() holding { return holding{Batch: turn.key, RunID: h.begun.id()} })
	if err != nil {
		return run, err
	}
	err = broker.guard(ctx, log, func(ctx context.Context) (err error) {
		run, err = h.run(ctx, signals, screen)
		return err
	})
	run.restored = broker.restored
	return run, err
}

// nameOf names this process's fetcher: always alike on a store of its own, so that a killed process leaves no place
// taken behind. Elsewhere a number alone would not do: in containers every process has the same.
func nameOf(b *broker) string {
	if !b.shared {
		return "embedded"
	}
	return fmt.Sprintf("process-%d-%s", os.Getpid(), nuid.Next())
}

// run sets the services to work, starts the batch and waits for its end. An error of a service ends it early.
func (h *house) run(ctx context.Context, signals *signals, screen *screen) (ended, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, working := errgroup.WithContext(ctx)
	if err := h.open(working, group, allServices()); err != nil {
		return ended{}, err
	}
	var run ended
	group.Go(func() (err error) {
		run, err = h.batch(working, signals, screen)
		cancel() // the services have nothing more to do
		return err
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		err = context.Cause(working)
	}
	return run, err
}
