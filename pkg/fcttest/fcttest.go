// Package fcttest gives tests real parts: a server with a file store, a cluster, a logger, a small
// disk, virtual time.
package fcttest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/natsd"
	"fct-scraper/streams"
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
	t.Cleanup(nc.Close)
	broker, err := bus.New(nc, Logger(t), bus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Tests run concurrently on slow disks: the library's timeout of 5 s is not always enough.
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
