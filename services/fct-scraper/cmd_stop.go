package main

import (
	"context"
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stop --run <id>", Short: "Stop a run; starting the same batch again resumes it",
		Args:    runFlagArgs(true),
		Example: "  fct-scraper stop --run imm-25-20261125t101500z-1 --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "the run")
	cmd.Flags().Bool(jsonFlag, false, "print the status of the run as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runtime.Runs) error {
			s, err := r.Named(ctx, *name)
			if err != nil {
				return err
			}
			if s.Status == contract.Running {
				if err := r.Stop(ctx, s.RunID); err != nil {
					return err
				}
				if s, err = r.Named(ctx, *name); err != nil {
					return err
				}
			}
			text := statusText(s)
			if s.Status == contract.Running {
				text = fmt.Sprintf("%s stops: cases in flight are finished\n", s.RunID)
			}
			return p.printResult(s, text)
		})
	}
	return cmd
}
