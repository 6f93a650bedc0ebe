package fetcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
)

// startRun creates a further run with numbers from 1 to jobs. The years distinguish the cases of
// the runs.
func (f fixture) startRun(id contract.RunID, year string, jobs int) {
	f.t.Helper()
	config, err := streams.JobsConsumer(id)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.bus.JetStream().CreateConsumer(f.t.Context(), contract.StreamJobs, config); err != nil {
		f.t.Fatal(err)
	}
	m := contract.Manifest{Version: contract.MessageVersion, RunID: id, Prefix: "IMM", Year: year, RunSettings: contract.RunSettings{MaxRetries: 3},
		Site: "sim"}
	var msgs []*nats.Msg
	for n := 1; n <= jobs; n++ {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: id, CaseID: m.Case(n)})
		if err != nil {
			f.t.Fatal(err)
		}
		msgs = append(msgs, &nats.Msg{Subject: id.JobSubject(n), Data: body})
	}
	if err := f.bus.PublishBatch(f.t.Context(), msgs); err != nil {
		f.t.Fatal(err)
	}
	f.put(id.ManifestKey(), m)
	f.put(id.StateKey(), contract.State{Status: contract.Running, Round: 1})
}

// orderedSite records the years of the cases in the order in which they were admitted. Each answer
// waits until the test releases it.
type orderedSite struct {
	*fakeSite
	mu      sync.Mutex
	years   []string
	release chan struct{}
}

func (o *orderedSite) Fetch(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
	o.mu.Lock()
	o.years = append(o.years, id.Year)
	o.mu.Unlock()
	return o.fakeSite.Fetch(ctx, id, before)
}

func (o *orderedSite) startedYears() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.years)
}

// startContention starts runs that need more admissions than there are, in one process or in
// several that share them, and returns when each run waits in each process with a job. It needs
// virtual time.
func startContention(t *testing.T, processes, runs, concurrency int) (f fixture, sites []*orderedSite) {
	t.Helper()
	const jobs = 20
	f = newFixture(t, 0)
	for i := range runs {
		f.startRun(contract.RunID(fmt.Sprintf("run-%d", i)), fmt.Sprintf("2%d", i), jobs)
	}
	release := make(chan struct{})
	f.site.answer = func(ctx context.Context, n int) (contract.Exchange, error) {
		select {
		case <-release:
			return okExchange(ctx, n)
		case <-ctx.Done():
			return contract.Exchange{}, context.Cause(ctx)
		}
	}
	for i := range processes {
		o := &orderedSite{fakeSite: f.site, release: release}
		sites = append(sites, o)
		t.Cleanup(f.startFetcher(func(opts *fetcher.Options) {
			opts.ID, opts.Site = fmt.Sprintf("fetcher-%d", i), o
			opts.Concurrency, opts.Shared = concurrency, processes > 1
		}))
		waitIdle()
	}
	return f, sites
}

// waitIdle returns, in virtual time, when all goroutines wait.
func waitIdle() {
	// Longer than takeMore takes. Requests for one slot are repeated after several of these.
	time.Sleep(450 * time.Millisecond)
	synctest.Wait()
}

// longestWait returns the largest number of requests of other runs between two of one run, from the
// request at index from on.
func longestWait(years []string, from, runs int) (longest int) {
	last := make(map[string]int)
	for i := range runs {
		last[fmt.Sprintf("2%d", i)] = from - 1
	}
	for i, year := range years[from:] {
		longest = max(longest, from+i-last[year]-1)
		last[year] = from + i
	}
	for _, i := range last {
		longest = max(longest, len(years)-1-i)
	}
	return longest
}

// TestRunsTakeTurns checks that in each process a run that waits with a job is admitted after at
// most one request of each other run, for every concurrency and number of processes.
func TestRunsTakeTurns(t *testing.T) {
	// The test ends before the ack-wait of the first job, which is not settled here: it would be
	// redelivered and take an admission without a request.
	const releases = 24
	for _, processes := range []int{1, 2} {
		for runs := 2; runs <= 3; runs++ {
			for _, concurrency := range []int{1, 3, 4} {
				t.Run(fmt.Sprintf("processes=%d,runs=%d,concurrency=%d", processes, runs, concurrency),
					func(t *testing.T) {
						fcttest.VirtualTime(t, func(t *testing.T) {
							_, sites := startContention(t, processes, runs, concurrency)
							var first []int
							for _, o := range sites {
								first = append(first, len(o.startedYears()))
							}
							for range releases {
								sites[0].release <- struct{}{}
								waitIdle()
							}
							total := 0
							for i, o := range sites {
								years := o.startedYears()
								total += len(years)
								if wait := longestWait(years, first[i], runs); wait > runs-1 {
									t.Errorf("a run waited for %d requests of others, want at most %d: %v", wait,
										runs-1, years[first[i]:])
								}
							}
							if total != concurrency+releases {
								t.Errorf("%d cases started, concurrency %d, after %d answers", total,
									concurrency, releases)
							}
						})
					})
			}
		}
	}
}

// TestFreeAdmissionUsedWithoutPull checks that a pulled job starts when an admission is free,
// however long the next pull takes.
func TestFreeAdmissionUsedWithoutPull(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		const runs, concurrency = 2, 3
		f, sites := startContention(t, 1, runs, concurrency)
		site := sites[0]
		stream, err := f.bus.JetStream().Stream(t.Context(), contract.StreamJobs)
		if err != nil {
			t.Fatal(err)
		}
		for i := range runs {
			name := contract.RunID(fmt.Sprintf("run-%d", i)).ConsumerName()
			if paused, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err != nil ||
				!paused.Paused {
				t.Fatalf("paused: %+v, %v", paused, err)
			}
		}
		for n := 1; n <= runs; n++ {
			site.release <- struct{}{}
			synctest.Wait()
			if started := len(site.startedYears()); started != concurrency+n {
				t.Errorf("%d cases started after %d answers, want %d", started, n, concurrency+n)
			}
		}
	})
}
