// Package fcttest gives tests the real parts: a broker with a file store, a logger.
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

// Broker is a bus on an embedded server with all streams made, on a folder of its own. It ends with the test.
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
	// Tests run side by side on slow disks: the library's own five seconds are not always enough.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := streams.Ensure(ctx, broker.JetStream(), streams.Options{}); err != nil {
		t.Fatal(err)
	}
	return broker
}

// Logger writes into the test's own output.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// SkipIfShort leaves a test out with -short, as the check has it under the race detector: it takes long there. The tests of the README's
// command run it.
func SkipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}
