package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"
)

// serving is what is wanted of `serve` beside its settings.
type serving struct {
	services []string
	embedded bool
	// addr is where the embedded server listens.
	addr string
	// repair accepts a store of which the ledger is not what it was.
	repair bool
}

// allServices are the names of the services, in the order of the data.
func allServices() []string {
	return []string{"prober", "generator", "fetcher", "classifier", "reporter"}
}

func (p *program) serveCommand() *cobra.Command {
	wanted := &serving{}
	cmd := &cobra.Command{
		Use: "serve [<service>...]", Short: "Run services until they are stopped; batches are started by messages",
		Long: "serve runs the named services, or all of them, over a NATS server: " + strings.Join(allServices(), ", ") + ".\n" +
			"Any number of processes may serve the same server; pace and concurrency are kept over all of them together.",
		Example: "  fct-scraper serve --nats-url nats://127.0.0.1:4222\n  fct-scraper serve fetcher classifier\n  fct-scraper serve --embedded",
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted.services = args
			return p.serve(cmd, *wanted)
		},
	}
	addSettings(cmd.Flags(), allBut("progress"))
	cmd.Flags().BoolVar(&wanted.embedded, "embedded", false, "start a NATS server in this process, on data_dir")
	addRepair(cmd.Flags(), &wanted.repair)
	cmd.Flags().StringVar(&wanted.addr, "embedded-addr", "127.0.0.1:4222", "where the embedded server listens")
	return cmd
}

func (p *program) serve(cmd *cobra.Command, wanted serving) error {
	src := p.sources(cmd)
	if len(wanted.services) == 0 {
		wanted.services = allServices()
	}
	src.Asks, src.Check = slices.Contains(wanted.services, "fetcher"), wanted.problems // no other service sends requests to the site
	settings, err := config.Load(src)
	if err != nil {
		return err
	}
	wanted.services = slices.Compact(slices.Sorted(slices.Values(wanted.services)))
	if !wanted.embedded {
		wanted.addr = ""
	}
	signals := listen(settings.GracefulShutdownTimeout.Std()+lastWords, p.cutOff)
	defer signals.close()
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	go func() {
		select {
		case <-signals.first:
			stop()
		case <-ctx.Done():
		}
	}()
	err = p.serveUntil(ctx, settings, wanted)
	p.code = signals.code()
	return err
}

// problems are what is wrong with the call, given settings that are good by themselves.
func (w serving) problems(s *config.Settings) (problems []string) {
	for _, name := range w.services {
		if !slices.Contains(allServices(), name) {
			problems = append(problems, fmt.Sprintf("service %.40q: allowed are %s", name, strings.Join(allServices(), ", ")))
		}
	}
	switch {
	case w.embedded && s.NATSURL != "":
		problems = append(problems, fmt.Sprintf("--embedded: nats_url is set too (%s): allowed is one of the two; unset it or leave --embedded out",
			s.Origin("nats_url")))
	case !w.embedded && s.NATSURL == "":
		problems = append(problems, "serve: nats_url is empty: give the address of a NATS server, or --embedded for one in this process")
	case w.embedded && !s.Insecure && !loopback.IsListenAddr(w.addr):
		problems = append(problems, fmt.Sprintf("--embedded-addr %.60q: want an address of this machine alone, such as 127.0.0.1:4222, or insecure = true",
			w.addr))
	}
	return problems
}

// serveUntil opens what the services need and runs them until ctx ends. Cases in flight then have most of
// graceful_shutdown_timeout to land; the runs go on wherever else their services are.
func (p *program) serveUntil(ctx context.Context, settings *config.Settings, wanted serving) (err error) {
	if err := checkOpenFiles(settings.Config, openFilesLimit()); err != nil {
		return err
	}
	log := logger(settings.Config, p.environ, isTerminal(p.stderr), p.stderr)
	court, err := openCourt(settings.Config, p.environ, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, court.close()) }()
	h := &house{settings: settings, court: court, log: log, front: newFront(), process: nuid.Next(), grace: underWay(settings.GracefulShutdownTimeout.Std())}
	if slices.Contains(wanted.services, "reporter") {
		if err := sameFolder(settings.Output, court.Origin); err != nil {
			return err
		}
		if h.output, err = store.Open(settings.Output); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, h.output.Close()) }()
	}
	stop, err := h.front.listen(settings.HTTPAddr, serveAddr, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if wanted.embedded {
		return p.serveEmbedded(ctx, h, wanted)
	}
	return p.serveServer(ctx, h, wanted)
}

// serveEmbedded has the services work over a server in this process. When its store has broken it is started anew, as soon as
// there is room for it.
func (p *program) serveEmbedded(ctx context.Context, h *house, wanted serving) (err error) {
	e := &embedded{h: h, access: access{addr: wanted.addr, services: wanted.services, repair: wanted.repair}}
	defer func() { err = errors.Join(err, e.close()) }()
	if h.broker, err = e.open(ctx); err != nil {
		return quietEnd(ctx, err)
	}
	if err := p.greet(h, wanted); err != nil {
		return err
	}
	return h.overAndOver(ctx, wanted.services, e.open)
}

// serveServer has the services work over the server of nats_url, however often that is away.
func (p *program) serveServer(ctx context.Context, h *house, wanted serving) error {
	l, err := callServer(h.settings.Config, access{services: wanted.services}, h.log, h.front.readiness)
	if err != nil {
		return err
	}
	defer l.Close()
	if h.broker, err = l.open(ctx); err != nil {
		return quietEnd(ctx, err)
	}
	if err := p.greet(h, wanted); err != nil {
		return err
	}
	return h.overAndOver(ctx, wanted.services, l.open)
}

// greet says what serves and how a batch is started.
func (p *program) greet(h *house, wanted serving) error {
	h.fetcher = nameOf(h.broker)
	h.log.Info("serve.ready", "services", strings.Join(wanted.services, " "))
	return p.print(greeting(h.broker, wanted.services))
}

// greeting says what runs, what a client of this machine exports, and how a batch is started.
func greeting(b *broker, services []string) string {
	text := "serving " + strings.Join(services, ", ") + "\n"
	if b.url != "" {
		text += "export NATS_URL=" + b.url + "\nexport NATS_NKEY=" + quoted(b.key) + "\n"
	}
	return text + `nats pub batch.start '{"year":"25","start":1,"max_cases":50}'` + "\n"
}

// quoted is a word as a shell reads it back.
func quoted(word string) string {
	if !strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("/._-", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
