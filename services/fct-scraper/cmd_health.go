package main

import (
	"cmp"

	"fct-scraper/pkg/health"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Check whether a process on this machine is ready: exit code 0 or 1", Args: maxArgs(0),
		Example: "  fct-scraper healthcheck\n  fct-scraper healthcheck --url http://127.0.0.1:8080/livez",
	}
	addSettings(cmd.Flags(), func(key string) bool { return key == "http_addr" })
	url := cmd.Flags().String("url", "", "URL to request; "+health.ReadyPath+" on http_addr when empty")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := p.loadSettings(cmd)
		if err != nil {
			return err
		}
		if *url == "" {
			*url = health.URL(cmp.Or(settings.HTTPAddr, runtime.DefaultStatusAddr))
		}
		if err := health.Check(cmd.Context(), *url); err != nil {
			return err
		}
		return p.print("ok\n")
	}
	return cmd
}
