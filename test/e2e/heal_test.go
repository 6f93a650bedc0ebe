//go:build soak

package e2e_test

import (
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/streams"
)

// harm removes what an admin can, jobs, turn, slots and commands, and every consumer.
func (f *fleet) harm() {
	f.t.Helper()
	ctx, js := f.t.Context(), f.broker.JetStream()
	for _, name := range []string{contract.StreamJobs, contract.StreamPace, contract.StreamBatch, contract.StreamAnswers} {
		stream, err := js.Stream(ctx, name)
		if err == nil && name != contract.StreamAnswers { // what is lost there was asked for
			err = stream.Purge(ctx)
		}
		if err != nil {
			f.t.Fatal(err)
		}
		names := stream.ConsumerNames(ctx)
		for consumer := range names.Name() {
			if err := js.DeleteConsumer(ctx, name, consumer); err != nil {
				f.t.Fatal(name, consumer, err)
			}
		}
		if err := names.Err(); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Whatever somebody with the admin's rights removes in mid-run comes again: the run ends as if nothing had been.
func TestServe_DeletedStreamsRestored(t *testing.T) {
	t.Parallel()
	const numbers, concurrency = 300, 4
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "17", "--latency", "10ms")
	f := newFleet(t, sim, "--delay-min", "5ms", "--delay-max", "6ms", "--concurrency", "4")
	f.open(2)
	const run contract.RunID = "healing"
	f.order(run, `{"run_id":"healing","year":"25","end":300,"probe":false}`)
	f.until("a third is asked for", func() bool { return len(sim.asked()) > numbers/3 })
	f.harm()
	report := f.report(run)
	court := fcttest.Site(t, courtsim.Options{Seed: 17, Max: 99999, Missing: 0.1})
	exist, missing := fcttest.Truth(court, contract.Range{Start: 1, End: numbers})
	if report.Status != contract.Completed || report.Total != numbers || report.Succeeded != exist || report.NoRecord != missing || report.Failed != 0 {
		t.Errorf("%s (%s): %d = %d + %d + %d; want %d = %d + %d + 0", report.Status, report.Reason, report.Total, report.Succeeded, report.NoRecord,
			report.Failed, numbers, exist, missing)
	}
	checkTruth(t, court, place{t: t, dir: f.dir}.outcomesOf(run), numbers)
	if n := fcttest.Repeated(sim.asked()); n > 2*concurrency+report.CanaryRequests {
		t.Errorf("%d requests were made twice, %d of them by canaries, want at most %d more", n, report.CanaryRequests, 2*concurrency)
	}
	for _, shared := range streams.SharedConsumers() {
		f.consumer(shared.Stream, shared.Name)
	}
	// The next command is heard.
	f.order("next", `{"run_id":"next","year":"24","end":20,"probe":false}`)
	if report := f.report("next"); report.Status != contract.Completed || report.Total != 20 {
		t.Errorf("the next run: %s (%s), %d numbers", report.Status, report.Reason, report.Total)
	}
}

func TestBatch_DeletedStreamsRestored(t *testing.T) {
	t.Parallel()
	const numbers = 200
	sim := startSim(t, "--max", "99999", "--missing", "0.1", "--seed", "18", "--latency", "10ms")
	f := newFleet(t, sim)
	f.connect()
	p := newPlace(t, sim, "--end", "200", "--nats-url", f.server.URL(), "--delay-min", "5ms", "--delay-max", "6ms")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.until("a third is asked for", func() bool { return len(sim.asked()) > numbers/3 })
		f.harm()
	}()
	report := p.finish(codeCompleted)
	<-ended
	if report.Status != contract.Completed || report.Total != numbers || report.Failed != 0 {
		t.Errorf("%s (%s): %d numbers, %d failed", report.Status, report.Reason, report.Total, report.Failed)
	}
	checkTruth(t, fcttest.Site(t, courtsim.Options{Seed: 18, Max: 99999, Missing: 0.1}), p.outcomes(), numbers)
}
