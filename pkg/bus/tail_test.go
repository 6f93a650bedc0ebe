package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var errEnough = errors.New("enough")

// tailReader is a tail whose messages a test takes one by one.
type tailReader struct {
	t    *testing.T
	got  chan bus.Message
	done chan error
	stop context.CancelFunc
}

func startTail(t *testing.T, b *bus.Bus, filter string, after uint64) *tailReader {
	ctx, stop := context.WithCancel(t.Context())
	r := &tailReader{t: t, got: make(chan bus.Message), done: make(chan error, 1), stop: stop}
	go func() {
		r.done <- b.Tail(ctx, contract.StreamOutcomes, filter, after, func(msg bus.Message) error {
			select {
			case r.got <- msg:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Errorf("the tail ended with %v", err)
		}
	})
	return r
}

// next is the next message, which must hold a text.
func (r *tailReader) next(want string) bus.Message {
	r.t.Helper()
	select {
	case msg := <-r.got:
		if string(msg.Data) != want {
			r.t.Fatalf("message %d on %s holds %q, want %q", msg.Sequence, msg.Subject, msg.Data, want)
		}
		return msg
	case err := <-r.done:
		r.done <- err
		r.t.Fatalf("the tail ended with %v before %q came", err, want)
	case <-time.After(time.Minute):
		r.t.Fatalf("%q has not come", want)
	}
	panic("unreachable")
}

func put(t *testing.T, b *bus.Bus, subject, data string) uint64 {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; {
		ack, err := b.Publish(t.Context(), &nats.Msg{Subject: subject, Data: []byte(data)})
		if err == nil {
			return ack.Sequence
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func TestTail_TenThousandInOrderThenNew(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	const many = 10000
	var msgs []*nats.Msg
	for i := range many {
		msgs = append(msgs, &nats.Msg{Subject: fmt.Sprintf("outcome.run.%d", i%40), Data: []byte(fmt.Sprint(i)), Header: nats.Header{"X": {"y"}}})
	}
	if err := b.PublishBatch(t.Context(), msgs[:many/2]); err != nil {
		t.Fatal(err)
	}
	r := startTail(t, b, "outcome.run.*", 0)
	go func() {
		if err := b.PublishBatch(t.Context(), msgs[many/2:]); err != nil { // atomic batches give notices too
			t.Error(err)
		}
	}()
	for i := range many {
		if msg := r.next(fmt.Sprint(i)); msg.Sequence != uint64(i)+1 || msg.Subject != msgs[i].Subject || msg.Header.Get("X") != "y" || msg.StoredAt.IsZero() {
			t.Fatalf("message %d: %+v", i, msg)
		}
	}
	put(t, b, "outcome.run.1", "last")
	r.next("last")
}

func TestTail_FilterAndResume(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	put(t, b, "outcome.run.1", "a")
	put(t, b, "outcome.other.1", "foreign")
	at := put(t, b, "outcome.run.2", "b")
	put(t, b, "outcome.run.1", "c")
	startTail(t, b, "outcome.run.*", at).next("c")
	whole := startTail(t, b, "outcome.run.1", 0)
	whole.next("a")
	whole.next("c")
	put(t, b, "outcome.other.1", "foreign")
	put(t, b, "outcome.run.2", "not asked for")
	put(t, b, "outcome.run.1", "d")
	whole.next("d")
}

func TestTail_NewestMessagesPurged(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	put(t, b, "outcome.a.1", "a1")
	put(t, b, "outcome.b.1", "b1")
	stream, err := b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err == nil {
		err = stream.Purge(t.Context(), jetstream.WithPurgeSubject("outcome.b.*"))
	}
	if err != nil {
		t.Fatal(err)
	}
	r := startTail(t, b, ">", 0)
	r.next("a1")
	put(t, b, "outcome.b.2", "b2")
	r.next("b2")
}

func TestTail_ReturnsErrorOfTake(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	put(t, b, "outcome.run.1", "a")
	if err := b.Tail(t.Context(), contract.StreamOutcomes, "outcome.run.*", 0, func(bus.Message) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("%v, want the error of take", err)
	}
	if n := b.Conn().NumSubscriptions(); n > 1 { // requests share one
		t.Errorf("%d subscriptions are left", n)
	}
}

func TestTail_MissingStreamIsAnError(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	if err := b.Tail(t.Context(), "MISSING", "outcome.run.*", 0, func(bus.Message) error { return nil }); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v, want ErrStreamNotFound", err)
	}
}

func TestTail_StreamRecreatedIsAnError(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	put(t, b, "outcome.run.1", "a")
	put(t, b, "outcome.run.1", "b")
	ended := make(chan error, 1)
	read := make(chan struct{})
	go func() {
		ended <- b.Tail(t.Context(), contract.StreamOutcomes, "outcome.run.*", 0, func(msg bus.Message) error {
			if msg.Sequence == 2 {
				close(read)
			}
			return nil
		})
	}()
	<-read
	if err := b.JetStream().DeleteStream(t.Context(), contract.StreamOutcomes); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), b.JetStream(), streams.Options{}); err != nil {
		t.Fatal(err)
	}
	// A new connection reads at once what the next poll would read.
	if err := b.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v, want ErrStreamNotFound", err)
	}
}

func TestTail_WithoutNotices(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	s, err := b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.RePublish = nil
	if _, err := b.JetStream().UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r := startTail(t, b, "outcome.run.*", 0)
	put(t, b, "outcome.run.1", "a")
	r.next("a")
	put(t, b, "outcome.run.1", "b")
	r.next("b")
}

func TestTail_FalseNotice(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	r := startTail(t, b, "outcome.run.*", 0)
	put(t, b, "outcome.run.1", "a")
	r.next("a")
	lie := nats.NewMsg("stored.outcome.run.1")
	lie.Header.Set(jetstream.StreamHeader, contract.StreamOutcomes)
	lie.Header.Set(jetstream.SequenceHeader, "18446744073709551615")
	if err := b.Conn().PublishMsg(lie); err != nil {
		t.Fatal(err)
	}
	put(t, b, "outcome.run.1", "b")
	r.next("b")
}

func TestTail_ServerRestart(t *testing.T) {
	t.Parallel()
	b, restart := fcttest.RestartableBroker(t)
	r := startTail(t, b, "outcome.run.*", 0)
	for round := range 3 {
		text := fmt.Sprint("round ", round)
		put(t, b, "outcome.run.1", text)
		r.next(text)
		restart(func() {})
	}
	put(t, b, "outcome.run.1", "end")
	r.next("end")
}

func TestTail_ClusterLosesItsLeader(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	servers, b := fcttest.Cluster(t, bus.Options{})
	r := startTail(t, b, "outcome.run.*", 0)
	n := 0
	exchange := func(times int) {
		t.Helper()
		for range times {
			n++
			text := fmt.Sprint(n)
			put(t, b, "outcome.run.1", text)
			for { // a publish without an answer may have been stored: then the text comes twice
				if msg := r.anyOf(text, fmt.Sprint(n-1)); string(msg.Data) == text {
					break
				}
			}
		}
	}
	exchange(200)
	s, err := b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	var leader int
	if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "server-%d", &leader); err != nil {
		t.Fatal(err)
	}
	servers.Stop(leader)
	exchange(200)
}

// anyOf is the next message, which must hold one of these texts.
func (r *tailReader) anyOf(texts ...string) bus.Message {
	r.t.Helper()
	select {
	case msg := <-r.got:
		if !slices.Contains(texts, string(msg.Data)) {
			r.t.Fatalf("message %d holds %q, want one of %q", msg.Sequence, msg.Data, texts)
		}
		return msg
	case <-time.After(time.Minute):
		r.t.Fatalf("none of %q has come", texts)
	}
	panic("unreachable")
}
