package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/spf13/cobra"
)

func (p *program) serveCommand() *cobra.Command {
	options := runtime.ServeOptions{}
	cmd := &cobra.Command{
		Use:   "serve [<service>...]",
		Short: "Run services until they are stopped; batches are started by messages",
		Long: "serve runs the named services, or all of them, over a NATS server:\n" +
			strings.Join(runtime.Services(), ", ") + ".\n" +
			"Any number of processes may use the same server; pace and concurrency apply to all of them together.",
		Example: "  fct-scraper serve --nats-url nats://127.0.0.1:4222\n" +
			"  fct-scraper serve fetcher classifier\n  fct-scraper serve --embedded",
		RunE: func(cmd *cobra.Command, args []string) error {
			options.Services = args
			return p.serve(cmd, options)
		},
	}
	addSettings(cmd.Flags(), allSettingsExcept("progress"))
	cmd.Flags().BoolVar(&options.Embedded, "embedded", false,
		"start a NATS server in this process, with its store in data_dir")
	addRepairFlag(cmd.Flags(), &options.Repair)
	p.addOpenFlag(cmd.Flags())
	cmd.Flags().StringVar(&options.Addr, "embedded-addr", "127.0.0.1:4222", "listen address of the embedded server")
	return cmd
}

func (p *program) serve(cmd *cobra.Command, options runtime.ServeOptions) error {
	src := p.sources(cmd)
	if len(options.Services) == 0 {
		options.Services = runtime.Services()
	}
	// Only the fetcher sends requests to the site.
	src.SendsRequests = slices.Contains(options.Services, "fetcher")
	src.Check = func(s *config.Settings) []string { return serveProblems(options, s) }
	settings, err := config.Load(src)
	if err != nil {
		return err
	}
	options.Services = slices.Compact(slices.Sorted(slices.Values(options.Services)))
	if !options.Embedded {
		options.Addr = ""
	}
	signals := p.listenSignals(settings)
	defer signals.close()
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	go func() {
		select {
		case <-signals.Requested():
			stop()
		case <-ctx.Done():
		}
	}()
	options.Ready = func(url, keyFile string) error { return p.print(announcement(options.Services, url, keyFile)) }
	process := p.process(settings)
	redirectLibraryLog(process.Log)
	err = process.Serve(ctx, options)
	p.exitCode = signals.exitCode()
	return err
}

// serveProblems returns what is wrong with the options, given settings that are valid by themselves.
func serveProblems(o runtime.ServeOptions, s *config.Settings) (problems []string) {
	for _, name := range o.Services {
		if !slices.Contains(runtime.Services(), name) {
			problems = append(problems, fmt.Sprintf("service %.40q: allowed are %s", name, strings.Join(runtime.Services(), ", ")))
		}
	}
	switch {
	case o.Embedded && s.NATSURL != "":
		problems = append(problems, fmt.Sprintf(
			"--embedded: nats_url is set too (%s): allowed is one of the two; unset it or leave --embedded out",
			s.Origin("nats_url")))
	case !o.Embedded && s.NATSURL == "":
		problems = append(problems,
			"serve: nats_url is empty: give the address of a NATS server, or --embedded for one in this process")
	case o.Embedded && !s.Insecure && !loopback.IsListenAddr(o.Addr):
		problems = append(problems, fmt.Sprintf(
			"--embedded-addr %.60q: want a loopback address such as 127.0.0.1:4222, or insecure = true", o.Addr))
	}
	return problems
}

// announcement lists the services, what a client on this machine must export, and how to start a
// batch.
func announcement(services []string, url, keyFile string) string {
	text := "serving " + strings.Join(services, ", ") + "\n"
	if url != "" {
		text += "export NATS_URL=" + url + "\nexport NATS_NKEY=" + sanitize.Quote(keyFile) + "\n"
	}
	return text + `nats pub batch.start '{"year":"25","start":1,"max_cases":50}'` + "\n"
}
