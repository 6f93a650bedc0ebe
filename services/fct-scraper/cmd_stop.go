package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// stopLimit is how long a generator may take to reply to a stop. The command stays stored in any
// case.
const stopLimit = 15 * time.Second

func (p *program) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stop --run <id>", Short: "Stop a run; starting the same batch again resumes it",
		Args:    runFlagArgs(true),
		Example: "  fct-scraper stop --run imm-25-20261125t101500z-1 --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "the run")
	asJSON := cmd.Flags().Bool("json", false, "print the status of the run as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withRuns(cmd, func(ctx context.Context, r runReader) error {
			s, err := r.named(ctx, *name)
			if err != nil {
				return err
			}
			if s.Status == contract.Running {
				if err := r.broker.stopRun(ctx, s.RunID); err != nil {
					return err
				}
				if s, err = r.named(ctx, *name); err != nil {
					return err
				}
			}
			if *asJSON {
				return p.printJSON(s)
			}
			if s.Status == contract.Running {
				return p.print(fmt.Sprintf("%s stops: cases in flight are finished\n", s.RunID))
			}
			return p.print(s.text())
		})
	}
	return cmd
}

// stopRun sends the command batch.stop, as an external client would.
func (b *broker) stopRun(ctx context.Context, run contract.RunID) error {
	body, err := json.Marshal(contract.StopSpec{RunID: run})
	if err != nil {
		return fmt.Errorf("stopping run %s: %w", run, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	msg, err := b.Conn().RequestWithContext(ctx, contract.SubjectStop, body)
	if err != nil {
		return fmt.Errorf("%w: stopping run %s: no generator replied; the command is stored for the next one: %w",
			errBroker, run, err)
	}
	var reply contract.CommandReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil {
		return fmt.Errorf("%w: stopping run %s: %w", errBroker, run, err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%w: %s", errUsage, reply.Error)
	}
	return nil
}
