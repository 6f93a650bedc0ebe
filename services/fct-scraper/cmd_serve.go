package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"
)

// serveOptions are the options of the command serve that are not settings.
type serveOptions struct {
	services []string
	embedded bool
	// addr is the listen address of the embedded server.
	addr string
	// repair accepts a store whose ledger differs from what was stored.
	repair bool
}

// allServices returns the names of the services, in the order of the data flow.
func allServices() []string {
	return []string{"prober", "generator", "fetcher", "classifier", "reporter"}
}

func (p *program) serveCommand() *cobra.Command {
	options := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve [<service>...]",
		Short: "Run services until they are stopped; batches are started by messages",
		Long: "serve runs the named services, or all of them, over a NATS server:\n" +
			strings.Join(allServices(), ", ") + ".\n" +
			"Any number of processes may use the same server; pace and concurrency apply to all of them together.",
		Example: "  fct-scraper serve --nats-url nats://127.0.0.1:4222\n" +
			"  fct-scraper serve fetcher classifier\n  fct-scraper serve --embedded",
		RunE: func(cmd *cobra.Command, args []string) error {
			options.services = args
			return p.serve(cmd, *options)
		},
	}
	addSettings(cmd.Flags(), allSettingsExcept("progress"))
	cmd.Flags().BoolVar(&options.embedded, "embedded", false,
		"start a NATS server in this process, with its store in data_dir")
	addRepairFlag(cmd.Flags(), &options.repair)
	cmd.Flags().StringVar(&options.addr, "embedded-addr", "127.0.0.1:4222", "listen address of the embedded server")
	return cmd
}

func (p *program) serve(cmd *cobra.Command, options serveOptions) error {
	src := p.sources(cmd)
	if len(options.services) == 0 {
		options.services = allServices()
	}
	// Only the fetcher sends requests to the site.
	src.SendsRequests, src.Check = slices.Contains(options.services, "fetcher"), options.problems
	settings, err := config.Load(src)
	if err != nil {
		return err
	}
	options.services = slices.Compact(slices.Sorted(slices.Values(options.services)))
	if !options.embedded {
		options.addr = ""
	}
	signals := listenSignals(settings.GracefulShutdownTimeout+exitMargin, p.writeAborted)
	defer signals.close()
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	go func() {
		select {
		case <-signals.firstReceived:
			stop()
		case <-ctx.Done():
		}
	}()
	err = p.serveUntil(ctx, settings, options)
	p.exitCode = signals.exitCode()
	return err
}

// problems returns what is wrong with the options, given settings that are valid by themselves.
func (o serveOptions) problems(s *config.Settings) (problems []string) {
	for _, name := range o.services {
		if !slices.Contains(allServices(), name) {
			problems = append(problems, fmt.Sprintf("service %.40q: allowed are %s", name, strings.Join(allServices(), ", ")))
		}
	}
	switch {
	case o.embedded && s.NATSURL != "":
		problems = append(problems, fmt.Sprintf(
			"--embedded: nats_url is set too (%s): allowed is one of the two; unset it or leave --embedded out",
			s.Origin("nats_url")))
	case !o.embedded && s.NATSURL == "":
		problems = append(problems,
			"serve: nats_url is empty: give the address of a NATS server, or --embedded for one in this process")
	case o.embedded && !s.Insecure && !loopback.IsListenAddr(o.addr):
		problems = append(problems, fmt.Sprintf(
			"--embedded-addr %.60q: want a loopback address such as 127.0.0.1:4222, or insecure = true", o.addr))
	}
	return problems
}

// serveUntil opens what the services need and runs them until ctx ends. Cases in flight then have
// most of graceful_shutdown_timeout to finish. The runs continue in other processes that have their
// services.
func (p *program) serveUntil(ctx context.Context, settings *config.Settings, options serveOptions) (err error) {
	if err := checkOpenFiles(settings.Config, openFilesLimit()); err != nil {
		return err
	}
	log := newLogger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr)
	site, err := openSite(settings.Config, p.environ, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	a := &app{
		settings: settings,
		site:     site,
		log:      log,
		status:   newStatusServer(),
		process:  nuid.Next(),
		grace:    drainTimeout(settings.GracefulShutdownTimeout),
	}
	if slices.Contains(options.services, "reporter") {
		if err := checkOutputOrigin(settings.Output, site.Origin); err != nil {
			return err
		}
		if a.output, err = store.Open(settings.Output); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.output.Close()) }()
	}
	stop, err := a.status.listen(settings.HTTPAddr, defaultStatusAddr, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if options.embedded {
		return p.serveEmbedded(ctx, a, options)
	}
	return p.serveOverURL(ctx, a, options)
}

// serveEmbedded runs the services on a server in this process. When the store fails, it restarts
// the server as soon as the disk has space.
func (p *program) serveEmbedded(ctx context.Context, a *app, options serveOptions) (err error) {
	server := &restartableServer{
		app:    a,
		access: connectOptions{addr: options.addr, services: options.services, repair: options.repair},
	}
	defer func() { err = errors.Join(err, server.close()) }()
	if a.broker, err = server.open(ctx); err != nil {
		return ignoreAfterCancel(ctx, err)
	}
	if err := p.announce(a, options); err != nil {
		return err
	}
	return a.serveWithRestart(ctx, options.services, server.open)
}

// serveOverURL runs the services on the server of nats_url and waits whenever that is unavailable.
func (p *program) serveOverURL(ctx context.Context, a *app, options serveOptions) error {
	conn, err := startConnecting(a.settings.Config, connectOptions{services: options.services}, a.log, a.status.readiness)
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.broker, err = conn.open(ctx); err != nil {
		return ignoreAfterCancel(ctx, err)
	}
	if err := p.announce(a, options); err != nil {
		return err
	}
	return a.serveWithRestart(ctx, options.services, conn.open)
}

// announce logs and prints that the services are ready.
func (p *program) announce(a *app, options serveOptions) error {
	a.fetcherID = fetcherName(a.broker)
	a.log.Info("serve.ready", "services", strings.Join(options.services, " "))
	return p.print(announcement(a.broker, options.services))
}

// announcement lists the services, what a client on this machine must export, and how to start a
// batch.
func announcement(b *broker, services []string) string {
	text := "serving " + strings.Join(services, ", ") + "\n"
	if b.url != "" {
		text += "export NATS_URL=" + b.url + "\nexport NATS_NKEY=" + sanitize.Quote(b.keyFile) + "\n"
	}
	return text + `nats pub batch.start '{"year":"25","start":1,"max_cases":50}'` + "\n"
}
