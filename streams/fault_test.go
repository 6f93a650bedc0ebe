package streams_test

import (
	"testing"

	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

func TestDeliveryFault(t *testing.T) {
	want := jetstream.ConsumerConfig{Name: "c", Durable: "c", MaxDeliver: -1, FilterSubject: "job.run.*"}
	for name, c := range map[string]struct {
		change func(*jetstream.ConsumerConfig)
		fault  string
	}{
		"none":    {func(*jetstream.ConsumerConfig) {}, ""},
		"missing": {func(have *jetstream.ConsumerConfig) { *have = jetstream.ConsumerConfig{} }, ""},
		"few deliveries": {func(have *jetstream.ConsumerConfig) { have.MaxDeliver = 3 },
			"max_deliver: have 3, want -1"},
		"other filter": {func(have *jetstream.ConsumerConfig) { have.FilterSubject = "job.other.*" },
			`filter: have ["job.other.*"], want ["job.run.*"]`},
		"more filters": {func(have *jetstream.ConsumerConfig) { have.FilterSubjects = []string{"a"} },
			`filter: have ["a" "job.run.*"], want ["job.run.*"]`},
		"ephemeral of the same name": {func(have *jetstream.ConsumerConfig) { have.Durable, have.MaxDeliver = "", 3 },
			"max_deliver: have 3, want -1"},
		"other ack wait": {func(have *jetstream.ConsumerConfig) { have.AckWait = 1 }, ""},
	} {
		have := want
		c.change(&have)
		if fault := streams.DeliveryFault(want, have); fault != c.fault {
			t.Errorf("%s: %q, want %q", name, fault, c.fault)
		}
	}
}
