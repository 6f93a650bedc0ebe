package runtime

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
)

const (
	// reconnectWait is the pause between two attempts to connect.
	reconnectWait = time.Second
	// connectPoll is how often the state of the connection is checked.
	connectPoll = 100 * time.Millisecond
	// Failed services restart after a pause that doubles from minRestartWait to maxRestartWait. It
	// is reset after they have worked for longer than maxRestartWait.
	minRestartWait, maxRestartWait = time.Second, 30 * time.Second
)

// connection is a connection to the server of nats_url that may be down at any time.
type connection struct {
	*nats.Conn
	log    *slog.Logger
	status *statusServer
	// awaitStreams creates the streams or waits until they exist.
	awaitStreams func(context.Context, jetstream.JetStream) error
	// lastErr is the latest reason for the lack of a connection.
	lastErr atomic.Pointer[error]
}

// startConnecting starts to connect and retries without end, because servers may start after their
// clients or restart. It returns an error only for settings that cannot work.
func startConnecting(c config.Config, o connectOptions, log *slog.Logger, status *statusServer) (*connection, error) {
	conn := &connection{log: log, status: status, awaitStreams: streamSetup(c, o, log)}
	keep := func(_ *nats.Conn, err error) {
		if err != nil {
			conn.lastErr.Store(&err)
		}
	}
	nc, err := dial(c, o,
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectErrHandler(keep),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			keep(nc, err)
			log.Warn("nats.disconnected", "error", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats.connected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("nats.connected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if nc.IsConnected() { // else every watch reports missed heartbeats
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
	for logged := false; !c.IsConnected(); logged = true {
		reason := c.disconnectReason()
		c.status.setWaiting(fmt.Errorf("no connection to nats_url: %w", reason))
		if !logged {
			c.log.Warn("nats.waiting", "error", reason)
		}
		if err := delay.Sleep(ctx, connectPoll); err != nil {
			return err
		}
	}
	return nil
}

// disconnectReason returns the latest reason for the lack of a connection.
func (c *connection) disconnectReason() error {
	if lost := c.lastErr.Load(); lost != nil {
		return *lost
	}
	return nats.ErrDisconnected
}

// open waits until the server has all streams and returns the broker for it. It fails if a stream
// differs from its definition. It retries on any other error: a cluster may elect a leader, a disk
// may get space.
func (c *connection) open(ctx context.Context) (*broker, error) {
	for wait := minRestartWait; ; wait = min(2*wait, maxRestartWait) {
		if err := c.awaitConnected(ctx); err != nil {
			return nil, err
		}
		b := &broker{shared: true, patient: true, disconnectReason: c.disconnectReason, close: func() error { return nil }}
		c.status.setWaiting(errors.New("waiting for the streams"))
		err := b.open(ctx, c.Conn, c.awaitStreams, c.log)
		if err == nil || ctx.Err() != nil || errors.Is(err, streams.ErrDrift) {
			return b, err
		}
		c.log.Warn("nats.waiting", "error", err)
		c.status.setWaiting(err)
		if err := delay.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}
