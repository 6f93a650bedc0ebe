package fcttest

import (
	"context"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/natsd"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
)

// Cluster is a cluster of three servers that each store all streams, and a bus to the first one. It
// ends with the test.
func Cluster(t testing.TB, opts bus.Options) (*natsd.Cluster, *bus.Bus) {
	t.Helper()
	servers, err := natsd.StartCluster(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Close)
	nc, err := nats.Connect(servers.URL(0), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	broker, err := bus.New(nc, Logger(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	// Until the servers have elected a leader no stream can be created, and nothing reports that.
	for until := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := streams.Ensure(ctx, broker.JetStream(), streams.Options{Replicas: 3})
		cancel()
		if err == nil {
			return servers, broker
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}
