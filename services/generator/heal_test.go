package generator_test

import (
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go/jetstream"
)

// healing is a run of 600 numbers under way: some jobs are taken, the ledger says that all are published.
func healing(t *testing.T) (p plant, run contract.RunID) {
	t.Helper()
	p = setUp(t)
	t.Cleanup(p.run())
	run = p.send(contract.SubjectStart, `{"year":"25","end":300}`).RunID
	p.until("all jobs published", func() bool {
		said, err := p.b.Subjects(t.Context(), contract.StreamOutcomes, run.PlannedSubject())
		return err == nil && len(said) == 1
	})
	return p, run
}

func (p plant) stream(name string) jetstream.Stream {
	p.t.Helper()
	stream, err := p.b.JetStream().Stream(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return stream
}

func TestRemovedJobsComeAgain(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(plant, contract.RunID) error{
		"purged":      func(p plant, _ contract.RunID) error { return p.stream(contract.StreamJobs).Purge(t.Context()) },
		"one deleted": func(p plant, _ contract.RunID) error { return p.stream(contract.StreamJobs).DeleteMsg(t.Context(), 7) },
		"the last deleted": func(p plant, _ contract.RunID) error {
			return p.stream(contract.StreamJobs).DeleteMsg(t.Context(), 300)
		},
		"stream made again": func(p plant, _ contract.RunID) error {
			if err := p.b.JetStream().DeleteStream(t.Context(), contract.StreamJobs); err != nil {
				return err
			}
			return streams.Ensure(t.Context(), p.b.JetStream(), streams.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, run := healing(t)
			if err := harm(p, run); err != nil {
				t.Fatal(err)
			}
			p.until("all jobs there", func() bool {
				there, err := runs.PublishedNumbers(t.Context(), p.b, run)
				return err == nil && len(there) == 300
			})
			p.until("a consumer for them", func() bool {
				consumer, err := p.b.JetStream().Consumer(t.Context(), contract.StreamJobs, run.ConsumerName())
				return err == nil && consumer.CachedInfo().NumPending > 0
			})
			stream := p.stream(contract.StreamJobs)
			last, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq)
			if err != nil || last.Header.Get(contract.RepublishedHeader) == "" {
				t.Errorf("the job that came last: %+v, %v; want the header %s", last, err, contract.RepublishedHeader)
			}
		})
	}
}

func TestAHarmedConsumerIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, p plant, config jetstream.ConsumerConfig) error{
		"removed": func(t *testing.T, p plant, config jetstream.ConsumerConfig) error {
			return p.b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, config.Durable)
		},
		"few deliveries": func(t *testing.T, p plant, config jetstream.ConsumerConfig) error {
			config.MaxDeliver = 1
			_, err := p.b.JetStream().UpdateConsumer(t.Context(), contract.StreamJobs, config)
			return err
		},
		"another filter": func(t *testing.T, p plant, config jetstream.ConsumerConfig) error {
			config.FilterSubject = "job.nobody.*"
			_, err := p.b.JetStream().UpdateConsumer(t.Context(), contract.StreamJobs, config)
			return err
		},
		"all acknowledged by somebody": func(t *testing.T, p plant, config jetstream.ConsumerConfig) error {
			consumer, err := p.b.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
			if err != nil {
				return err
			}
			batch, err := consumer.Fetch(300)
			if err != nil {
				return err
			}
			for msg := range batch.Messages() {
				if err := msg.Ack(); err != nil {
					return err
				}
			}
			return batch.Error()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, run := healing(t)
			config, err := streams.JobsConsumer(run)
			if err != nil {
				t.Fatal(err)
			}
			if err := harm(t, p, config); err != nil {
				t.Fatal(err)
			}
			p.until("a good consumer with all jobs", func() bool {
				consumer, err := p.b.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
				if err != nil {
					return false
				}
				have := consumer.CachedInfo().Config
				return have.MaxDeliver == config.MaxDeliver && have.FilterSubject == config.FilterSubject && consumer.CachedInfo().NumPending == 300
			})
		})
	}
}

func TestAnEndedRunIsNotHealed(t *testing.T) {
	t.Parallel()
	p, run := healing(t)
	p.end(run, contract.Completed)
	if err := p.stream(contract.StreamJobs).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, run.ConsumerName()); err != nil {
		t.Fatal(err)
	}
	// A run beside it is healed; by then this one would have been.
	other := p.send(contract.SubjectStart, `{"year":"24","end":5}`).RunID
	p.until("the other's jobs", func() bool {
		there, err := runs.PublishedNumbers(t.Context(), p.b, other)
		return err == nil && len(there) == 5
	})
	if err := p.stream(contract.StreamJobs).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.until("the other's jobs again", func() bool {
		there, err := runs.PublishedNumbers(t.Context(), p.b, other)
		return err == nil && len(there) == 5
	})
	if there, err := runs.PublishedNumbers(t.Context(), p.b, run); err != nil || len(there) > 0 {
		t.Errorf("%d jobs of an ended run, %v", len(there), err)
	}
}

func TestSharedConsumersAreKept(t *testing.T) {
	t.Parallel()
	p := setUp(t)
	defer p.run()()
	if err := p.b.JetStream().DeleteConsumer(t.Context(), contract.StreamAnswers, "classifier"); err != nil {
		t.Fatal(err)
	}
	p.until("the classifiers' consumer", func() bool {
		_, err := p.b.JetStream().Consumer(t.Context(), contract.StreamAnswers, "classifier")
		return err == nil
	})
}
