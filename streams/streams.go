// Package streams holds the definitions of all streams, buckets and consumers as JSON that the nats
// command accepts (nats stream add --config, nats consumer add --config), and creates them on a
// server.
package streams

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrDrift reports that a stream or consumer on the server differs from its definition.
	ErrDrift = errors.New("definition drifted")
	// ErrNotAllowed reports that a stream or consumer is missing and that this connection may not
	// create it.
	ErrNotAllowed = errors.New("not allowed to make it")
)

//go:embed *.json
var files embed.FS

// The files are named <stream>.stream.json and <stream>.<consumer>.consumer.json.
const (
	streamSuffix   = ".stream.json"
	consumerSuffix = ".consumer.json"
)

// SharedConsumer names a consumer that all processes of a role share.
type SharedConsumer struct{ Stream, Name string }

// SharedConsumers returns the consumers that Ensure creates, in that order.
func SharedConsumers() []SharedConsumer {
	return []SharedConsumer{
		{contract.StreamBatch, ConsumerStarts}, {contract.StreamBatch, ConsumerControl},
		{contract.StreamAnswers, lastConsumer},
	}
}

// The consumers of commands. That of the starts delivers the other commands too, so that its
// acknowledgements show which starts before a command were carried out.
const (
	ConsumerStarts  = "generator"
	ConsumerControl = "control"
)

// lastConsumer is the consumer of answers, which Ensure creates last.
const lastConsumer = "classifier"

// Options of Ensure.
type Options struct {
	// Replicas is how many servers of a cluster store each stream; 0 takes the number of the
	// definitions.
	Replicas int
	// Exclusive: no other program uses the server. Ensure then updates what an earlier version
	// created, if that drops no stored message.
	Exclusive bool
	// OnUpdate is called with each updated name and the differences; it may be nil.
	OnUpdate func(name, differences string)
}

// Ensure creates every missing stream, bucket and shared consumer, and accepts those that equal
// their definition. One that differs is left as it is, unless the server is exclusive: the error
// wraps ErrDrift, lists the differing fields, and says what can be done. If one is missing and the
// connection may not create it, the error wraps ErrNotAllowed.
func Ensure(ctx context.Context, js jetstream.JetStream, opts Options) error {
	configs, err := Streams()
	if err != nil {
		return err
	}
	for _, config := range configs {
		if opts.Replicas > 0 {
			config.Replicas = opts.Replicas
		}
		home, err := AccountAPI(ctx, js, config.Name)
		if err != nil {
			return err
		}
		if err := ensureStream(ctx, home, config, opts); err != nil {
			return fmt.Errorf("creating stream %s: %w", config.Name, err)
		}
	}
	for _, shared := range SharedConsumers() {
		config, err := Consumer(shared.Stream, shared.Name)
		if err != nil {
			return err
		}
		if err := ensureConsumer(ctx, js, shared.Stream, config, opts); err != nil {
			return fmt.Errorf("creating consumer %s of %s: %w", shared.Name, shared.Stream, err)
		}
	}
	return nil
}

// asNotAllowed wraps the error of a request without a responder in ErrNotAllowed: an account that
// does not import a subject of the JetStream API has no responder for it.
func asNotAllowed(err error) error {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: run fct-scraper setup with the admin's key: %w", ErrNotAllowed, err)
	}
	return err
}

// AccountAPI is the JetStream API of the account that owns a stream. It is js, except for the admin
// of a server with the accounts of deploy/nats/nats.conf, who reaches the streams FCT_JOBS and
// FCT_PACE by a domain.
func AccountAPI(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.JetStream, error) {
	domain, has := map[string]string{contract.StreamJobs: "jobs", contract.StreamPace: "pace"}[stream]
	if !has {
		return js, nil
	}
	there, err := jetstream.NewWithDomain(js.Conn(), domain)
	if err != nil {
		return nil, fmt.Errorf("opening domain %s: %w", domain, err)
	}
	_, err = there.AccountInfo(ctx)
	switch {
	case err == nil:
		return there, nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return js, nil
	default:
		return nil, fmt.Errorf("opening domain %s: %w", domain, err)
	}
}

// OpenStream opens a stream by the API of the account that owns it.
func OpenStream(ctx context.Context, js jetstream.JetStream, stream string) (jetstream.Stream, error) {
	home, err := AccountAPI(ctx, js, stream)
	if err != nil {
		return nil, err
	}
	opened, err := home.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("opening stream %s: %w", stream, err)
	}
	return opened, nil
}

// awaitPoll is how often Await checks for the streams.
const awaitPoll = 500 * time.Millisecond

// Await waits until another process has created everything that Ensure creates. It checks for the
// last consumer. The error is that of ctx or of the server.
func Await(ctx context.Context, js jetstream.JetStream) error {
	for {
		_, err := js.Consumer(ctx, contract.StreamAnswers, lastConsumer)
		if ctx.Err() == nil && (errors.Is(err, jetstream.ErrConsumerNotFound) ||
			errors.Is(err, jetstream.ErrStreamNotFound)) {
			select {
			case <-ctx.Done(): // the next request fails
			case <-time.After(awaitPoll):
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the streams: %w", cmp.Or(context.Cause(ctx), err))
		}
		return nil
	}
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, opts Options) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
		err = asNotAllowed(err)
	}
	if err != nil {
		return err
	}
	return opts.reconcile(definition{
		name: want.Name, want: want, editCommand: fmt.Sprintf("nats stream edit %s --config streams/%s%s", want.Name,
			want.Name, streamSuffix),
		update: func() (any, error) {
			if _, err := js.UpdateStream(ctx, want); err != nil {
				return nil, err
			}
			updated, err := js.Stream(ctx, want.Name)
			if err != nil {
				return nil, err
			}
			return updated.CachedInfo().Config, nil
		},
	}, stream.CachedInfo().Config)
}

func ensureConsumer(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig,
	opts Options) error {
	consumer, err := js.Consumer(ctx, stream, want.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = js.CreateConsumer(ctx, stream, want)
		err = asNotAllowed(err)
	}
	if err != nil {
		return err
	}
	return opts.reconcile(definition{
		name: stream + " > " + want.Durable, want: want,
		editCommand: fmt.Sprintf("nats consumer edit %s %s --config streams/%s.%s%s", stream, want.Durable, stream,
			want.Durable, consumerSuffix),
		update: func() (any, error) {
			// After a restart the server replies to the first update with the old configuration.
			if _, err := js.UpdateConsumer(ctx, stream, want); err != nil {
				return nil, err
			}
			updated, err := js.Consumer(ctx, stream, want.Durable)
			if err != nil {
				return nil, err
			}
			return updated.CachedInfo().Config, nil
		},
	}, consumer.CachedInfo().Config)
}

// RecreateShared recreates a shared consumer, so that it redelivers what was not acknowledged.
func RecreateShared(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	config, err := Consumer(stream, name)
	if err != nil {
		return err
	}
	return Recreate(ctx, js, stream, config)
}

// Recreate deletes a consumer and creates it by its definition.
func Recreate(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig) error {
	if err := DeleteConsumer(ctx, js, stream, want.Durable); err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, stream, want); err != nil {
		return fmt.Errorf("creating consumer %s of %s: %w", want.Durable, stream, asNotAllowed(err))
	}
	return nil
}

// DeleteConsumer deletes a consumer; a missing one is no error.
func DeleteConsumer(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	if err := js.DeleteConsumer(ctx, stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("deleting consumer %s of %s: %w", name, stream, asNotAllowed(err))
	}
	return nil
}

// Streams returns the definitions of all streams, those of the buckets included.
func Streams() ([]jetstream.StreamConfig, error) {
	names, err := fs.Glob(files, "*"+streamSuffix)
	if err != nil {
		return nil, fmt.Errorf("listing the definitions: %w", err)
	}
	var configs []jetstream.StreamConfig
	for _, name := range names {
		var config jetstream.StreamConfig
		if err := readDefinition(name, &config); err != nil {
			return nil, err
		}
		configs = append(configs, config)
	}
	return configs, nil
}

// BucketMaxAge returns how long a bucket keeps a key that is not written again; 0 is for ever.
func BucketMaxAge(bucket string) (time.Duration, error) {
	var config jetstream.StreamConfig
	err := readDefinition("KV_"+bucket+streamSuffix, &config)
	return config.MaxAge, err
}

// Consumer returns the definition of a consumer of a stream.
func Consumer(stream, name string) (jetstream.ConsumerConfig, error) {
	var config jetstream.ConsumerConfig
	err := readDefinition(stream+"."+name+consumerSuffix, &config)
	return config, err
}

// JobsConsumer is the durable consumer that the fetchers of a run share. Each run has its own: with
// one for all, a run of 50 numbers had to wait for 3,050 jobs of another.
func JobsConsumer(run contract.RunID) (jetstream.ConsumerConfig, error) {
	return namedConsumer(contract.StreamJobs, "fetcher", run.ConsumerName(), run.JobFilter())
}

// TurnConsumer is the durable consumer by which all fetchers of a site take its turn.
func TurnConsumer(site string) (jetstream.ConsumerConfig, error) {
	return namedConsumer(contract.StreamPace, "turn", "turn-"+site, contract.TurnSubject(site))
}

// SlotsConsumer is the durable consumer by which all fetchers of a site take up to slots of its
// slots.
func SlotsConsumer(site string, slots int) (jetstream.ConsumerConfig, error) {
	config, err := namedConsumer(contract.StreamPace, "slots", "slots-"+site, contract.SlotFilter(site))
	config.MaxAckPending = slots
	return config, err
}

// DeliveryFault describes the setting that keeps a consumer from delivering every message until it
// is acknowledged; empty if none does, or if have is the zero value, for a missing consumer.
// Operators may change its ack wait and may pause it.
func DeliveryFault(want, have jetstream.ConsumerConfig) string {
	switch {
	case have.Name == "" && have.Durable == "":
		return ""
	case have.MaxDeliver != want.MaxDeliver:
		return fmt.Sprintf("max_deliver: have %d, want %d", have.MaxDeliver, want.MaxDeliver)
	case have.FilterSubject != want.FilterSubject || !slices.Equal(have.FilterSubjects, want.FilterSubjects):
		return fmt.Sprintf("filter: have %q, want %q", append(have.FilterSubjects, have.FilterSubject),
			append(want.FilterSubjects, want.FilterSubject))
	default:
		return ""
	}
}

// namedConsumer is the definition of a consumer under another name and with another filter.
func namedConsumer(stream, definition, name, filter string) (jetstream.ConsumerConfig, error) {
	config, err := Consumer(stream, definition)
	config.Name, config.Durable, config.FilterSubject, config.FilterSubjects = name, name, filter, nil
	return config, err
}

func readDefinition(name string, config any) error {
	data, err := files.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading the definition %s: %w", name, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(config); err != nil {
		return fmt.Errorf("reading the definition %s: %w", name, err)
	}
	return nil
}
