package main

import (
	"fct-scraper/pkg/contract"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "report --run <id>", Short: "Write the files of a run again from the store",
		Args:    runFlagArgs(true),
		Example: "  fct-scraper report --run imm-25-20261125t101500z-1",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "id of the run, as the command runs prints it")
	cmd.Flags().Bool(jsonFlag, false, "print the report as one JSON document")
	var repair bool
	addRepairFlag(cmd.Flags(), &repair)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		run, err := contract.ParseRunID(*name)
		if err != nil {
			return runtime.Usagef("--run: %w", err)
		}
		report, file, restored, err := p.process(settings).Rewrite(cmd.Context(), run, repair)
		if err != nil {
			return err
		}
		return p.printResult(report, summary(report, settings.Output, file)+restoredText(restored))
	}
	return cmd
}
