package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/delay"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

const (
	// reconnectWait is the pause between two tries to connect.
	reconnectWait = time.Second
	// connectPoll is how often it is looked whether the server is there now.
	connectPoll = 100 * time.Millisecond
	// minRestartWait and againMost bound the pause before services that broke off work again; it doubles each time, and is short again
	// after they have worked for longer than againMost.
	minRestartWait, maxRestartWait = time.Second, 30 * time.Second
)

// connection is the connection to the server of nats_url, which may be there or not.
type connection struct {
	*nats.Conn
	log   *slog.Logger
	ready *readiness
	// awaitStreams makes the streams, or waits until they are made.
	awaitStreams func(context.Context, jetstream.JetStream) error
	// lastErr is why there is no connection.
	lastErr atomic.Pointer[error]
}

// startConnecting begins to connect, and never stops to: servers are restarted, and started after their clients. Only settings that
// cannot be used are errors.
func startConnecting(c config.Config, a connectOptions, log *slog.Logger, ready *readiness) (*connection, error) {
	conn := &connection{log: log, ready: ready, awaitStreams: streamSetup(c, a, log)}
	keep := func(_ *nats.Conn, err error) {
		if err != nil {
			conn.lastErr.Store(&err)
		}
	}
	nc, err := dial(c, a,
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(reconnectWait), nats.ReconnectErrHandler(keep),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			keep(nc, err)
			log.Warn("nats.disconnected", "error", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats.connected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("nats.connected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if nc.IsConnected() { // else every watch says that it hears nothing
				log.Warn("nats.failed", "error", err)
			}
		}),
	)
	if err != nil {
		return nil, err
	}
	conn.Conn = nc
	return conn, nil
}

// awaitConnected waits until there is a connection.
func (c *connection) awaitConnected(ctx context.Context) error {
	for told := false; !c.IsConnected(); told = true {
		reason := c.disconnectReason()
		c.ready.setWaiting(fmt.Errorf("no connection to nats_url: %w", reason))
		if !told {
			c.log.Warn("nats.waiting", "error", reason)
		}
		if err := delay.Sleep(ctx, connectPoll); err != nil {
			return err
		}
	}
	return nil
}

// disconnectReason is the last reason why there was no connection.
func (c *connection) disconnectReason() error {
	if lost := c.lastErr.Load(); lost != nil {
		return *lost
	}
	return nats.ErrDisconnected
}

// open waits until the server has all streams and returns the broker over it. A stream that differs from its definition is an
// error; anything else may pass: a cluster chooses a leader, a disk is made room on.
func (c *connection) open(ctx context.Context) (*broker, error) {
	for wait := minRestartWait; ; wait = min(2*wait, maxRestartWait) {
		if err := c.awaitConnected(ctx); err != nil {
			return nil, err
		}
		b := &broker{shared: true, patient: true, disconnectReason: c.disconnectReason, close: func() error { return nil }}
		c.ready.setWaiting(errors.New("the streams are not there yet"))
		err := b.open(ctx, c.Conn, c.awaitStreams, c.log)
		if err == nil || ctx.Err() != nil || errors.Is(err, streams.ErrDrift) {
			return b, err
		}
		c.log.Warn("nats.waiting", "error", err)
		c.ready.setWaiting(err)
		if err := delay.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// serveWithRestart has the services of those names work until ctx ends. What breaks them off and may pass has them work again, over
// the broker that reopen then returns.
func (a *app) serveWithRestart(ctx context.Context, names []string, reopen func(context.Context) (*broker, error)) error {
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
		a.status.setWaiting(fmt.Errorf("services broke off: %w", err))
		if delay.Sleep(ctx, wait) != nil {
			return nil
		}
		if a.broker, err = reopen(ctx); err != nil {
			return ignoreAfterCancel(ctx, err)
		}
	}
}

// serveOnce has the services work until one breaks off or ctx ends.
func (a *app) serveOnce(ctx context.Context, names []string) error {
	err := a.broker.withDiskWatch(ctx, a.log, func(ctx context.Context) error {
		group, working := errgroup.WithContext(ctx)
		if err := a.startServices(working, group, names); err != nil {
			return err
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return context.Cause(ctx) // the services end without an error when they are told to
	})
	return ignoreAfterCancel(ctx, err)
}

// isTransient says whether what broke the services off may be over when they are begun again: not what the output folder, the
// ledger or the settings lack.
func isTransient(err error) bool {
	code := errorExitCode(err)
	return code != codeOutput && code != codeUsage && !errors.Is(err, streams.ErrDrift)
}

// ignoreAfterCancel is no error when ctx has ended.
func ignoreAfterCancel(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
