// Package streams holds the definitions of all streams, buckets and consumers as JSON that the nats command takes
// as it is (nats stream add --config, nats consumer add --config), and makes them on a server.
package streams

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrDrift says that a stream or consumer on the server is not as this program defines it.
	ErrDrift = errors.New("definition drifted")
	// ErrNotAllowed says that a stream or consumer is missing, and that this connection has no right to make it.
	ErrNotAllowed = errors.New("not allowed to make it")
)

//go:embed *.json
var files embed.FS

// The names of the files end by what they define: <stream>.stream.json and <stream>.<consumer>.consumer.json.
const (
	streamSuffix   = ".stream.json"
	consumerSuffix = ".consumer.json"
)

// SharedConsumer names a consumer that all processes of a role share.
type SharedConsumer struct{ Stream, Name string }

// SharedConsumers are the consumers that Ensure makes, in the order in which it makes them.
func SharedConsumers() []SharedConsumer {
	return []SharedConsumer{
		{contract.StreamBatch, ConsumerStarts}, {contract.StreamBatch, ConsumerControl}, {contract.StreamAnswers, lastConsumer},
	}
}

// The consumers of commands. That of the starts delivers the other commands too, so that its acknowledgements tell which starts
// before a command were carried out.
const (
	ConsumerStarts  = "generator"
	ConsumerControl = "control"
)

// lastConsumer is the consumer of answers, which Ensure makes when everything else is there.
const lastConsumer = "classifier"

// Options of Ensure.
type Options struct {
	// Replicas is how many servers of a cluster keep each stream; 0 takes what the files say.
	Replicas int
	// Exclusive says that no other program uses the server: what an earlier version made is then brought up to date where that drops
	// nothing that is stored.
	Exclusive bool
	// OnUpdate is told what was brought up to date, and what differed; it may be nil.
	OnUpdate func(name, differences string)
}

// Ensure makes every stream, bucket and shared consumer that is missing and accepts those that are equal to their
// definition. One that differs is left as it is, unless the store is the program's own: the error wraps ErrDrift, says field
// by field what differs, and what can be done about it. One that is missing and that the connection may not make is ErrNotAllowed.
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
			return fmt.Errorf("making stream %s: %w", config.Name, err)
		}
	}
	for _, shared := range SharedConsumers() {
		config, err := Consumer(shared.Stream, shared.Name)
		if err != nil {
			return err
		}
		if err := ensureConsumer(ctx, js, shared.Stream, config, opts); err != nil {
			return fmt.Errorf("making consumer %s of %s: %w", shared.Name, shared.Stream, err)
		}
	}
	return nil
}

// asNotAllowed turns the error of a request that nobody hears into ErrNotAllowed: an account that does not import a subject of the
// JetStream API has nobody behind it.
func asNotAllowed(err error) error {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: fct-scraper setup does, with the key of the admin: %w", ErrNotAllowed, err)
	}
	return err
}

// AccountAPI is the JetStream API of the account that holds a stream. It is that of js, except for the admin of a server with the
// accounts of deploy/nats/nats.conf, who reaches the streams of jobs and of the pace by a domain.
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

// OpenStream opens a stream by the API of the account that holds it.
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

// awaitPoll is how often it is looked whether somebody else has made the streams.
const awaitPoll = 500 * time.Millisecond

// Await returns when somebody else has made everything that Ensure makes, or with the error of ctx or of a server that
// does not tell. The last thing that Ensure makes is what it waits for.
func Await(ctx context.Context, js jetstream.JetStream) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the streams: %w", context.Cause(ctx))
		case <-timer.C:
		}
		_, err := js.Consumer(ctx, contract.StreamAnswers, lastConsumer)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			timer.Reset(awaitPoll)
			continue
		}
		return fmt.Errorf("waiting for the streams: %w", err)
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
		name: want.Name, want: want, editCommand: fmt.Sprintf("nats stream edit %s --config streams/%s%s", want.Name, want.Name, streamSuffix),
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

func ensureConsumer(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig, opts Options) error {
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
		editCommand: fmt.Sprintf("nats consumer edit %s %s --config streams/%s.%s%s", stream, want.Durable, stream, want.Durable, consumerSuffix),
		update: func() (any, error) {
			// A server that was started again answers the first change with what was before.
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

// RecreateShared makes a shared consumer anew, so that it delivers again what was delivered and not acknowledged.
func RecreateShared(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	config, err := Consumer(stream, name)
	if err != nil {
		return err
	}
	return Recreate(ctx, js, stream, config)
}

// Recreate makes a consumer by its definition, after removing the one of that name.
func Recreate(ctx context.Context, js jetstream.JetStream, stream string, want jetstream.ConsumerConfig) error {
	if err := DeleteConsumer(ctx, js, stream, want.Durable); err != nil {
		return err
	}
	if _, err := js.CreateOrUpdateConsumer(ctx, stream, want); err != nil {
		return fmt.Errorf("making consumer %s of %s: %w", want.Durable, stream, asNotAllowed(err))
	}
	return nil
}

// DeleteConsumer removes a consumer; one that is not there is no error.
func DeleteConsumer(ctx context.Context, js jetstream.JetStream, stream, name string) error {
	if err := js.DeleteConsumer(ctx, stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("removing consumer %s of %s: %w", name, stream, asNotAllowed(err))
	}
	return nil
}

// Streams are the definitions of all streams, those of the buckets included.
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

// Consumer is the definition of a consumer of a stream.
func Consumer(stream, name string) (jetstream.ConsumerConfig, error) {
	var config jetstream.ConsumerConfig
	err := readDefinition(stream+"."+name+consumerSuffix, &config)
	return config, err
}

// JobsConsumer is the durable consumer that the fetchers of a run share: each run has its own, because with one for
// all a run of 50 numbers had to wait for 3,050 jobs of another.
func JobsConsumer(run contract.RunID) (jetstream.ConsumerConfig, error) {
	config, err := Consumer(contract.StreamJobs, "fetcher")
	config.Name, config.Durable = run.ConsumerName(), run.ConsumerName()
	config.FilterSubject, config.FilterSubjects = run.JobFilter(), nil
	return config, err
}

// TurnConsumer is the durable consumer by which all fetchers of a site take its one turn.
func TurnConsumer(site string) (jetstream.ConsumerConfig, error) {
	config, err := Consumer(contract.StreamPace, "turn")
	config.Name, config.Durable = "turn-"+site, "turn-"+site
	config.FilterSubject, config.FilterSubjects = contract.TurnSubject(site), nil
	return config, err
}

// SlotsConsumer is the durable consumer by which all fetchers of a site take its slots, so many at once.
func SlotsConsumer(site string, slots int) (jetstream.ConsumerConfig, error) {
	config, err := Consumer(contract.StreamPace, "slots")
	config.Name, config.Durable = "slots-"+site, "slots-"+site
	config.FilterSubject, config.FilterSubjects = contract.SlotFilter(site), nil
	config.MaxAckPending = slots
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
