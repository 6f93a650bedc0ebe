package main

import (
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

// setupCommand creates the streams for services whose accounts may not. They use the streams that
// their accounts import.
func (p *program) setupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Create the streams, buckets and shared consumers that are missing on a NATS server",
		Args:  maxArgs(0),
		Long: "setup creates the streams, buckets and shared consumers that are missing on the server of nats_url,\n" +
			"and changes no existing one. Services need it if their keys may not create streams, as with deploy/nats/nats.conf.",
		Example: "  fct-scraper setup --nats-url nats://127.0.0.1:4222 --nats-nkey deploy/nats/keys/admin.nk",
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := p.loadSettings(cmd)
			if err != nil {
				return err
			}
			if settings.NATSURL == "" {
				return runtime.Usagef("setup: nats_url is empty: give the address of a NATS server")
			}
			if err := p.process(settings).Setup(cmd.Context()); err != nil {
				return err
			}
			return p.print("all streams, buckets and shared consumers exist\n")
		},
	}
	addSettings(cmd.Flags(), settingsAmong("replicas"))
	return cmd
}
