package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
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

// connectTimeout is how long a server may take to answer the first time.
const connectTimeout = 10 * time.Second

// attachTimeout is how long a process that holds data_dir may take to let others in; then the store counts as in use.
const attachTimeout = 5 * time.Second

// pingInterval is how often the server is asked whether it is there: one that was cut off without a word is given up after three
// of these, for another one of its cluster. The library's own, two minutes, would have a whole run wait for it.
const pingInterval = 5 * time.Second

// noSpaceGrace is how long what is on its way to a store without room may still take: a broken stream answers nothing.
const noSpaceGrace = time.Second

// createStreamsTimeout is how long making the streams may take; on an idle disk it takes 20 ms.
const createStreamsTimeout = time.Minute

// broker is a bus over a server, and the bucket that says how runs stand.
type broker struct {
	*bus.Bus
	runs jetstream.KeyValue
	// shared says that other processes may work over this server too.
	shared bool
	// attached says that another process on this machine holds the store, and lets this one use it for as long as it runs.
	attached bool
	// holderGone says whether the holder has ended; nil when the store is nobody's or this process's.
	holderGone func() bool
	// viaReporter says that this connection reaches no streams: the reporter is asked how runs stand.
	viaReporter bool
	// patient says that this process waits for its server as long as it takes.
	patient bool
	// disconnectReason says why there is no connection; nil when nobody keeps it.
	disconnectReason func() error
	// url is where they reach a server that runs in this process, key the file of the seed that they need; empty when it has no port.
	url, keyFile string
	// server runs in this process; nil when it does elsewhere. hangUp ends the connection to it.
	server     *natsd.Server
	disconnect func()
	close      func() error
	// restored is what was rebuilt when the store was opened; broken gets why it is of no more use.
	restored []string
	broken   chan error
}

// openBroker connects to the server of nats_url, or starts one in this process on data_dir, and makes the streams or
// waits for them.
func openBroker(ctx context.Context, c config.Config, a connectOptions, log *slog.Logger) (*broker, error) {
	b, nc, err := connect(ctx, c, a, log)
	if err != nil {
		return nil, err
	}
	made := streamSetup(c, a, log)
	if b.attached {
		made = streams.Await // whoever holds the store makes them
	}
	err = b.withDiskWatch(ctx, log, func(ctx context.Context) error {
		if b.server != nil {
			return b.openOwnStore(ctx, nc, c, a, made, log)
		}
		return b.open(ctx, nc, made, log)
	})
	if err != nil {
		return nil, errors.Join(b.markHolderEnded(err), b.close())
	}
	return b, nil
}

// withDiskWatch does something with the store for as long as that takes what it is given: a server of this process that has run out of
// room is not waited for. The error is natsd.ErrNoSpace then, whatever became of the work.
func (b *broker) withDiskWatch(ctx context.Context, log *slog.Logger, work func(context.Context) error) error {
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
		case <-time.After(noSpaceGrace):
			b.disconnect()
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
func connect(ctx context.Context, c config.Config, a connectOptions, log *slog.Logger) (*broker, *nats.Conn, error) {
	if c.NATSURL != "" {
		nc, err := dial(c, a, logConnectionErrors(log))
		if err != nil {
			return nil, nil, err
		}
		return &broker{shared: true, close: func() error { nc.Close(); return nil }}, nc, nil
	}
	for begun := time.Now(); ; {
		b, nc, err := startOwnServer(c, a, log)
		if !errors.Is(err, natsd.ErrLocked) {
			return b, nc, err
		}
		nc, closed := natsd.ConnectSocket(c.DataDir, nats.Name(a.clientName()), nats.Timeout(connectTimeout), logConnectionErrors(log))
		if closed == nil {
			return &broker{shared: true, attached: true, holderGone: nc.IsClosed, close: func() error { nc.Close(); return nil }}, nc, nil
		}
		if time.Since(begun) > attachTimeout {
			log.Debug("broker.beside.closed", "error", closed)
			return nil, nil, err
		}
		if err := delay.Sleep(ctx, connectPoll); err != nil { // it may be about to begin, or to end
			return nil, nil, err
		}
	}
}

// startOwnServer starts a server on data_dir, and lets other processes in.
func startOwnServer(c config.Config, a connectOptions, log *slog.Logger) (*broker, *nats.Conn, error) {
	start := natsd.Start
	if a.addr != "" {
		start = func(dir string) (*natsd.Server, error) { return natsd.StartWithKey(dir, a.addr) }
	}
	server, err := start(c.DataDir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	nc, err := server.Connect(logConnectionErrors(log))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: %w", errBroker, err), server.Close())
	}
	if !a.exclusive {
		if err := server.OpenSocket(); err != nil {
			log.Warn("broker.beside.closed", "error", err)
		}
	}
	b := &broker{server: server, disconnect: nc.Close, close: func() error {
		nc.Close()
		return server.Close()
	}}
	if a.addr != "" {
		b.shared, b.url, b.keyFile = true, server.URL(), server.KeyFile()
	}
	return b, nc, nil
}

// errHolderEnded says that the process that held the store ended while this one used it.
var errHolderEnded = errors.New("the process that held data_dir has ended")

// markHolderEnded marks an error as errHolderEnded when that is behind it.
func (b *broker) markHolderEnded(err error) error {
	if err == nil || b.holderGone == nil || !b.holderGone() {
		return err
	}
	return fmt.Errorf("%w: %w", errHolderEnded, err)
}

// holderTries is how many holders of a store may end, one after the other, while a command uses it.
const holderTries = 5

// retryIfHolderEnded has a command look at the store again when the process that held it has ended meanwhile.
func retryIfHolderEnded(look func() error) (err error) {
	for range holderTries {
		if err = look(); !errors.Is(err, errHolderEnded) {
			return err
		}
	}
	return err
}

// checkStoreExists is an error when there is no store to look into: whoever only looks makes none.
func checkStoreExists(c config.Config) error {
	if c.NATSURL == "" && !natsd.Exists(c.DataDir) {
		return fmt.Errorf("%w: there is no store at data_dir %s, and nats_url is empty", errUsage, c.DataDir)
	}
	return nil
}

// logConnectionErrors has trouble with a connection logged: the library writes what a server said to stderr as it came.
func logConnectionErrors(log *slog.Logger) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		log.Warn("broker.connection.error", "error", err)
	})
}

func dial(c config.Config, a connectOptions, more ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{nats.Name(a.clientName()), nats.Timeout(connectTimeout), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.PingInterval(pingInterval)}
	if inbox := a.inboxPrefix(); inbox != "" {
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
		options = append(options, nats.SetCustomDialer(&net.Dialer{Timeout: connectTimeout, Control: loopback.DialControl}))
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
	ctx, cancel := context.WithTimeout(ctx, createStreamsTimeout)
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

// streamCreator is the one service that makes the streams where services are processes of their own; the others wait for
// them. Where it may not, as with the accounts of deploy/nats/nats.conf, it waits too, until "fct-scraper setup" has made them.
const streamCreator = "generator"

// connectOptions is what a process is to its server.
type connectOptions struct {
	// addr is where a server in this process listens; empty is nowhere.
	addr string
	// services are those that it serves; none says that it does whatever there is to do.
	services []string
	// repair accepts a store of which the ledger is not what it was.
	repair bool
	// readOnly makes nothing on a server of others: without streams there is no run to look at.
	readOnly bool
	// exclusive lets no other process into a server in this process.
	exclusive bool
}

// soleService is the one service of the process; empty when it has several, or none in particular.
func (o connectOptions) soleService() string {
	if len(o.services) != 1 {
		return ""
	}
	return o.services[0]
}

// clientName is what the server knows the connection by.
func (o connectOptions) clientName() string {
	if o.soleService() == "" {
		return "fct-scraper"
	}
	return "fct-" + o.soleService()
}

// inboxPrefix is the prefix of the subjects on which a service gets its answers. Each has its own, so that the server can keep the
// others from listening there; empty is the usual one.
func (o connectOptions) inboxPrefix() string {
	if o.soleService() == "" {
		return ""
	}
	return "_INBOX_" + o.soleService()
}

// createsStreams says whether the process makes the streams that are missing.
func (o connectOptions) createsStreams() bool {
	return len(o.services) == 0 || slices.Contains(o.services, streamCreator)
}

// streamSetup is how o process comes to the streams: it makes them, or waits until they are made. The store of o server in this
// process is its own, and is brought up to date.
func streamSetup(c config.Config, o connectOptions, log *slog.Logger) func(context.Context, jetstream.JetStream) error {
	if !o.createsStreams() {
		return streams.Await
	}
	if o.readOnly && c.NATSURL != "" {
		return checkServerHasStore
	}
	changed := func(name, differences string) { log.Info("stream.upgraded", "name", name, "differences", differences) }
	ensure := func(ctx context.Context, js jetstream.JetStream) error {
		ctx, cancel := context.WithTimeout(ctx, createStreamsTimeout)
		defer cancel()
		if err := streams.Ensure(ctx, js, streams.Options{Replicas: c.Replicas, Exclusive: c.NATSURL == "", OnUpdate: changed}); err != nil {
			return fmt.Errorf("making the streams: %w", err)
		}
		return nil
	}
	return func(ctx context.Context, js jetstream.JetStream) error {
		err := ensure(ctx, js)
		if o.soleService() == "" || !errors.Is(err, streams.ErrNotAllowed) {
			return err
		}
		log.Warn("streams.waiting", "error", err)
		if err := streams.Await(ctx, js); err != nil {
			return err
		}
		return ensure(ctx, js)
	}
}

// checkServerHasStore is an error when a server has no store to look into.
func checkServerHasStore(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, "KV_"+contract.BucketRuns)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: there is no store on the server of nats_url: %w", errUsage, err)
	}
	return err
}
