package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/natsd"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// connectLimit is how long a server may take to answer the first time.
const connectLimit = 10 * time.Second

// besideLimit is how long a process that holds data_dir may take to let others in; then the store counts as in use.
const besideLimit = 5 * time.Second

// pingEvery is how often the server is asked whether it is there: one that was cut off without a word is given up after three
// of these, for another one of its cluster. The library's own, two minutes, would have a whole run wait for it.
const pingEvery = 5 * time.Second

// landing is how long what is on its way to a store without room may still take: a broken stream answers nothing.
const landing = time.Second

// makeLimit is how long making the streams may take; on an idle disk it takes 20 ms.
const makeLimit = time.Minute

// broker is a bus over a server, and the bucket that says how runs stand.
type broker struct {
	*bus.Bus
	runs jetstream.KeyValue
	// shared says that other processes may work over this server too.
	shared bool
	// beside says that another process on this machine holds the store, and lets this one use it for as long as it runs.
	beside bool
	// gone says whether the holder has ended; nil when the store is nobody's or this process's.
	gone func() bool
	// asks says that this connection reaches no streams: the reporter is asked how runs stand.
	asks bool
	// patient says that this process waits for its server as long as it takes.
	patient bool
	// why says why there is no connection; nil when nobody keeps it.
	why func() error
	// url is where they reach a server that runs in this process, key the file of the seed that they need; empty when it has no port.
	url, key string
	// server runs in this process; nil when it does elsewhere. hangUp ends the connection to it.
	server *natsd.Server
	hangUp func()
	close  func() error
	// restored is what was rebuilt when the store was opened; broken gets why it is of no more use.
	restored []string
	broken   chan error
}

// openBroker connects to the server of nats_url, or starts one in this process on data_dir, and makes the streams or
// waits for them.
func openBroker(ctx context.Context, c config.Config, a access, log *slog.Logger) (*broker, error) {
	b, nc, err := connect(ctx, c, a, log)
	if err != nil {
		return nil, err
	}
	made := streamsOf(c, a, log)
	if b.beside {
		made = streams.Await // whoever holds the store makes them
	}
	err = b.guard(ctx, log, func(ctx context.Context) error {
		if b.server != nil {
			return b.openOwn(ctx, nc, c, a, made, log)
		}
		return b.open(ctx, nc, made, log)
	})
	if err != nil {
		return nil, errors.Join(b.cutOff(err), b.close())
	}
	return b, nil
}

// guard does something with the store for as long as that takes what it is given: a server of this process that has run out of
// room is not waited for. The error is natsd.ErrRoom then, whatever became of the work.
func (b *broker) guard(ctx context.Context, log *slog.Logger, work func(context.Context) error) error {
	if b.server == nil {
		return work(ctx)
	}
	working, stop := context.WithCancelCause(ctx)
	watched, ended := make(chan error, 1), make(chan struct{})
	go func() {
		err := b.server.WatchDisk(working)
		watched <- err
		if err == nil {
			return
		}
		stop(fmt.Errorf("%w: %w", bus.ErrStore, err))
		select {
		case <-ended:
		case <-time.After(landing):
			b.hangUp()
		}
	}()
	err := work(working)
	close(ended)
	stop(nil)
	trouble := <-watched
	if err == nil || ctx.Err() != nil {
		return err
	}
	if trouble == nil {
		trouble = b.server.Health()
	}
	if trouble == nil {
		return err
	}
	log.Error("broker.room.lost", "error", trouble, "cause", err)
	return trouble
}

// connect connects to the server of nats_url, to one that it starts on data_dir, or to that of the process that holds data_dir.
func connect(ctx context.Context, c config.Config, a access, log *slog.Logger) (*broker, *nats.Conn, error) {
	if c.NATSURL != "" {
		nc, err := dial(c, a, toldTo(log))
		if err != nil {
			return nil, nil, err
		}
		return &broker{shared: true, close: func() error { nc.Close(); return nil }}, nc, nil
	}
	for begun := time.Now(); ; {
		b, nc, err := connectOwn(c, a, log)
		if !errors.Is(err, natsd.ErrLocked) {
			return b, nc, err
		}
		nc, closed := natsd.ConnectSocket(c.DataDir, nats.Name(a.name()), nats.Timeout(connectLimit), toldTo(log))
		if closed == nil {
			return &broker{shared: true, beside: true, gone: nc.IsClosed, close: func() error { nc.Close(); return nil }}, nc, nil
		}
		if time.Since(begun) > besideLimit {
			log.Debug("broker.beside.closed", "error", closed)
			return nil, nil, err
		}
		if err := delay.Sleep(ctx, lookForServer); err != nil { // it may be about to begin, or to end
			return nil, nil, err
		}
	}
}

// connectOwn starts a server on data_dir, and lets other processes in.
func connectOwn(c config.Config, a access, log *slog.Logger) (*broker, *nats.Conn, error) {
	start := natsd.Start
	if a.addr != "" {
		start = func(dir string) (*natsd.Server, error) { return natsd.StartWithKey(dir, a.addr) }
	}
	server, err := start(c.DataDir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	nc, err := server.Connect(toldTo(log))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: %w", errBroker, err), server.Close())
	}
	if !a.alone {
		if err := server.OpenSocket(); err != nil {
			log.Warn("broker.beside.closed", "error", err)
		}
	}
	b := &broker{server: server, hangUp: nc.Close, close: func() error {
		nc.Close()
		return server.Close()
	}}
	if a.addr != "" {
		b.shared, b.url, b.key = true, server.URL(), server.KeyFile()
	}
	return b, nc, nil
}

// errHolderEnded says that the process that held the store ended while this one used it.
var errHolderEnded = errors.New("the process that held data_dir has ended")

// cutOff marks an error as errHolderEnded when that is behind it.
func (b *broker) cutOff(err error) error {
	if err == nil || b.gone == nil || !b.gone() {
		return err
	}
	return fmt.Errorf("%w: %w", errHolderEnded, err)
}

// holderTries is how many holders of a store may end, one after the other, while a command uses it.
const holderTries = 5

// outliving has a command look at the store again when the process that held it has ended meanwhile.
func outliving(look func() error) (err error) {
	for range holderTries {
		if err = look(); !errors.Is(err, errHolderEnded) {
			return err
		}
	}
	return err
}

// stored is an error when there is no store to look into: whoever only looks makes none.
func stored(c config.Config) error {
	if c.NATSURL == "" && !natsd.Exists(c.DataDir) {
		return fmt.Errorf("%w: there is no store at data_dir %s, and nats_url is empty", errUsage, c.DataDir)
	}
	return nil
}

// toldTo has trouble with a connection logged: the library writes what a server said to stderr as it came.
func toldTo(log *slog.Logger) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		log.Warn("broker.connection.error", "error", err)
	})
}

func dial(c config.Config, a access, more ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{nats.Name(a.name()), nats.Timeout(connectLimit), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.PingInterval(pingEvery)}
	if inbox := a.inbox(); inbox != "" {
		options = append(options, nats.CustomInboxPrefix(inbox))
	}
	if c.NATSCreds != "" {
		// The library reads it only when it connects, and a connection may be tried for ever.
		if _, err := os.Stat(c.NATSCreds); err != nil {
			return nil, fmt.Errorf("%w: reading nats_creds: %w", errUsage, err)
		}
		options = append(options, nats.UserCredentials(c.NATSCreds))
	}
	if c.NATSNkey != "" {
		option, err := nats.NkeyOptionFromSeed(c.NATSNkey)
		if err != nil {
			return nil, fmt.Errorf("%w: reading nats_nkey %s: %w", errUsage, c.NATSNkey, err)
		}
		options = append(options, option)
	}
	switch {
	case c.NATSTLS():
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	case !c.Insecure:
		// Nor beyond this machine when a server there, or whoever answers look-ups, names others.
		options = append(options, nats.SetCustomDialer(&net.Dialer{Timeout: connectLimit, Control: loopback.DialControl}))
	}
	if c.NATSCA != "" {
		options = append(options, nats.RootCAs(c.NATSCA))
	}
	if c.NATSCert != "" || c.NATSKey != "" {
		options = append(options, nats.ClientCert(c.NATSCert, c.NATSKey))
	}
	nc, err := nats.Connect(c.NATSURL, append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: connecting to nats_url: %w", errBroker, err)
	}
	return nc, nil
}

// open works over a connection, once ready has returned: the streams are there then.
func (b *broker) open(ctx context.Context, nc *nats.Conn, ready func(context.Context, jetstream.JetStream) error, log *slog.Logger) error {
	var err error
	if b.Bus, err = bus.New(nc, log, bus.Options{WaitForConnection: b.patient, Exclusive: !b.shared}); err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	if err := ready(ctx, b.JetStream()); err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	ctx, cancel := context.WithTimeout(ctx, makeLimit)
	defer cancel()
	if b.runs, err = b.KV(ctx, contract.BucketRuns); err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	if b.shared {
		return nil
	}
	// The folder was locked: whoever worked on a run that is still running was killed, and what had been delivered to
	// its services is to come again at once. A command that was carried out is not carried out again.
	for _, shared := range streams.SharedConsumers() {
		if err := streams.RecreateShared(ctx, b.JetStream(), shared.Stream, shared.Name); err != nil {
			return fmt.Errorf("%w: %w", errBroker, err)
		}
	}
	reclaimed, err := runs.Reclaim(ctx, b.Bus, time.Now())
	for _, run := range reclaimed {
		log.Warn("batch.run.reclaimed", "run_id", run)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	return nil
}
