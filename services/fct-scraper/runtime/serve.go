package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/store"
	"fct-scraper/streams"

	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"
)

// ServeOptions are the options of Serve that are not settings.
type ServeOptions struct {
	// Services are the names of the services to run.
	Services []string
	// Embedded starts a server in this process, which listens on Addr.
	Embedded bool
	Addr     string
	// Repair accepts a store whose ledger differs from what was stored.
	Repair bool
	// Ready is called once the services can start. url and keyFile, the file of the seed, are what
	// clients of the embedded server need, else they are empty.
	Ready func(url, keyFile string) error
}

// Serve opens what the services need and runs them until ctx ends. Cases in flight then have
// most of graceful_shutdown_timeout to finish. The runs continue in other processes that have their
// services.
func (p Process) Serve(ctx context.Context, options ServeOptions) (err error) {
	settings := p.Settings
	if err := checkOpenFiles(settings.Config, openFilesLimit()); err != nil {
		return err
	}
	site, err := p.openSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.close()) }()
	a := &app{
		settings: settings,
		site:     site,
		log:      p.Log,
		version:  p.Version,
		status:   newStatusServer(),
		process:  nuid.Next(),
		grace:    drainTimeout(settings.GracefulShutdownTimeout),
	}
	if slices.Contains(options.Services, "reporter") {
		if err := checkOutputOrigin(settings.Output, site.Origin); err != nil {
			return err
		}
		if a.output, err = store.Open(settings.Output); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.output.Close()) }()
	}
	stop, err := p.listen(a.status, DefaultStatusAddr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if options.Embedded {
		return a.serveEmbedded(ctx, options)
	}
	return a.serveOverURL(ctx, options)
}

// serveEmbedded runs the services on a server in this process. When the store fails, it restarts
// the server as soon as the disk has space.
func (a *app) serveEmbedded(ctx context.Context, options ServeOptions) (err error) {
	server := &restartableServer{
		app:    a,
		access: connectOptions{addr: options.Addr, services: options.Services, repair: options.Repair},
	}
	defer func() { err = errors.Join(err, server.close()) }()
	if a.broker, err = server.open(ctx); err != nil {
		return ignoreAfterCancel(ctx, err)
	}
	if err := a.announce(options); err != nil {
		return err
	}
	return a.serveWithRestart(ctx, options.Services, server.open)
}

// serveOverURL runs the services on the server of nats_url and waits whenever that is unavailable.
func (a *app) serveOverURL(ctx context.Context, options ServeOptions) error {
	conn, err := startConnecting(a.settings.Config, connectOptions{services: options.Services}, a.log, a.status)
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.broker, err = conn.open(ctx); err != nil {
		return ignoreAfterCancel(ctx, err)
	}
	if err := a.announce(options); err != nil {
		return err
	}
	return a.serveWithRestart(ctx, options.Services, conn.open)
}

// announce logs and tells the caller that the services are ready.
func (a *app) announce(options ServeOptions) error {
	a.fetcherID = fetcherName(a.broker)
	a.log.Info("serve.ready", "services", strings.Join(options.Services, " "))
	return options.Ready(a.broker.url, a.broker.keyFile)
}

// restartableServer is the server in this process that services use. It is restarted whenever its
// store fails.
type restartableServer struct {
	app    *app
	access connectOptions
	// broker uses the current server; nil while none runs.
	broker *broker
	// lastServer is the most recently started server; nil before the first.
	lastServer *natsd.Server
}

// open stops the current server, waits until the disk has space, and starts the server again. It
// returns the broker of the new server.
func (s *restartableServer) open(ctx context.Context) (*broker, error) {
	if err := s.close(); err != nil {
		return nil, err
	}
	logged := false
	wait := func(reason error) {
		s.app.status.setWaiting(reason)
		if !logged {
			s.app.log.Error("serve.waiting", "error", reason)
		}
		logged = true
	}
	for {
		if s.lastServer != nil {
			if err := s.lastServer.AwaitSpace(ctx, wait); err != nil {
				return nil, err
			}
		}
		b, err := openBroker(ctx, s.app.settings.Config, s.access, s.app.log)
		if err == nil {
			s.broker, s.lastServer = b, b.server
			if err := b.serveHolderState(func() holderState { return holderState{Serves: true} }); err != nil {
				return nil, err
			}
			// Clients that know the address find the restarted server there.
			if at, err := url.Parse(b.url); err == nil {
				s.access.addr = at.Host
			}
			return b, nil
		}
		if !errors.Is(err, natsd.ErrNoSpace) {
			return nil, err
		}
		wait(err)
		if err := delay.Sleep(ctx, minRestartWait); err != nil {
			return nil, err
		}
	}
}

func (s *restartableServer) close() error {
	if s.broker == nil {
		return nil
	}
	err := s.broker.close()
	s.broker = nil
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	return nil
}

// serveWithRestart runs the named services until ctx ends. After a transient error it runs them
// again with the broker that reopen returns.
func (a *app) serveWithRestart(
	ctx context.Context, names []string, reopen func(context.Context) (*broker, error),
) error {
	for wait := minRestartWait; ; wait = min(2*wait, maxRestartWait) {
		begun := time.Now()
		err := a.serveOnce(ctx, names)
		if ctx.Err() != nil || err != nil && !isTransient(err) {
			return err
		}
		if time.Since(begun) > maxRestartWait {
			wait = minRestartWait
		}
		a.log.Error("serve.again", "error", err, "wait_seconds", wait.Seconds())
		a.status.setWaiting(fmt.Errorf("services failed: %w", err))
		if delay.Sleep(ctx, wait) != nil {
			return nil
		}
		if a.broker, err = reopen(ctx); err != nil {
			return ignoreAfterCancel(ctx, err)
		}
	}
}

// serveOnce runs the services until one fails or ctx ends.
func (a *app) serveOnce(ctx context.Context, names []string) error {
	err := a.broker.withDiskWatch(ctx, a.log, func(ctx context.Context) error {
		group, working := errgroup.WithContext(ctx)
		if err := a.startServices(working, group, names); err != nil {
			return err
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return context.Cause(ctx) // services return nil when canceled
	})
	return ignoreAfterCancel(ctx, err)
}

// isTransient reports whether a restart may cure an error of a service. Errors of the output
// folder, the ledger or the settings need an operator.
func isTransient(err error) bool {
	return !IsOutputError(err) && !IsUsageError(err) && !errors.Is(err, streams.ErrDrift)
}

// ignoreAfterCancel returns nil if ctx has ended, else err.
func ignoreAfterCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
