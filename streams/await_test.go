package streams_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/natsd"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

func TestAwaitReturnsWhenSomebodyElseHasMadeTheStreams(t *testing.T) {
	t.Parallel()
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
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("told to stop")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 700*time.Millisecond, stopped)
	defer cancel()
	if err := streams.Await(ctx, js); !errors.Is(err, stopped) {
		t.Fatalf("%v, want it to wait until it is told to stop", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- streams.Await(t.Context(), js) }()
	if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the streams are made: %v", err)
	}
}
