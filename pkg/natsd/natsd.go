// Package natsd runs the NATS server inside this process: nothing to install, and everything on disk.
package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"fct-scraper/pkg/store"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
)

// ErrLocked says that another process works on the same folder. Two servers on one folder both start and
// overwrite each other, so a folder is locked before a server is started on it.
var ErrLocked = errors.New("in use by another process")

// ErrStart says that the server did not come up.
var ErrStart = errors.New("server did not start")

const (
	// maxPayload lets a record of a docket of thousands of entries, or an answer of the largest size allowed, be one
	// message; the usual limit is 1 MiB.
	maxPayload = 64 << 20
	// maxPending is what the server keeps for a slow reader; it must exceed maxPayload.
	maxPending = 256 << 20
	// startTimeout is how long the server may take to come up: a store of 10 million numbers took 9 s.
	startTimeout = 2 * time.Minute
)

// Server is an embedded server with JetStream on a folder. Every acknowledged message was synced to disk.
type Server struct {
	nats *server.Server
	lock *os.File
	// key is the file of the seed that clients must have; empty when there is no user.
	key string
	dir string
	// lockInfo is the locked file, by which the folder is known.
	lockInfo os.FileInfo
	log      *serverLog
	// bridge lets other processes in; nil while it is not open.
	bridge *bridge
}

// Exists says whether dir holds a store. One that cannot be looked into counts as a store: opening it says what is wrong.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// Start locks dir, which is made when it is missing, and runs a server on it that opens no port. A folder that is
// locked is an error that wraps ErrLocked and names the process that holds it; one without room for a store is ErrRoom.
func Start(dir string) (*Server, error) { return open(dir, "", false) }

// StartOn is Start with a port that is open to whoever reaches it: addr is host:port, and port 0 takes a free one. An address that is
// taken is ErrStart.
func StartOn(dir, addr string) (*Server, error) { return open(dir, addr, false) }

// StartWithKey is StartOn for those alone who have the seed in the file KeyFile. The file lies in dir, is made when it is missing, and is
// good for every later start.
func StartWithKey(dir, addr string) (*Server, error) { return open(dir, addr, true) }

func open(dir, addr string, guarded bool) (*Server, error) {
	if err := store.MakeFolder(dir); err != nil {
		return nil, fmt.Errorf("making data_dir: %w", asNoSpace(dir, err))
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("locking data_dir %s: %w", dir, asNoSpace(dir, err))
	}
	s := &Server{lock: lock, dir: dir, log: newServerLog()}
	if s.lockInfo, err = lock.Stat(); err == nil {
		err = checkStartSpace(dir)
	}
	if err == nil {
		err = s.start(addr, guarded)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded server on %s: %w", dir, err), unlock(lock), lock.Close())
	}
	return s, nil
}

func (s *Server) start(addr string, guarded bool) error {
	dir := s.dir
	options := optionsFor(dir)
	options.DontListen = addr == ""
	if guarded {
		path, public, err := loadKey(dir)
		if err != nil {
			return fmt.Errorf("%w: the key of its clients: %w", ErrStart, err)
		}
		s.key, options.Nkeys = path, []*server.NkeyUser{{Nkey: public}}
	}
	if addr != "" {
		host, port, err := resolveAddr(addr)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrStart, err)
		}
		options.Host, options.Port = host, port
	}
	nats, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	nats.SetLoggerV2(s.log, false, false, false)
	nats.Start()
	if err := s.log.fatal(); err != nil {
		nats.Shutdown()
		nats.WaitForShutdown()
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if !nats.ReadyForConnections(startTimeout) || !nats.JetStreamEnabled() {
		nats.Shutdown()
		nats.WaitForShutdown()
		if err := noSpaceError(dir, s.log.failedWrite()); err != nil {
			return err
		}
		return fmt.Errorf("%w: not ready, or its store is not usable", ErrStart)
	}
	s.nats = nats
	return nil
}

// optionsFor are what every server has, whoever may reach it.
func optionsFor(dir string) *server.Options {
	return &server.Options{
		ServerName: "fct-scraper",
		JetStream:  true,
		StoreDir:   dir,
		// Without it a power cut lost everything in 3 of 3 trials, with it nothing.
		SyncAlways: true,
		// Else the server catches SIGINT itself and ends the process with success.
		NoSigs:     true,
		NoLog:      true,
		MaxPayload: maxPayload,
		MaxPending: maxPending,
	}
}

// resolveAddr says what addr means, and that it can be listened on: the server itself would wait for ever for a port that is
// taken.
func resolveAddr(addr string) (host string, port int, err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", 0, err
	}
	at, isTCP := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil || !isTCP {
		return "", 0, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return at.IP.String(), at.Port, nil
}

// URL is where other processes of this machine reach a server with a port.
func (s *Server) URL() string {
	if addr, isTCP := s.nats.Addr().(*net.TCPAddr); isTCP && addr.IP.IsUnspecified() {
		return "nats://127.0.0.1:" + strconv.Itoa(addr.Port)
	}
	return s.nats.ClientURL()
}

// KeyFile is the path of the file that holds the seed of its clients; empty when it takes everybody.
func (s *Server) KeyFile() string { return s.key }

// Connect opens a connection inside the process. While it is disconnected a publish fails at once instead of being
// kept unseen.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{nats.InProcessServer(s.nats), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1)}, opts...)
	if s.key != "" {
		option, err := nats.NkeyOptionFromSeed(s.key)
		if err != nil {
			return nil, fmt.Errorf("connecting to the embedded server: %w", err)
		}
		opts = append(opts, option)
	}
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded server: %w", err)
	}
	return nc, nil
}

// InProcessConn is one end of a new connection inside the process, in the server's own protocol; it makes a Server fit for
// nats.InProcessServer, and for one who carries the bytes on.
func (s *Server) InProcessConn() (net.Conn, error) {
	conn, err := s.nats.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded server: %w", err)
	}
	return conn, nil
}

// OpenSocket lets other processes of the same user in, until Close, by a Unix socket in the folder: see ConnectSocket. A file
// system without sockets is an error.
func (s *Server) OpenSocket() (err error) {
	if s.bridge, err = newBridge(s.dir); err != nil {
		return fmt.Errorf("making the socket of data_dir: %w", err)
	}
	s.bridge.serve(s.nats)
	return nil
}

// Close stops the server, waits until its store is closed, and unlocks the folder.
func (s *Server) Close() error {
	if s.bridge != nil {
		s.bridge.close()
	}
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	if err := errors.Join(unlock(s.lock), s.lock.Close()); err != nil {
		return fmt.Errorf("unlocking data_dir: %w", err)
	}
	return nil
}

// StartAccessClock starts the goroutine that all servers of a process share for their access times, until release is called. A
// test in virtual time calls it before it enters its bubble (testing/synctest): started by a server inside, that
// goroutine would stay in the bubble for ever.
func StartAccessClock() (release func()) {
	ats.Register()
	return ats.Unregister
}
