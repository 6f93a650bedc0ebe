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

// The jobs of a run come anew, as if nobody had had them: none of two fetchers asks for what either has asked for.
func TestJobsThatComeAnewAreLookedUp(t *testing.T) {
	const jobs = 90
	for name, anew := range map[string]func(plant, jetstream.ConsumerConfig) error{
		"consumer made again": func(p plant, config jetstream.ConsumerConfig) error {
			if err := p.b.JetStream().DeleteConsumer(p.t.Context(), contract.StreamJobs, config.Durable); err != nil {
				return err
			}
			time.Sleep(contract.ConsumerRecreateDelay)
			_, err := p.b.JetStream().CreateConsumer(p.t.Context(), contract.StreamJobs, config)
			return err
		},
		"published again": func(p plant, _ jetstream.ConsumerConfig) error {
			stream, err := p.b.JetStream().Stream(p.t.Context(), contract.StreamJobs)
			if err != nil {
				return err
			}
			// Two idle fetchers take turns, as they did before. Odd numbers first: each gets some that the other one had.
			for i := range uint64(jobs) {
				sequence := 2*i + 1
				if sequence > jobs {
					sequence = 2*i + 2 - jobs
				}
				msg, err := stream.GetMsg(p.t.Context(), sequence)
				if err == nil {
					err = stream.DeleteMsg(p.t.Context(), sequence)
				}
				if err == nil {
					_, err = p.b.Publish(p.t.Context(), &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: nats.Header{contract.RepublishedHeader: {"1"}}})
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
				p := setUp(t, jobs)
				// A third is done before the first ack-wait ends: a job that comes twice has the block read anew.
				site := &observed{court: p.court, takes: 100 * time.Millisecond}
				p.court.answer = site.answered
				for i := range 2 {
					t.Cleanup(p.work(func(opts *fetcher.Options) {
						opts.ID, opts.Site, opts.Shared, opts.Concurrency = fmt.Sprintf("fetcher-%d", i), site, true, 3
					}))
				}
				site.until(t, func(begun, _ int) bool { return begun > jobs/3 })
				config, err := streams.JobsConsumer(run)
				if err != nil {
					t.Fatal(err)
				}
				if err := anew(p, config); err != nil {
					t.Fatal(err)
				}
				site.until(t, func(begun, settled int) bool {
					p.court.mu.Lock()
					defer p.court.mu.Unlock()
					return begun == settled && len(p.court.asked) == jobs
				})
				if all, most := p.court.requests(); all > jobs+3 || most > 2 {
					t.Errorf("%d requests for %d jobs, %d for one of them; those in flight alone may be asked for twice", all, jobs, most)
				}
			})
		})
	}
}
