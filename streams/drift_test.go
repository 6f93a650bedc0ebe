package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

// earlierVersions are changes of a stream's configuration that can be undone without dropping
// anything.
func earlierVersions() map[string]func(*jetstream.StreamConfig) {
	return map[string]func(*jetstream.StreamConfig){
		"description":          func(c *jetstream.StreamConfig) { c.Description = "as it was" },
		"duplicate_window":     func(c *jetstream.StreamConfig) { c.Duplicates = 10 * time.Second },
		"allow_direct":         func(c *jetstream.StreamConfig) { c.AllowDirect = !c.AllowDirect },
		"no_ack":               func(c *jetstream.StreamConfig) { c.NoAck = !c.NoAck && !c.AllowAtomicPublish },
		"deny_delete":          func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"max_msg_size":         func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 },
		"compression":          func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression },
		"allow_atomic":         func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"max_msgs":             func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge = 12 * time.Second },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = min(max(1, c.MaxMsgsPerSubject), 2) },
	}
}

func TestEnsure_UpdatesExclusiveStore(t *testing.T) {
	t.Parallel()
	configs, err := streams.Streams()
	if err != nil {
		t.Fatal(err)
	}
	changes := earlierVersions()
	names := make([]string, 0, len(changes))
	for name := range changes {
		names = append(names, name)
	}
	slices.Sort(names)
	js := fcttest.Broker(t).JetStream()
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.SampledFrom(configs).Draw(rt, "stream")
		old := want
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 5, rapid.ID).Draw(rt, "changes") {
			changes[name](&old)
		}
		if old.Duplicates > old.MaxAge && old.MaxAge > 0 {
			old.Duplicates = old.MaxAge
		}
		if err := js.DeleteStream(t.Context(), want.Name); err != nil {
			rt.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), old); err != nil {
			rt.Skip(err) // no version could have made it so
		}
		subject := strings.NewReplacer("*", "a", ">", "a").Replace(want.Subjects[0])
		if old.NoAck {
			err = publishUnacknowledged(t.Context(), js, want.Name, subject)
		} else {
			_, err = js.Publish(t.Context(), subject, nil)
		}
		if err != nil {
			rt.Fatal(err)
		}
		refused := streams.Ensure(t.Context(), js, streams.Options{})
		own := streams.Options{Exclusive: true}
		told := ""
		own.OnUpdate = func(name, differences string) { told += name + " " + differences }
		if err := streams.Ensure(t.Context(), js, own); err != nil {
			rt.Fatal(err)
		}
		if (refused == nil) != (told == "") || refused != nil && !errors.Is(refused, streams.ErrDrift) {
			rt.Errorf("refused as %v, and brought up to date: %q", refused, told)
		}
		if err := streams.Ensure(t.Context(), js, streams.Options{}); err != nil {
			rt.Error("it still differs:", err)
		}
		stream, err := js.Stream(t.Context(), want.Name)
		if err != nil || stream.CachedInfo().State.Msgs != 1 {
			rt.Errorf("%v: %+v, want the message that was there", err, stream.CachedInfo().State)
		}
	})
}

// publishUnacknowledged publishes to a stream without acknowledgements and waits until it is
// stored.
func publishUnacknowledged(ctx context.Context, js jetstream.JetStream, stream, subject string) error {
	if err := js.Conn().Publish(subject, nil); err != nil {
		return err
	}
	for {
		opened, err := js.Stream(ctx, stream)
		if err != nil || opened.CachedInfo().State.Msgs > 0 {
			return err
		}
	}
}

func TestEnsure_RefusesLossyUpdate(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"storage":              func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention":            func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"subjects":             func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "batch.older") },
		"max_age":              func(c *jetstream.StreamConfig) { c.MaxAge *= 2 },
		"max_msgs_per_subject": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := fcttest.Broker(t).JetStream()
			stream, err := js.Stream(t.Context(), contract.StreamEvents)
			if err != nil {
				t.Fatal(err)
			}
			old := stream.CachedInfo().Config
			change(&old)
			if err := js.DeleteStream(t.Context(), old.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			err = streams.Ensure(t.Context(), js, streams.Options{Exclusive: true})
			if !errors.Is(err, streams.ErrDrift) || !strings.Contains(err.Error(), name+": have") || !strings.Contains(err.Error(), "data_dir") {
				t.Errorf("%v", err)
			}
			now, err := js.Stream(t.Context(), contract.StreamEvents)
			if err != nil || fmt.Sprint(now.CachedInfo().Config.Storage, now.CachedInfo().Config.MaxAge) != fmt.Sprint(old.Storage, old.MaxAge) {
				t.Errorf("%v: %+v", err, now.CachedInfo().Config)
			}
		})
	}
}

func TestEnsure_UpdatesConsumer(t *testing.T) {
	t.Parallel()
	js := fcttest.Broker(t).JetStream()
	config, err := streams.Consumer(contract.StreamBatch, "generator")
	if err != nil {
		t.Fatal(err)
	}
	config.AckWait, config.MaxAckPending, config.Description, config.FilterSubjects = time.Minute, 7, "as it was", []string{"batch.start"}
	if _, err := js.UpdateConsumer(t.Context(), contract.StreamBatch, config); err != nil {
		t.Fatal(err)
	}
	err = streams.Ensure(t.Context(), js, streams.Options{})
	if want := "nats consumer edit FCT_BATCH generator --config streams/FCT_BATCH.generator.consumer.json"; !errors.Is(err, streams.ErrDrift) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want it to name %q", err, want)
	}
	for _, own := range []bool{true, false} { // brought up to date it is accepted by anybody
		if err := streams.Ensure(t.Context(), js, streams.Options{Exclusive: own}); err != nil {
			t.Error(err)
		}
	}
	config.AckPolicy = jetstream.AckAllPolicy
	if err := js.DeleteConsumer(t.Context(), contract.StreamBatch, "generator"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), contract.StreamBatch, config); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, streams.Options{Exclusive: true}); !errors.Is(err, streams.ErrDrift) || !strings.Contains(err.Error(), "ack_policy: have") {
		t.Errorf("%v, want it refused", err)
	}
}
