package fetcher_test

import (
	"fmt"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/fetcher"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestRedeliveredJobsNotRefetched checks that jobs that are delivered as if for the first time are
// not fetched again by either of two fetchers.
func TestRedeliveredJobsNotRefetched(t *testing.T) {
	const jobs = 90
	for name, redeliver := range map[string]func(fixture, jetstream.ConsumerConfig) error{
		"consumer recreated": func(f fixture, config jetstream.ConsumerConfig) error {
			if err := f.bus.JetStream().DeleteConsumer(f.t.Context(), contract.StreamJobs, config.Durable); err != nil {
				return err
			}
			time.Sleep(contract.ConsumerRecreateDelay)
			_, err := f.bus.JetStream().CreateConsumer(f.t.Context(), contract.StreamJobs, config)
			return err
		},
		"jobs republished": func(f fixture, _ jetstream.ConsumerConfig) error {
			stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamJobs)
			if err != nil {
				return err
			}
			// Idle fetchers take turns, as before. Odd numbers first: each gets some jobs of the other.
			for i := range uint64(jobs) {
				sequence := 2*i + 1
				if sequence > jobs {
					sequence = 2*i + 2 - jobs
				}
				msg, err := stream.GetMsg(f.t.Context(), sequence)
				if err == nil {
					err = stream.DeleteMsg(f.t.Context(), sequence)
				}
				if err == nil {
					_, err = f.bus.Publish(f.t.Context(),
						&nats.Msg{Subject: msg.Subject, Data: msg.Data,
							Header: nats.Header{contract.RepublishedHeader: {"1"}}})
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				f := newFixture(t, jobs)
				// A third is done before the first ack-wait ends: a redelivery would make them read
				// the chunk again.
				site := &observedSite{fakeSite: f.site, answerTime: 100 * time.Millisecond}
				f.site.answer = site.respond
				for i := range 2 {
					t.Cleanup(f.startFetcher(func(opts *fetcher.Options) {
						opts.ID, opts.Site, opts.Shared, opts.Concurrency = fmt.Sprintf("fetcher-%d", i), site, true, 3
					}))
				}
				site.waitUntil(t, func(started, _ int) bool { return started > jobs/3 })
				config, err := streams.JobsConsumer(runID)
				if err != nil {
					t.Fatal(err)
				}
				if err := redeliver(f, config); err != nil {
					t.Fatal(err)
				}
				site.waitUntil(t, func(started, answered int) bool {
					f.site.mu.Lock()
					defer f.site.mu.Unlock()
					return started == answered && len(f.site.requested) == jobs
				})
				if total, maxPerNumber := f.site.requests(); total > jobs+3 || maxPerNumber > 2 {
					t.Errorf("%d requests for %d jobs, %d for one of them; want two only for jobs in flight", total,
						jobs, maxPerNumber)
				}
			})
		})
	}
}
