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
	// socketName is the Unix socket in the folder by which other processes of its owner use the server.
	socketName = "fct-scraper.sock"
	// maxSocketPath is how long the path of a socket may be everywhere: 103 bytes on BSD and macOS, 107 on Linux.
	maxSocketPath = 100
)

// bridge takes connections at a Unix socket and carries each on to a connection inside the process.
type bridge struct {
	listener net.Listener
	path     string
	// work is for the accepting goroutine and two for each connection.
	work   sync.WaitGroup
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// newBridge makes the socket of a folder that is locked; one that a killed process left there is replaced. The socket is bound
// in a folder that the owner alone can enter, so that nobody connects before its mode is set.
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
			l.SetUnlinkOnClose(false) // its name is another one then
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

// withShortPath hands use a path of dir that is short enough for the address of a socket: a long one gets a symbolic link in a
// private temporary folder for that time. The kernel's limit is on the text of the address, not on what it leads to.
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

// serve carries connections on to the server until the bridge is closed.
func (d *bridge) serve(to *server.Server) {
	d.work.Go(func() {
		for {
			conn, err := d.listener.Accept()
			if err != nil {
				return // closed; who waits there is refused
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

// forward copies what comes from one end to the other until either is closed, and closes both.
func (d *bridge) forward(from, to net.Conn) {
	d.mu.Lock()
	d.conns[from] = true
	shut := d.closed
	d.mu.Unlock()
	if shut {
		_ = from.Close()
	}
	d.work.Go(func() {
		_, _ = io.Copy(to, from) // an end that went away is told by the close
		_, _ = from.Close(), to.Close()
		d.mu.Lock()
		delete(d.conns, from)
		d.mu.Unlock()
	})
}

// close removes the socket and ends all connections.
func (d *bridge) close() {
	_ = d.listener.Close()
	_ = os.Remove(d.path) // a stale one misleads nobody: it refuses
	d.mu.Lock()
	d.closed = true
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
}

// socketDialer reaches the server of the process that holds a folder; it is fit for nats.InProcessServer.
type socketDialer struct{ dir string }

// InProcessConn connects to the socket of the folder.
func (s socketDialer) InProcessConn() (conn net.Conn, err error) {
	err = withShortPath(s.dir, func(short string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(short, socketName), Net: "unix"})
		return err
	})
	return conn, err
}

// ConnectSocket connects to the server of the process that holds dir, by its Unix socket. The connection ends with that
// process and does not come back. A folder that nobody serves is an error of package net.
func ConnectSocket(dir string, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{nats.InProcessServer(socketDialer{dir}), nats.NoReconnect()}, opts...)
	// A server with a port takes its key alone. The key comes first: a server that refuses a connection closes it, and the
	// client hears of the reason only if it has written all that it had to say by then.
	option, noKey := nats.NkeyOptionFromSeed(filepath.Join(dir, keyName))
	var nc *nats.Conn
	err := nats.ErrNkeysNotSupported
	if noKey == nil {
		nc, err = nats.Connect("", append(slices.Clip(opts), option)...)
	}
	if errors.Is(err, nats.ErrNkeysNotSupported) { // without a port, whatever key was left there
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
