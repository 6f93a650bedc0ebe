package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/spf13/cobra"
)

// stopLimit is how long a generator may take to answer a stop; the command is kept anyway.
const stopLimit = 15 * time.Second

func (p *program) stopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stop --run <id>", Short: "Stop a run; the same batch goes on with it when it is started again",
		Args:    runFlagArgs(true),
		Example: "  fct-scraper stop --run imm-25-20261125t101500z-1 --nats-url nats://127.0.0.1:4222",
	}
	addSettings(cmd.Flags(), storeSettings("replicas"))
	name := cmd.Flags().String("run", "", "the run")
	asJSON := cmd.Flags().Bool("json", false, "print how the run stands as one JSON document")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withStatusBroker(cmd, func(ctx context.Context, b *broker) error {
			s, err := b.namedRun(ctx, *name)
			if err != nil {
				return err
			}
			if s.Status == contract.Running { // else it was stopped, or is over
				if err := b.stopRun(ctx, s.RunID); err != nil {
					return err
				}
				if s, err = b.namedRun(ctx, *name); err != nil {
					return err
				}
			}
			if *asJSON {
				return p.printJSON(s)
			}
			if s.Status == contract.Running {
				return p.print(fmt.Sprintf("%s stops: what is under way is finished\n", s.RunID))
			}
			return p.print(s.text())
		})
	}
	return cmd
}

// stopRun asks for the end of a run, as anybody would, by a message.
func (b *broker) stopRun(ctx context.Context, run contract.RunID) error {
	body, err := json.Marshal(contract.StopSpec{RunID: run})
	if err != nil {
		return fmt.Errorf("stopping run %s: %w", run, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	msg, err := b.Conn().RequestWithContext(ctx, contract.SubjectStop, body)
	if err != nil {
		return fmt.Errorf("%w: stopping run %s: no generator answers; the command is kept for the next: %w", errBroker, run, err)
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
