package natsd_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go"
)

// startWithSocket starts a server on dir with an open socket; it ends with the test, or earlier by
// end.
func startWithSocket(t *testing.T, dir string) (server *natsd.Server, end func()) {
	t.Helper()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	if err := server.OpenSocket(); err != nil {
		t.Fatal(err)
	}
	return server, end
}

// checkEcho requests a large reply over nc from the server's own side.
func checkEcho(t *testing.T, server *natsd.Server, nc *nats.Conn) {
	t.Helper()
	own, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	sub, err := own.Subscribe("echo", func(msg *nats.Msg) { _ = msg.Respond(msg.Data) })
	if err == nil {
		err = own.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	sent := strings.Repeat("x", 9<<20)
	got, err := nc.Request("echo", []byte(sent), time.Minute)
	if err != nil || string(got.Data) != sent {
		t.Fatalf("the answer: %v", err)
	}
}

func TestConnectSocket(t *testing.T) {
	t.Parallel()
	short := t.TempDir()
	for name, dir := range map[string]string{
		"a folder": filepath.Join(short, "data"), "a long path": filepath.Join(short, strings.Repeat("deep/", 50), "data"),
		"a link":     filepath.Join(short, "link"),
		"odd letter": filepath.Join(short, "d'é \"x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "a link" {
				if err := errors.Join(os.Mkdir(dir+"ed", 0o750), os.Symlink(dir+"ed", dir)); err != nil {
					t.Fatal(err)
				}
			}
			server, end := startWithSocket(t, dir)
			socket := filepath.Join(dir, "fct-scraper.sock")
			if info, err := os.Lstat(socket); err != nil || info.Mode() != os.ModeSocket|0o600 {
				t.Fatalf("%v, %v; want a socket of mode 0600", info, err)
			}
			if left, err := filepath.Glob(socket + "?*"); err != nil || left != nil {
				t.Errorf("left %v, %v", left, err)
			}
			nc, err := natsd.ConnectSocket(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			checkEcho(t, server, nc)
			closed := nc.StatusChanged(nats.CLOSED)
			end()
			<-closed
			if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket after the end: %v", err)
			}
			if _, err := natsd.ConnectSocket(dir); err == nil {
				t.Error("connected to nobody")
			}
		})
	}
}

func TestConnectSocket_ServerWithKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := startWithKey(t, dir, "127.0.0.1:0")
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := server.OpenSocket(); err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.ConnectSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	next, err := natsd.ConnectSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	// A quickly closed connection looks the same whether it was refused or broken.
	if a, b := clientID(t, nc), clientID(t, next); b != a+1 {
		t.Errorf("connections %d and %d: the server refused one in between", a, b)
	}
	checkEcho(t, server, nc)
	if err := os.Remove(server.KeyFile()); err != nil {
		t.Fatal(err)
	}
	if nc, err := natsd.ConnectSocket(dir); err == nil {
		nc.Close()
		t.Error("let in without the key")
	}
}

// clientID is the number of a connection; the server counts them, the refused ones too.
func clientID(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	id, err := nc.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A killed process leaves its socket, and perhaps the folder that it was bound in.
func TestOpenSocket_StaleSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "fct-scraper.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := errors.Join(stale.Close(), os.Mkdir(socket+".new", 0o755), os.WriteFile(socket+".new/s", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.ConnectSocket(dir); err == nil {
		t.Error("connected to a process that is gone")
	}
	server, _ := startWithSocket(t, dir)
	nc, err := natsd.ConnectSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	checkEcho(t, server, nc)
}

// A client that reads nothing delays neither other clients nor the end of the server.
func TestServerClose_ClientThatReadsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, end := startWithSocket(t, dir)
	conn, err := net.Dial("unix", filepath.Join(dir, "fct-scraper.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("CONNECT {}\r\nSUB flood 1\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	nc, err := natsd.ConnectSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for range 64 {
		if err := nc.Publish("flood", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	checkEcho(t, server, nc)
	end()
}

func TestOpenSocket_FolderThatTakesNoSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "fct-scraper.sock")
	if err := os.MkdirAll(filepath.Join(socket, "in the way"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := server.OpenSocket(); err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("%v; want an error that names %s", err, socket)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}
