package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
)

func (p *program) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "report --run <id>", Short: "Write the files of a run again from the store",
		Args:    runFlagArgs(true),
		Example: "  fct-scraper report --run imm-25-20261125t101500z-1",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "the run, as its report names it")
	asJSON := cmd.Flags().Bool("json", false, "print the report as one JSON document")
	var repair bool
	addRepairFlag(cmd.Flags(), &repair)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		run, err := contract.ParseRunID(*name)
		if err != nil {
			return fmt.Errorf("%w: --run: %w", errUsage, err)
		}
		report, file, restored, err := p.rewriteReport(cmd.Context(), settings, run, repair)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(report)
		}
		return p.print(summary(report, settings.Output, file) + restoredText(restored))
	}
	return cmd
}

func (p *program) rewriteReport(
	ctx context.Context, settings *config.Settings, run contract.RunID, repair bool,
) (report contract.Report, file string, restored []string, err error) {
	if err := checkStoreExists(settings.Config); err != nil {
		return report, "", nil, fmt.Errorf("writing the report of %s: %w", run, err)
	}
	log := newLogger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr)
	err = retryIfHolderEnded(func() (err error) {
		broker, err := openBroker(ctx, settings.Config, connectOptions{repair: repair, readOnly: true}, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, broker.close()) }()
		restored = broker.restored
		report, file, err = rewriteFrom(ctx, broker, settings, run, log)
		return broker.markHolderEnded(err)
	})
	return report, file, restored, err
}

// rewriteFrom writes the files of a run again from the store of the broker.
func rewriteFrom(
	ctx context.Context, broker *broker, settings *config.Settings, run contract.RunID, log *slog.Logger,
) (report contract.Report, file string, err error) {
	if m, err := runs.Manifest(ctx, broker.runs, run); err == nil && m.Origin != "" {
		if err := checkOutputOrigin(settings.Output, m.Origin); err != nil {
			return report, "", err
		}
	}
	output, err := store.Open(settings.Output)
	if err != nil {
		return report, "", err
	}
	defer func() { err = errors.Join(err, output.Close()) }()
	report, file, err = reporter.Rewrite(ctx,
		reporter.Options{Bus: broker.Bus, Store: output, Logger: log, Version: version(), Ledger: storeName(settings)},
		run)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = fmt.Errorf("%w: --run %s: allowed is the id of a run of this store", errUsage, run)
	}
	return report, file, err
}
