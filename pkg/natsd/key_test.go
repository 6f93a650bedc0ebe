package natsd_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func startWithKey(t *testing.T, dir, addr string) *natsd.Server {
	t.Helper()
	server, err := natsd.StartWithKey(dir, addr)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// canConnect connects with options and reports whether the server accepted them.
func canConnect(t *testing.T, server *natsd.Server, options ...nats.Option) bool {
	t.Helper()
	nc, err := nats.Connect(server.URL(), options...)
	if err != nil {
		// The server may close the connection before the client has written all; its reason is lost
		// then.
		if !errors.Is(err, nats.ErrAuthorization) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
		return false
	}
	nc.Close()
	return true
}

func TestStartWithKey_RefusesOtherCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := startWithKey(t, dir, "127.0.0.1:0")
	file := server.KeyFile()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v; want 0600", info.Mode(), err)
	}
	seed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	option, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := other.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]nats.Option{
		"nobody": nil, "a password": {nats.UserInfo("admin", "")}, "a token": {nats.Token(strings.TrimSpace(string(seed)))}, "another key": {nats.Nkey(public, other.Sign)},
	} {
		if canConnect(t, server, options...) {
			t.Errorf("%s was let in", name)
		}
	}
	if !canConnect(t, server, option) {
		t.Error("its own key was refused")
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal("inside the process:", err)
	}
	nc.Close()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}

	again := startWithKey(t, dir, "127.0.0.1:0")
	if !canConnect(t, again, option) {
		t.Error("the key is another one after a restart")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStartWithKey_UnusableKeyFile(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(file string) error{
		"open to others": func(file string) error { return os.Chmod(file, 0o640) },
		"empty":          func(file string) error { return os.Truncate(file, 0) },
		"cut off":        func(file string) error { return os.Truncate(file, 30) },
		"a folder":       func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"a link":         func(file string) error { return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file)) },
	} {
		dir := t.TempDir()
		server := startWithKey(t, dir, "127.0.0.1:0")
		if err := errors.Join(spoil(server.KeyFile()), server.Close()); err != nil {
			t.Fatal(err)
		}
		again, err := natsd.StartWithKey(dir, "127.0.0.1:0")
		if !errors.Is(err, natsd.ErrStart) || !strings.Contains(err.Error(), server.KeyFile()) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v; want what to do", name, err)
		}
		if err == nil {
			_ = again.Close()
		}
	}
}

func TestServerURL_UnspecifiedAddress(t *testing.T) {
	t.Parallel()
	server := startWithKey(t, t.TempDir(), ":0")
	if url := server.URL(); !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Error(url)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}
