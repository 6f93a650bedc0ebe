// Package natsd runs a NATS server inside this process, with everything it stores on disk.
package natsd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// ErrLocked reports that another process uses the folder. Two servers on one folder both start and
// overwrite each other, so the folder is locked before a server starts on it.
var ErrLocked = errors.New("in use by another process")

// ErrStart reports that the server did not start.
var ErrStart = errors.New("server did not start")

const (
	// maxPayload admits a record of thousands of docket entries, or an answer of the largest size
	// allowed, as one message; the default limit is 1 MiB.
	maxPayload = 64 << 20
	// maxPending is how many bytes the server buffers for a slow reader; it must exceed maxPayload.
	maxPending = 256 << 20
	// startTimeout is how long the server may take to start: a store of 10 million numbers took 9
	// s.
	startTimeout = 2 * time.Minute
)

// Server is an embedded server with JetStream on a folder. Every acknowledged message is synced to
// disk.
type Server struct {
	nats *server.Server
	lock *os.File
	// key is the path of the clients' seed file; empty if the server has no user.
	key string
	dir string
	// lockInfo identifies the locked file, and with it the folder.
	lockInfo os.FileInfo
	log      *serverLog
	// bridge serves other processes; nil while it is not open.
	bridge *bridge
}

// StoreFolder is the folder of the streams below the folder of a server.
const StoreFolder = server.JetStreamStoreDir

// Exists reports whether dir holds a store. An unreadable folder counts as one: opening it reports
// the cause.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, StoreFolder))
	return !errors.Is(err, fs.ErrNotExist)
}

// BlocksDigest is the SHA-256 hash of the files that hold the messages of a stream, their names
// included, below the folder of a server. It is empty if there are none. It reads no further file
// once ctx has ended, whose cause is then the error.
func BlocksDigest(ctx context.Context, dir, stream string) (string, error) {
	folder := filepath.Join(dir, StoreFolder, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream, "msgs")
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the blocks of stream %s: %w", stream, err)
	}
	all, blocks := sha256.New(), 0
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".blk" { // an index, which the server can make from the blocks
			continue
		}
		blocks++
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		digest, err := fileDigest(filepath.Join(folder, entry.Name()))
		if err != nil {
			return "", fmt.Errorf("reading the blocks of stream %s: %w", stream, err)
		}
		_, _ = fmt.Fprintf(all, "%s %x\n", entry.Name(), digest) // a hash never fails
	}
	if blocks == 0 {
		return "", nil
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

func fileDigest(name string) (_ []byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := sha256.New()
	_, err = io.Copy(h, file)
	return h.Sum(nil), err
}

// Start locks dir, which it creates if missing, and runs a server on it without a port. The error
// wraps ErrLocked and names the holding process if the folder is locked, and ErrNoSpace if it has
// no space for a store.
func Start(dir string) (*Server, error) { return open(dir, "", false) }

// StartOn is Start with an open port for every client: addr is host:port, and port 0 takes a free
// one. The error wraps ErrStart if the address is in use.
func StartOn(dir, addr string) (*Server, error) { return open(dir, addr, false) }

// StartWithKey is StartOn for clients that have the seed in KeyFile. The file is in dir, is created
// if missing, and stays valid for later starts.
func StartWithKey(dir, addr string) (*Server, error) { return open(dir, addr, true) }

func open(dir, addr string, withKey bool) (*Server, error) {
	if err := store.MakeFolder(dir); err != nil {
		return nil, fmt.Errorf("making data_dir: %w", asNoSpace(dir, err))
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("locking data_dir %s: %w", dir, asNoSpace(dir, err))
	}
	s := &Server{lock: lock, dir: dir, log: &serverLog{broken: make(chan struct{})}}
	if s.lockInfo, err = lock.Stat(); err == nil {
		err = checkStartSpace(dir)
	}
	if err == nil {
		err = s.start(addr, withKey)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the embedded server on %s: %w", dir, err), unlock(lock), lock.Close())
	}
	return s, nil
}

func (s *Server) start(addr string, withKey bool) error {
	dir := s.dir
	options := optionsFor(dir)
	options.DontListen = addr == ""
	if withKey {
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

func optionsFor(dir string) *server.Options {
	return &server.Options{
		ServerName: "fct-scraper",
		JetStream:  true,
		StoreDir:   dir,
		// Without it a power cut lost everything in 3 of 3 trials; with it, nothing.
		SyncAlways: true,
		// Otherwise the server handles SIGINT itself and ends the process with success.
		NoSigs:     true,
		NoLog:      true,
		MaxPayload: maxPayload,
		MaxPending: maxPending,
	}
}

// resolveAddr returns the host and port of addr and checks that it can listen there: the server
// itself would wait forever for a port that is in use.
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

// URL is the address at which other processes of this machine reach a server with a port.
func (s *Server) URL() string {
	if addr, isTCP := s.nats.Addr().(*net.TCPAddr); isTCP && addr.IP.IsUnspecified() {
		return "nats://127.0.0.1:" + strconv.Itoa(addr.Port)
	}
	return s.nats.ClientURL()
}

// KeyFile is the path of the clients' seed file; empty if the server accepts every client.
func (s *Server) KeyFile() string { return s.key }

// Connect opens a connection inside the process. While it is disconnected a publish fails at once
// instead of being buffered.
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

// InProcessConn is one end of a new connection inside the process, in the NATS protocol. It makes a
// Server usable with nats.InProcessServer and by the bridge.
func (s *Server) InProcessConn() (net.Conn, error) {
	conn, err := s.nats.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connecting to the embedded server: %w", err)
	}
	return conn, nil
}

// OpenSocket serves other processes of the same user on a Unix socket in the folder, until Close;
// see ConnectSocket. It fails on a file system without sockets.
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

// StartAccessClock starts the goroutine that all servers of a process share for their access times,
// until release is called. A test in virtual time calls it before it enters its bubble
// (testing/synctest): if a server started the goroutine inside, it would stay in the bubble
// forever.
func StartAccessClock() (release func()) {
	ats.Register()
	return ats.Unregister
}
