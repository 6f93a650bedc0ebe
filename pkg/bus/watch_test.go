package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// formatEntry is an entry as the tests compare it; "" is the end of what was there.
func formatEntry(entry jetstream.KeyValueEntry) string {
	if entry == nil {
		return ""
	}
	return entry.Operation().String() + " " + entry.Key() + " " + string(entry.Value())
}

func TestWatch_NewestThenChanges(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	set := func(key, value string) uint64 {
		t.Helper()
		revision, err := kv.Put(t.Context(), key, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	set("No-Run.state", "of a form that no writer gives its keys")
	set("a.state", "1")
	set("b.state", "1")
	set("a.state", "2")
	set("a.checkpoint", "not asked for")
	after := set("a.halt", "1")
	if err := kv.Delete(t.Context(), "b.state"); err != nil {
		t.Fatal(err)
	}
	entries := make(chan jetstream.KeyValueEntry)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*.state", "*.halt"}}, func(entry jetstream.KeyValueEntry) error {
			entries <- entry
			return nil
		})
	}()
	var got []string
	for range 4 {
		got = append(got, formatEntry(<-entries))
	}
	set("a.state", "3")
	got = append(got, formatEntry(<-entries))
	if err := kv.Delete(t.Context(), "a.halt"); err != nil {
		t.Fatal(err)
	}
	got = append(got, formatEntry(<-entries))
	want := []string{
		"KeyValuePutOp a.state 2", "KeyValuePutOp a.halt 1", "KeyValueDeleteOp b.state ", "", "KeyValuePutOp a.state 3", "KeyValueDeleteOp a.halt ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	var left []string
	scan := func(entry jetstream.KeyValueEntry) error { left = append(left, formatEntry(entry)); return nil }
	if err := b.Scan(t.Context(), bus.Keys{Bucket: contract.BucketRuns, Filters: []string{">"}, After: after - 1}, scan); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"KeyValuePutOp a.state 3"}, left); diff != "" {
		t.Error(diff)
	}
}

// A watch outlives its connection: it sees each change after a restart of the server and after a
// reconnect, and has no consumer that could be lost.
func TestWatch_Reconnect(t *testing.T) {
	t.Parallel()
	b, restart := fcttest.RestartableBroker(t)
	entries := make(chan string, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Watch(ctx, bus.Keys{Bucket: contract.BucketRuns, Filters: []string{"*.state"}}, func(entry jetstream.KeyValueEntry) error {
			entries <- formatEntry(entry)
			return nil
		})
	}()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-entries:
			if got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		case err := <-ended:
			t.Fatalf("the watch ended with %v before %q came", err, want)
		case <-time.After(time.Minute):
			t.Fatalf("%q has not come", want)
		}
	}
	next("")
	for name, interrupt := range map[string]func(){"server restarted": func() { restart(func() {}) }, "connection dropped": func() {
		if err := b.Conn().ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}} {
		for range 2 {
			interrupt()
			put(t, b, "$KV.runs.a.state", name)
			next("KeyValuePutOp a.state " + name)
		}
	}
	stream, err := b.JetStream().Stream(t.Context(), "KV_"+contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("the bucket has %d consumers", n)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestReaders_RejectForgedMessages(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	// The server publishes the forgeries: replies to direct gets of a client that may only read.
	bait := func(text string) string {
		t.Helper()
		header := nats.Header{"Nats-Sequence": {"999"}, "Nats-Subject": {"outcome.run.other"}, "Nats-Time-Stamp": {"never"}}
		put(t, b, "$KV.sites.bait.block", text)
		if _, err := b.Publish(t.Context(), &nats.Msg{Subject: "$KV.sites.bait.block", Data: []byte(text), Header: header}); err != nil {
			t.Fatal(err)
		}
		return "$JS.API.DIRECT.GET.KV_sites.$KV.sites.bait.block"
	}
	forge := func(stream, subject, text string) uint64 {
		t.Helper()
		request := bait(text)
		before := lastSequenceOf(t, b, stream)
		if err := b.Conn().PublishRequest(request, subject, nil); err != nil {
			t.Fatal(err)
		}
		for {
			if last := lastSequenceOf(t, b, stream); last > before {
				return last
			}
		}
	}
	for stream, subject := range map[string]string{
		contract.StreamOutcomes: "outcome.run.1", contract.StreamJobs: "job.run.1", contract.StreamAnswers: "answer.run.1",
		contract.StreamEvents: "batch.event.run.finished", contract.StreamBatch: "batch.start", contract.StreamPace: "turn.site",
	} {
		sequence := forge(stream, subject, "forged")
		for what, err := range map[string]error{
			"Get":     errorOf(b.Get(t.Context(), stream, sequence)),
			"GetNext": errorOf(b.GetNext(t.Context(), stream, subject, 1)),
			"GetLast": errorOf(b.GetLast(t.Context(), stream, subject)),
		} {
			if !errors.Is(err, jetstream.ErrMsgNotFound) {
				t.Errorf("%s of a forged message of %s: %v, want ErrMsgNotFound", what, stream, err)
			}
		}
	}
	put(t, b, "outcome.run.1", "true")
	startTail(t, b, "outcome.run.*", 0).next("true")
	for bucket, key := range map[string]string{
		contract.BucketCollected: "IMM.25.7", contract.BucketFailed: "IMM.25.7", contract.BucketRuns: "run.state", contract.BucketFetchers: "run.f",
		contract.BucketSites: "sim.block",
	} {
		kv, err := b.KV(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		forge("KV_"+bucket, "$KV."+bucket+"."+key, "forged")
		if entry, err := kv.Get(t.Context(), key); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("a forged key of %s was read: %s, %v", bucket, formatEntry(entry), err)
		}
		put(t, b, "$KV."+bucket+".no-key", "alien")
		err = b.Scan(t.Context(), bus.Keys{Bucket: bucket, Filters: []string{key, "no-key"}}, func(entry jetstream.KeyValueEntry) error {
			t.Errorf("%s: %s was read", bucket, formatEntry(entry))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	// A bucket that keeps older entries still has the true one.
	put(t, b, "$KV.runs.run.halt", "true")
	forge("KV_runs", "$KV.runs.run.halt", "forged")
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	if entry, err := kv.Get(t.Context(), "run.halt"); err != nil || string(entry.Value()) != "true" {
		t.Errorf("behind a forged entry: %s, %v", formatEntry(entry), err)
	}
}

func errorOf(_ bus.Message, err error) error { return err }

func lastSequenceOf(t *testing.T, b *bus.Bus, stream string) uint64 {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}
