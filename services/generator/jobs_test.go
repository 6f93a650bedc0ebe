package generator_test

import (
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
	"fct-scraper/streams"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// setUpRun starts a run of 300 numbers and waits until all of its jobs are published.
func setUpRun(t *testing.T) (f fixture, run contract.RunID) {
	t.Helper()
	f = setUp(t)
	t.Cleanup(f.runService())
	run = f.send(contract.SubjectStart, `{"year":"25","end":300}`).RunID
	f.waitUntil("all jobs published", func() bool {
		planned, err := f.b.Subjects(t.Context(), contract.StreamOutcomes, run.PlannedSubject())
		return err == nil && len(planned) == 1
	})
	return f, run
}

func (f fixture) stream(name string) jetstream.Stream {
	f.t.Helper()
	stream, err := f.b.JetStream().Stream(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return stream
}

// What is planned is known although jobs are published only as others are fetched.
func TestPlanned_BeforePublished(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	t.Cleanup(f.runService())
	f.storeOutcomes(contract.BucketCollected, map[int]contract.Outcome{7: contract.Success, 1999: contract.NoRecord,
		2500: contract.Success})
	for body, want := range map[string]contract.Planned{
		`{"year":"25","end":2000}`:                {Range: contract.Range{Start: 1, End: 2000}, Jobs: 1998, Skipped: 2},
		`{"year":"25","end":2000,"recheck":true}`: {Range: contract.Range{Start: 1, End: 2000}, Jobs: 1999, Skipped: 1},
		`{"year":"25","end":2000,"force":true}`:   {Range: contract.Range{Start: 1, End: 2000}, Jobs: 2000},
		`{"year":"25","ids":["IMM-7-25","IMM-900-25..IMM-2399-25"]}`: {Range: contract.Range{Start: 7, End: 2399}, Jobs: 1499,
			Skipped: 2},
	} {
		run := f.send(contract.SubjectStart, body).RunID
		want.Version = contract.MessageVersion
		got := await[contract.Planned](f, f.kv, run.PlannedKey())
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
		if published, err := f.b.Subjects(t.Context(), contract.StreamOutcomes, run.PlannedSubject()); err != nil || len(published) > 0 {
			t.Errorf("%s: all jobs are published, %v", body, err)
		}
	}
}

func TestReconcile_RemovedJobs(t *testing.T) {
	t.Parallel()
	fcttest.RunAtOnce(t, map[string]func(fixture, contract.RunID) error{
		"purged": func(f fixture, _ contract.RunID) error { return f.stream(contract.StreamJobs).Purge(t.Context()) },
		"one deleted": func(f fixture, _ contract.RunID) error {
			return f.stream(contract.StreamJobs).DeleteMsg(t.Context(), 7)
		},
		"the last deleted": func(f fixture, _ contract.RunID) error {
			return f.stream(contract.StreamJobs).DeleteMsg(t.Context(), 300)
		},
		"stream recreated": func(f fixture, _ contract.RunID) error {
			if err := f.b.JetStream().DeleteStream(t.Context(), contract.StreamJobs); err != nil {
				return err
			}
			return streams.Ensure(t.Context(), f.b.JetStream(), streams.Options{})
		},
	}, func(t *testing.T, _ string, damage func(fixture, contract.RunID) error) {
		f, run := setUpRun(t)
		if err := damage(f, run); err != nil {
			t.Fatal(err)
		}
		f.waitUntil("all jobs published again", func() bool {
			published, err := runs.PublishedNumbers(t.Context(), f.b, run)
			return err == nil && len(published) == 300
		})
		f.waitUntil("a consumer for them", func() bool {
			consumer, err := f.b.JetStream().Consumer(t.Context(), contract.StreamJobs, run.ConsumerName())
			return err == nil && consumer.CachedInfo().NumPending > 0
		})
		stream := f.stream(contract.StreamJobs)
		last, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq)
		if err != nil || last.Header.Get(contract.RepublishedHeader) == "" {
			t.Errorf("the last job: %+v, %v; want the header %s", last, err, contract.RepublishedHeader)
		}
	})
}

func TestReconcile_JobsConsumer(t *testing.T) {
	t.Parallel()
	fcttest.RunAtOnce(t, map[string]func(t *testing.T, f fixture, config jetstream.ConsumerConfig) error{
		"removed": func(t *testing.T, f fixture, config jetstream.ConsumerConfig) error {
			return f.b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, config.Durable)
		},
		"few deliveries": func(t *testing.T, f fixture, config jetstream.ConsumerConfig) error {
			config.MaxDeliver = 1
			_, err := f.b.JetStream().UpdateConsumer(t.Context(), contract.StreamJobs, config)
			return err
		},
		"another filter": func(t *testing.T, f fixture, config jetstream.ConsumerConfig) error {
			config.FilterSubject = "job.nobody.*"
			_, err := f.b.JetStream().UpdateConsumer(t.Context(), contract.StreamJobs, config)
			return err
		},
		"all acknowledged externally": func(t *testing.T, f fixture, config jetstream.ConsumerConfig) error {
			consumer, err := f.b.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
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
	}, func(t *testing.T, _ string, damage func(*testing.T, fixture, jetstream.ConsumerConfig) error) {
		f, run := setUpRun(t)
		config, err := streams.JobsConsumer(run)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(t, f, config); err != nil {
			t.Fatal(err)
		}
		f.waitUntil("a good consumer with all jobs", func() bool {
			consumer, err := f.b.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
			if err != nil {
				return false
			}
			have := consumer.CachedInfo().Config
			return have.MaxDeliver == config.MaxDeliver && have.FilterSubject == config.FilterSubject &&
				consumer.CachedInfo().NumPending == 300
		})
	})
}

func TestReconcile_EndedRun(t *testing.T) {
	t.Parallel()
	f, run := setUpRun(t)
	f.endRun(run, contract.Completed)
	if err := f.stream(contract.StreamJobs).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, run.ConsumerName()); err != nil {
		t.Fatal(err)
	}
	// A second run is repaired, by which time the ended one would have been too.
	other := f.send(contract.SubjectStart, `{"year":"24","end":5}`).RunID
	f.waitUntil("the jobs of the other run", func() bool {
		published, err := runs.PublishedNumbers(t.Context(), f.b, other)
		return err == nil && len(published) == 5
	})
	if err := f.stream(contract.StreamJobs).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.waitUntil("the jobs of the other run again", func() bool {
		published, err := runs.PublishedNumbers(t.Context(), f.b, other)
		return err == nil && len(published) == 5
	})
	if published, err := runs.PublishedNumbers(t.Context(), f.b, run); err != nil || len(published) > 0 {
		t.Errorf("%d jobs of an ended run, %v", len(published), err)
	}
}

func TestReconcile_SharedConsumers(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	defer f.runService()()
	if err := f.b.JetStream().DeleteConsumer(t.Context(), contract.StreamAnswers, "classifier"); err != nil {
		t.Fatal(err)
	}
	f.waitUntil("the consumer of the classifiers", func() bool {
		_, err := f.b.JetStream().Consumer(t.Context(), contract.StreamAnswers, "classifier")
		return err == nil
	})
}
