package streams_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnsure_Twice(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream() // the broker has ensured them once
	if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Fatal(err)
	}
	configs, err := streams.Streams()
	if err != nil || len(configs) != 12 {
		t.Fatalf("%d streams, %v", len(configs), err)
	}
}

func TestEnsure_DriftNamesField(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	stream, err := js.Stream(t.Context(), contract.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgsPerSubject = 7
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	err = streams.Ensure(t.Context(), js, streams.Options{})
	if !errors.Is(err, streams.ErrDrift) {
		t.Fatalf("%v, want ErrDrift", err)
	}
	for _, part := range []string{contract.StreamEvents, "max_msgs_per_subject: have 7, want 1000"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	config.MaxMsgsPerSubject = 1000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
		t.Errorf("set back: %v", err)
	}
}

func TestEnsure_BucketsAreKeyValueStores(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	for _, name := range []string{contract.BucketCollected, contract.BucketFailed, contract.BucketRuns, contract.BucketFetchers, contract.BucketSites, contract.BucketHeld} {
		kv, err := js.KeyValue(t.Context(), name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := kv.Create(t.Context(), "IMM.25.30", []byte("first")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := kv.Create(t.Context(), "IMM.25.30", []byte("second")); !errors.Is(err, jetstream.ErrKeyExists) {
			t.Errorf("%s: second create: %v, want ErrKeyExists", name, err)
		}
	}
}

func TestJobsConsumer_OnePerRun(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	config, err := streams.JobsConsumer("imm-25-1")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(t.Context(), contract.StreamJobs, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"job.imm-25-1.5", "job.other.6"} {
		if _, err := js.Publish(t.Context(), subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	msg, err := consumer.Next(jetstream.FetchContext(t.Context()))
	if err != nil || msg.Subject() != "job.imm-25-1.5" {
		t.Fatalf("%v, %v; want the one of the run", msg, err)
	}
	// The server counts a consumer's messages in order: the other one would be counted by now.
	info, err := consumer.Info(t.Context())
	if err != nil || info.NumPending != 0 {
		t.Errorf("%d more pending, %v; want none", info.NumPending, err)
	}
}

func TestAwait_ReturnsAfterEnsure(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	if err := streams.Await(t.Context(), js); err != nil {
		t.Fatalf("everything is there: %v", err)
	}
	if err := js.DeleteConsumer(t.Context(), contract.StreamAnswers, "classifier"); err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	for after := range 50 { // in the middle of a request, too
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(after)*20*time.Microsecond, stopped)
		err := streams.Await(ctx, js)
		cancel()
		if !errors.Is(err, stopped) {
			t.Fatalf("%v, want it to wait until it is stopped", err)
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
