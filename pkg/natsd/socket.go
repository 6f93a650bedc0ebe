package natsd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// socketName is the Unix socket in the folder on which other processes of its owner reach the
	// server.
	socketName = "fct-scraper.sock"
	// maxSocketPath is the length of a socket's path that works everywhere: the limit is 103 bytes
	// on BSD and macOS, 107 on Linux.
	maxSocketPath = 100
)

// bridge accepts connections on a Unix socket and forwards each to a connection inside the process.
type bridge struct {
	listener net.Listener
	path     string
	// work counts the accepting goroutine and two for each connection.
	work   sync.WaitGroup
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// newBridge creates the socket of a locked folder; it replaces one that a killed process left. The
// socket is bound in a folder that only the owner can enter, so that nobody connects before its
// mode is set.
func newBridge(dir string) (*bridge, error) {
	d := &bridge{path: filepath.Join(dir, socketName), conns: make(map[net.Conn]bool)}
	private := d.path + ".new"
	if err := errors.Join(os.RemoveAll(private), os.Mkdir(private, 0o700)); err != nil {
		return nil, err
	}
	err := withShortPath(private, func(short string) (err error) {
		d.listener, err = net.Listen("unix", filepath.Join(short, "s"))
		return err
	})
	if err == nil {
		if l, is := d.listener.(*net.UnixListener); is {
			l.SetUnlinkOnClose(false) // it is renamed below
		}
		bound := filepath.Join(private, "s")
		if err = os.Chmod(bound, 0o600); err == nil {
			err = os.Rename(bound, d.path)
		}
		if err != nil {
			err = errors.Join(err, d.listener.Close())
		}
	}
	if err = errors.Join(err, os.RemoveAll(private)); err != nil {
		return nil, err
	}
	return d, nil
}

// withShortPath calls use with a path of dir that is short enough for a socket's address. If dir is
// too long it is a symbolic link in a private temporary folder, removed afterwards. The kernel
// limits the text of the address, not what it resolves to.
func withShortPath(dir string, use func(short string) error) (err error) {
	if len(dir)+len(socketName) < maxSocketPath {
		return use(dir)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "fct-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	link := filepath.Join(temp, "d")
	if err := os.Symlink(full, link); err != nil {
		return err
	}
	return use(link)
}

// serve forwards connections to the server until the bridge is closed.
func (d *bridge) serve(to *server.Server) {
	d.work.Go(func() {
		for {
			conn, err := d.listener.Accept()
			if err != nil {
				return // closed; waiting clients are refused
			}
			inside, err := to.InProcessConn()
			if err != nil {
				_ = conn.Close()
				continue
			}
			d.forward(conn, inside)
			d.forward(inside, conn)
		}
	})
}

// forward copies from one connection to the other until either is closed, and closes both.
func (d *bridge) forward(from, to net.Conn) {
	d.mu.Lock()
	d.conns[from] = true
	closed := d.closed
	d.mu.Unlock()
	if closed {
		_ = from.Close()
	}
	d.work.Go(func() {
		_, _ = io.Copy(to, from) // the close below reports a lost end
		_, _ = from.Close(), to.Close()
		d.mu.Lock()
		delete(d.conns, from)
		d.mu.Unlock()
	})
}

// close removes the socket and closes all connections.
func (d *bridge) close() {
	_ = d.listener.Close()
	_ = os.Remove(d.path) // a stale socket refuses connections
	d.mu.Lock()
	d.closed = true
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
}

// socketDialer connects to the server of the process that holds a folder, for nats.InProcessServer.
type socketDialer struct{ dir string }

// InProcessConn connects to the socket of the folder.
func (s socketDialer) InProcessConn() (conn net.Conn, err error) {
	err = withShortPath(s.dir, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(short, socketName), Net: "unix"})
		return err
	})
	return conn, err
}

// ConnectSocket connects to the server of the process that holds dir, on its Unix socket. The
// connection ends with that process and does not reconnect. If no process serves the folder, the
// error is one of package net.
func ConnectSocket(dir string, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{nats.InProcessServer(socketDialer{dir}), nats.NoReconnect()}, opts...)
	// A server with a port requires its key. Try the key first: a server that refuses a connection
	// closes it, and the client receives the reason only if it has finished writing by then.
	option, noKey := nats.NkeyOptionFromSeed(filepath.Join(dir, keyName))
	var nc *nats.Conn
	err := nats.ErrNkeysNotSupported
	if noKey == nil {
		nc, err = nats.Connect("", append(slices.Clip(opts), option)...)
	}
	if errors.Is(err, nats.ErrNkeysNotSupported) { // the server has no port; the key is an old one
		nc, err = nats.Connect("", opts...)
	}
	if errors.Is(err, nats.ErrAuthorization) && noKey != nil {
		err = fmt.Errorf("reading the key of data_dir: %w", noKey)
	}
	if err != nil {
		return nil, fmt.Errorf("connecting to the process that holds data_dir: %w", err)
	}
	return nc, nil
}
