package runtime

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

// connectTimeout is how long a server may take to accept the first connection.
const connectTimeout = 10 * time.Second

// attachTimeout is how long a process that holds data_dir may take to open its socket. After that
// the store counts as in use.
const attachTimeout = 5 * time.Second

// pingInterval is how often the client pings the server. A silent server is given up after three
// missed pings, in favor of another one of its cluster. The library's default of two minutes would
// delay a complete run.
const pingInterval = 5 * time.Second

// noSpaceGrace is how long pending writes may take when a store has no space: a failed stream does
// not reply.
const noSpaceGrace = time.Second

// createStreamsTimeout is how long creating the streams may take. On an idle disk it takes 20 ms.
const createStreamsTimeout = time.Minute

// broker is a connection to a NATS server with the bucket that holds the state of runs.
type broker struct {
	*bus.Bus
	runs jetstream.KeyValue
	// shared reports that other processes may use this server too.
	shared bool
	// attached reports that another process on this machine holds the store and shares its server
	// while it runs.
	attached bool
	// holderGone reports whether that process has ended; nil if no other process holds the store.
	holderGone func() bool
	// patient reports that this process waits for its server without a limit.
	patient bool
	// disconnectReason returns why there is no connection; nil if that is not recorded.
	disconnectReason func() error
	// url and keyFile, the file of the seed, are what clients need to reach a server in this
	// process. They are empty if the server has no port.
	url, keyFile string
	// server runs in this process, else it is nil. disconnect closes the connection to it.
	server     *natsd.Server
	disconnect func()
	close      func() error
	// restored lists what was rebuilt when the store was opened. broken receives the error that
	// makes the store unusable.
	restored []string
	broken   chan error
}

// openBroker connects to the server of nats_url, or starts one in this process on data_dir, and
// creates the streams or waits for them, unless o.inspect is set.
func openBroker(ctx context.Context, c config.Config, o connectOptions, log *slog.Logger) (*broker, error) {
	b, nc, err := connect(ctx, c, o, log)
	if err != nil {
		return nil, err
	}
	if o.inspect {
		if b.Bus, err = bus.New(nc, log, bus.Options{}); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrBroker, err), b.close())
		}
		return b, nil
	}
	prepare := streamSetup(c, o, log)
	if b.attached {
		prepare = streams.Await // the process that holds the store creates them
	}
	err = b.withDiskWatch(ctx, log, func(ctx context.Context) error {
		if b.server != nil {
			return b.openOwnStore(ctx, nc, c, o, prepare, log)
		}
		return b.open(ctx, nc, prepare, log)
	})
	if err != nil {
		return nil, errors.Join(b.markHolderEnded(err), b.close())
	}
	return b, nil
}

// withDiskWatch calls work with a context that ends if the server in this process runs out of disk
// space, because that server would not reply. The error is then natsd.ErrNoSpace, whatever work
// returned.
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
	diskErr := <-watched
	if err == nil || ctx.Err() != nil {
		return err
	}
	if diskErr == nil {
		diskErr = b.server.Health()
	}
	if diskErr == nil {
		return err
	}
	log.Error("broker.freespace.lost", "error", diskErr, "cause", err)
	return diskErr
}

// connect connects to the server of nats_url, else to a new server on data_dir, else to the server
// of the process that holds data_dir.
func connect(ctx context.Context, c config.Config, o connectOptions, log *slog.Logger) (*broker, *nats.Conn, error) {
	if c.NATSURL != "" {
		nc, err := dial(c, o, logConnectionErrors(log))
		if err != nil {
			return nil, nil, err
		}
		return &broker{shared: true, close: func() error { nc.Close(); return nil }}, nc, nil
	}
	for begun := time.Now(); ; {
		b, nc, err := startOwnServer(c, o, log)
		if !errors.Is(err, natsd.ErrLocked) {
			return b, nc, err
		}
		nc, closed := natsd.ConnectSocket(c.DataDir, nats.Name(o.clientName()), nats.Timeout(connectTimeout),
			logConnectionErrors(log))
		if closed == nil {
			return &broker{
				shared:     true,
				attached:   true,
				holderGone: nc.IsClosed,
				close:      func() error { nc.Close(); return nil },
			}, nc, nil
		}
		if time.Since(begun) > attachTimeout {
			log.Debug("broker.beside.closed", "error", closed)
			return nil, nil, err
		}
		if err := delay.Sleep(ctx, connectPoll); err != nil { // that process may be starting or ending
			return nil, nil, err
		}
	}
}

// startOwnServer starts a server on data_dir and opens it to other processes of this machine.
func startOwnServer(c config.Config, o connectOptions, log *slog.Logger) (*broker, *nats.Conn, error) {
	start := natsd.Start
	if o.addr != "" {
		start = func(dir string) (*natsd.Server, error) { return natsd.StartWithKey(dir, o.addr) }
	}
	server, err := start(c.DataDir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBroker, err)
	}
	nc, err := server.Connect(logConnectionErrors(log))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: %w", ErrBroker, err), server.Close())
	}
	if !o.exclusive {
		if err := server.OpenSocket(); err != nil {
			log.Warn("broker.beside.closed", "error", err)
		}
	}
	b := &broker{server: server, disconnect: nc.Close, close: func() error {
		nc.Close()
		return server.Close()
	}}
	if o.addr != "" {
		b.shared, b.url, b.keyFile = true, server.URL(), server.KeyFile()
	}
	return b, nc, nil
}

// errHolderEnded reports that the process that held the store ended while this one used its server.
var errHolderEnded = errors.New("the process that held data_dir has ended")

// markHolderEnded wraps err with errHolderEnded if the process that held the store has ended.
func (b *broker) markHolderEnded(err error) error {
	if err == nil || b.holderGone == nil || !b.holderGone() {
		return err
	}
	return fmt.Errorf("%w: %w", errHolderEnded, err)
}

// holderTries is how often a command may find that the process that held the store has ended.
const holderTries = 5

// useStore opens a broker and calls use with it, again if the process that held the store has ended
// meanwhile.
func (p Process) useStore(ctx context.Context, o connectOptions, use func(*broker) error) (err error) {
	once := func() (err error) {
		b, err := openBroker(ctx, p.Settings.Config, o, p.Log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.close()) }()
		return b.markHolderEnded(use(b))
	}
	for range holderTries {
		if err = once(); !errors.Is(err, errHolderEnded) {
			return err
		}
	}
	return err
}

// checkStoreExists returns an error if there is no store. Commands that only read do not create
// one.
func checkStoreExists(c config.Config) error {
	if c.NATSURL == "" && !natsd.Exists(c.DataDir) {
		return Usagef("there is no store at data_dir %s, and nats_url is empty: "+
			"a batch creates one; --data-dir or --nats-url names another", c.DataDir)
	}
	return nil
}

// logConnectionErrors logs asynchronous errors of a connection. Without it the library writes them
// to stderr as the server sent them.
func logConnectionErrors(log *slog.Logger) nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		log.Warn("broker.connection.error", "error", err)
	})
}

func dial(c config.Config, o connectOptions, more ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(o.clientName()),
		nats.Timeout(connectTimeout),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.PingInterval(pingInterval),
	}
	if inbox := o.inboxPrefix(); inbox != "" {
		options = append(options, nats.CustomInboxPrefix(inbox))
	}
	if c.NATSCreds != "" {
		// The library reads the file only when it connects, which it may retry without end.
		if _, err := os.Stat(c.NATSCreds); err != nil {
			return nil, Usagef("reading nats_creds: %w", err)
		}
		options = append(options, nats.UserCredentials(c.NATSCreds))
	}
	if c.NATSNkey != "" {
		option, err := nats.NkeyOptionFromSeed(c.NATSNkey)
		if err != nil {
			return nil, Usagef("reading nats_nkey %s: %w", c.NATSNkey, err)
		}
		options = append(options, option)
	}
	switch {
	case c.NATSTLS():
		options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}))
	case !c.Insecure:
		// Servers and DNS replies cannot redirect the connection beyond this machine either.
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
		return nil, fmt.Errorf("%w: connecting to nats_url: %w", ErrBroker, err)
	}
	return nc, nil
}

// open makes the broker usable on a connection. ready must return once the streams exist.
func (b *broker) open(
	ctx context.Context,
	nc *nats.Conn,
	ready func(context.Context, jetstream.JetStream) error,
	log *slog.Logger,
) error {
	var err error
	if b.Bus, err = bus.New(nc, log, bus.Options{WaitForConnection: b.patient, Exclusive: !b.shared}); err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	if err := ready(ctx, b.JetStream()); err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	ctx, cancel := context.WithTimeout(ctx, createStreamsTimeout)
	defer cancel()
	if b.runs, err = b.KV(ctx, contract.BucketRuns); err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	if b.shared {
		return nil
	}
	// This process holds the lock of the folder, so a run in state running belongs to a killed
	// process. What was delivered to its services is redelivered at once. A command that was
	// executed is not executed again.
	for _, shared := range streams.SharedConsumers() {
		if err := streams.RecreateShared(ctx, b.JetStream(), shared.Stream, shared.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrBroker, err)
		}
	}
	reclaimed, err := runs.Reclaim(ctx, b.Bus, time.Now())
	for _, run := range reclaimed {
		log.Warn("batch.run.reclaimed", "run_id", run)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBroker, err)
	}
	return nil
}

// streamCreator is the service that creates the streams if services are separate processes; the
// others wait for it. Where its account may not create streams, as in deploy/nats/nats.conf, it too
// waits until "fct-scraper setup" has created them.
const streamCreator = "generator"

// connectOptions describe how a process uses its server.
type connectOptions struct {
	// addr is the listen address of a server in this process; "" for none.
	addr string
	// services are the services that the process runs; empty if it runs all or none.
	services []string
	// repair accepts a store whose ledger differs from what was stored.
	repair bool
	// readOnly creates nothing on the server of nats_url: a store without streams has no runs.
	readOnly bool
	// anyOutput says that no files are written: the output folder may be that of another store.
	anyOutput bool
	// inspect neither creates nor changes anything; the broker has no bucket of runs.
	inspect bool
	// exclusive opens a server in this process to no other process.
	exclusive bool
}

// soleService returns the only service of the process, or "" if it has several or none.
func (o connectOptions) soleService() string {
	if len(o.services) != 1 {
		return ""
	}
	return o.services[0]
}

func (o connectOptions) clientName() string {
	if o.soleService() == "" {
		return "fct-scraper"
	}
	return "fct-" + o.soleService()
}

// inboxPrefix returns the prefix of the subjects on which a service receives replies, or "" for the
// default. Each service has its own, so that an account can forbid others to subscribe to it.
func (o connectOptions) inboxPrefix() string {
	if o.soleService() == "" {
		return ""
	}
	return "_INBOX_" + o.soleService()
}

func (o connectOptions) createsStreams() bool {
	return len(o.services) == 0 || slices.Contains(o.services, streamCreator)
}

// streamSetup returns the function that makes sure that the streams exist: it creates them or waits
// for them. The streams of a server in this process are also upgraded.
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
		if err := streams.Ensure(ctx, js,
			streams.Options{Replicas: c.Replicas, Exclusive: c.NATSURL == "", OnUpdate: changed}); err != nil {
			return fmt.Errorf("creating the streams: %w", err)
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

// checkServerHasStore returns an error if a server has no streams of this program.
func checkServerHasStore(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.Stream(ctx, "KV_"+contract.BucketRuns)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Usagef("there is no store on the server of nats_url: %w", err)
	}
	return err
}
