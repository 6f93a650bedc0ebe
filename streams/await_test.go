package streams_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"
)

func TestAwait_ReturnsAfterEnsure(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	if err := streams.Await(t.Context(), js); err != nil {
		t.Fatalf("everything is there: %v", err)
	}
	if err := js.DeleteConsumer(t.Context(), contract.StreamAnswers, "classifier"); err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("told to stop")
	for after := range 50 { // in the middle of a request, too
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(after)*20*time.Microsecond, stopped)
		err := streams.Await(ctx, js)
		cancel()
		if !errors.Is(err, stopped) {
			t.Fatalf("%v, want it to wait until it is told to stop", err)
		}
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
