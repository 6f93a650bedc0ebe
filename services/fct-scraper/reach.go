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
	// lookForServer is how often it is looked whether the server is there now.
	lookForServer = 100 * time.Millisecond
	// againLeast and againMost bound the pause before services that broke off work again; it doubles each time, and is short again
	// after they have worked for longer than againMost.
	againLeast, againMost = time.Second, 30 * time.Second
)

// line is the connection to the server of nats_url, which may be there or not.
type line struct {
	*nats.Conn
	log   *slog.Logger
	ready *readiness
	// streams makes the streams, or waits until they are made.
	streams func(context.Context, jetstream.JetStream) error
	// lost is why there is no connection.
	lost atomic.Pointer[error]
}

// callServer begins to connect, and never stops to: servers are restarted, and started after their clients. Only settings that
// cannot be used are errors.
func callServer(c config.Config, a access, log *slog.Logger, ready *readiness) (*line, error) {
	l := &line{log: log, ready: ready, streams: streamsOf(c, a, log)}
	keep := func(_ *nats.Conn, err error) {
		if err != nil {
			l.lost.Store(&err)
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
	l.Conn = nc
	return l, nil
}

// await waits until there is a connection.
func (l *line) await(ctx context.Context) error {
	for told := false; !l.IsConnected(); told = true {
		reason := l.why()
		l.ready.wait(fmt.Errorf("no connection to nats_url: %w", reason))
		if !told {
			l.log.Warn("nats.waiting", "error", reason)
		}
		if err := delay.Sleep(ctx, lookForServer); err != nil {
			return err
		}
	}
	return nil
}

// why is the last reason why there was no connection.
func (l *line) why() error {
	if lost := l.lost.Load(); lost != nil {
		return *lost
	}
	return nats.ErrDisconnected
}

// open waits until the server has all streams and returns the broker over it. A stream that differs from its definition is an
// error; anything else may pass: a cluster chooses a leader, a disk is made room on.
func (l *line) open(ctx context.Context) (*broker, error) {
	for wait := againLeast; ; wait = min(2*wait, againMost) {
		if err := l.await(ctx); err != nil {
			return nil, err
		}
		b := &broker{shared: true, patient: true, why: l.why, close: func() error { return nil }}
		l.ready.wait(errors.New("the streams are not there yet"))
		err := b.open(ctx, l.Conn, l.streams, l.log)
		if err == nil || ctx.Err() != nil || errors.Is(err, streams.ErrDrift) {
			return b, err
		}
		l.log.Warn("nats.waiting", "error", err)
		l.ready.wait(err)
		if err := delay.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// overAndOver has the services of those names work until ctx ends. What breaks them off and may pass has them work again, over
// the broker that reopen then returns.
func (h *house) overAndOver(ctx context.Context, names []string, reopen func(context.Context) (*broker, error)) error {
	for wait := againLeast; ; wait = min(2*wait, againMost) {
		begun := time.Now()
		err := h.once(ctx, names)
		if ctx.Err() != nil || err != nil && !passing(err) {
			return err
		}
		if time.Since(begun) > againMost {
			wait = againLeast
		}
		h.log.Error("serve.again", "error", err, "wait_seconds", wait.Seconds())
		h.front.wait(fmt.Errorf("services broke off: %w", err))
		if delay.Sleep(ctx, wait) != nil {
			return nil
		}
		if h.broker, err = reopen(ctx); err != nil {
			return quietEnd(ctx, err)
		}
	}
}

// once has the services work until one breaks off or ctx ends.
func (h *house) once(ctx context.Context, names []string) error {
	err := h.broker.guard(ctx, h.log, func(ctx context.Context) error {
		group, working := errgroup.WithContext(ctx)
		if err := h.open(working, group, names); err != nil {
			return err
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return context.Cause(ctx) // the services end without an error when they are told to
	})
	return quietEnd(ctx, err)
}

// passing says whether what broke the services off may be over when they are begun again: not what the output folder, the
// ledger or the settings lack.
func passing(err error) bool {
	code := codeOf(err)
	return code != codeOutput && code != codeUsage && !errors.Is(err, streams.ErrDrift)
}

// quietEnd is no error when ctx has ended.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
