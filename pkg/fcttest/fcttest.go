// Package fcttest gives tests real parts: a server with a file store, a cluster, a logger, a small
// disk, virtual time.
package fcttest

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/natsd"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
)

// Broker is a bus on an embedded server with all streams created, on a folder of its own. It ends
// with the test.
func Broker(t testing.TB) *bus.Bus {
	t.Helper()
	server, err := natsd.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	return brokerOn(t, nc)
}

// RestartableBroker is Broker on a port. restart stops the server, calls meanwhile, starts the
// server on the same folder and port again, and returns when the bus is connected to it.
func RestartableBroker(t testing.TB) (broker *bus.Bus, restart func(meanwhile func())) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	server, err := natsd.StartOn(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	addr := strings.TrimPrefix(server.URL(), "nats://")
	nc, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return brokerOn(t, nc), func(meanwhile func()) {
		t.Helper()
		connected := nc.StatusChanged(nats.CONNECTED)
		defer nc.RemoveStatusListener(connected)
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		meanwhile()
		again, err := natsd.StartOn(dir, addr)
		if err != nil {
			t.Fatal(err)
		}
		server = again
		<-connected
	}
}

// brokerOn is a bus with all streams created. The connection is closed when the test ends.
func brokerOn(t testing.TB, nc *nats.Conn) *bus.Bus {
	t.Helper()
	t.Cleanup(nc.Close)
	// Tests run concurrently on slow machines: the timeouts of 5 s are not always enough.
	broker, err := bus.New(nc, Logger(t), bus.Options{PublishTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := streams.Ensure(ctx, broker.JetStream(), streams.Options{}); err != nil {
		t.Fatal(err)
	}
	return broker
}

// Logger writes to the test's output.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
