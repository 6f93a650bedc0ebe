package fetcher_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"
)

// refused is an exchange with a site to which there is no connection.
func refused(context.Context, int) (contract.Exchange, error) {
	x := contract.Exchange{Call: "docket", StartedAt: time.Now(), Unsent: true}
	x.Error = "connection refused"
	return x, nil
}

// once fails the test unless each of so many numbers has one answer, with a status.
func (p plant) once(jobs int) {
	p.t.Helper()
	numbers, _ := p.answers()
	for n := 1; n <= jobs; n++ {
		if numbers[n] != 1 {
			p.t.Errorf("number %d has %d answers, want 1", n, numbers[n])
		}
	}
}

// answered waits until so many numbers have an answer.
func (p plant) answered(jobs int) {
	p.t.Helper()
	p.until(func() bool {
		numbers, _ := p.answers()
		return len(numbers) >= jobs
	})
}

func (p plant) halt() contract.Halt {
	p.t.Helper()
	halt, err := runs.Await(p.t.Context(), p.b, run.HaltKey(), func(contract.Halt) bool { return true })
	if err != nil {
		p.t.Fatal(err)
	}
	return halt
}

// A site that comes up in time: no failure is kept, each number is asked once more, and one request
// at a time is tried until then.
func TestUnreachableSiteComesUp(t *testing.T) {
	t.Parallel()
	const jobs = 40
	p := setUp(t, jobs)
	var tries, together, most atomic.Int64
	all := make(chan struct{})
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		switch n := tries.Add(1); {
		case n <= 8: // they fail when all of them have begun
			if n == 8 {
				close(all)
			}
			<-all
			return refused(ctx, number)
		case n <= 12:
			most.Store(max(most.Load(), together.Add(1)))
			defer together.Add(-1)
			return refused(ctx, number)
		}
		return fine(ctx, number)
	}
	stop := p.work(func(o *fetcher.Options) { o.Backoff.Max = time.Hour })
	p.answered(jobs)
	stop()
	p.once(jobs)
	if all := int(tries.Load()); all != jobs+12 {
		t.Errorf("%d requests, want %d and 12 tries", all, jobs)
	}
	if most.Load() > 1 {
		t.Errorf("%d tries at a time", most.Load())
	}
}

// A site that stays away: the run ends as a safe stop after the time for tries, with nothing kept.
func TestUnreachableSiteEndsTheRun(t *testing.T) {
	const limit = 700 * time.Millisecond
	for name, first := range map[string]bool{"from the start": false, "after requests without an answer": true} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				p := setUp(t, 20)
				var tries atomic.Int64
				p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
					if tries.Add(1) == 1 && first {
						return contract.Exchange{Call: "docket", StartedAt: time.Now(), Error: "connection reset"}, nil
					}
					return refused(ctx, number)
				}
				began := time.Now()
				stop := p.work(func(o *fetcher.Options) {
					o.Concurrency, o.Backoff.Max = 1, limit
				})
				halt := p.halt()
				took := time.Since(began)
				stop()
				if halt.Status != contract.SafeStop || halt.Reason != "the site cannot be reached: connection refused" {
					t.Errorf("halt %+v", halt)
				}
				if took < limit || took > limit+time.Second {
					t.Errorf("ended after %s, want %s", took, limit)
				}
				want := 0
				if first {
					want = 1 // the connection was made: today's rules
				}
				if numbers, _ := p.answers(); len(numbers) != want {
					t.Errorf("answers of %d numbers, want %d", len(numbers), want)
				}
				if n := tries.Load(); n < 3 || n > 9 {
					t.Errorf("%d tries", n)
				}
			})
		})
	}
}

// After the first answer, whatever its status, a failure to connect is a failure of its number.
func TestUnreachableAfterAnAnswer(t *testing.T) {
	t.Parallel()
	p := setUp(t, 5)
	var tries atomic.Int64
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if tries.Add(1) == 1 {
			return contract.Exchange{Call: "docket", StartedAt: time.Now(), Status: 503}, nil
		}
		return refused(ctx, number)
	}
	stop := p.work(func(o *fetcher.Options) { o.Concurrency, o.Backoff = 1, fetcher.Backoff{} })
	p.answered(5)
	stop()
	p.once(5)
	if _, err := p.runs.Get(t.Context(), run.HaltKey()); err == nil {
		t.Error("the run was halted")
	}
}

// One fetcher that reaches the site is enough: the other costs no number an attempt, nor ends the run.
func TestUnreachableForOneFetcher(t *testing.T) {
	t.Parallel()
	const jobs = 150
	p := setUp(t, jobs)
	var tries atomic.Int64
	cut := &court{asked: make(map[int]int), answer: func(ctx context.Context, number int) (contract.Exchange, error) {
		tries.Add(1)
		return refused(ctx, number)
	}}
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		latency := time.NewTimer(50 * time.Millisecond) // so that the other one tries for long enough
		defer latency.Stop()
		select {
		case <-latency.C:
			return fine(ctx, number)
		case <-ctx.Done():
			return contract.Exchange{}, context.Cause(ctx)
		}
	}
	stopOne := p.work(func(o *fetcher.Options) { o.Shared, o.Concurrency = true, 2 })
	p.answered(1)
	stopTwo := p.work(func(o *fetcher.Options) {
		o.Shared, o.Concurrency, o.ID, o.Site, o.Backoff.Max = true, 2, "two", cut, 200*time.Millisecond
	})
	p.answered(jobs)
	stopTwo()
	stopOne()
	p.once(jobs)
	if _, err := p.runs.Get(t.Context(), run.HaltKey()); err == nil {
		t.Error("the run was halted")
	}
	if tries.Load() < 3 {
		t.Errorf("%d tries of the one that cannot connect", tries.Load())
	}
}

// All fetchers of a run that cannot connect end it.
func TestUnreachableForAllFetchers(t *testing.T) {
	t.Parallel()
	p := setUp(t, 10)
	p.court.answer = refused
	for _, id := range []string{"one", "two"} {
		defer p.work(func(o *fetcher.Options) {
			o.Shared, o.Concurrency, o.ID, o.Backoff.Max = true, 2, id, 300*time.Millisecond
		})()
	}
	if halt := p.halt(); halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "connection refused") {
		t.Errorf("halt %+v", halt)
	}
}

// A try that has no connection yet is not waited for at a stop, and keeps nothing.
func TestStopWhileConnecting(t *testing.T) {
	t.Parallel()
	p := setUp(t, 3)
	began := make(chan struct{}, 16)
	p.court.answer = func(ctx context.Context, _ int) (contract.Exchange, error) {
		began <- struct{}{}
		<-ctx.Done()
		return contract.Exchange{}, context.Cause(ctx)
	}
	stop := p.work(func(o *fetcher.Options) { o.Grace = time.Hour })
	<-began
	asked := time.Now()
	stop()
	if took := time.Since(asked); took > time.Minute {
		t.Errorf("the stop took %s", took)
	}
	if numbers, _ := p.answers(); len(numbers) != 0 {
		t.Errorf("answers of %d numbers", len(numbers))
	}
}

// The pause between two tries is told with its reason and end, and does not slow down everybody.
func TestUnreachableIsTold(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := setUp(t, 3)
		p.court.answer = refused
		service, err := fetcher.New(t.Context(), fetcher.Options{
			Bus: p.b, Log: fcttest.Logger(t), ID: "one", Site: p.court, SiteName: "sim", Concurrency: 2,
			Backoff: fetcher.Backoff{Base: time.Minute, Factor: 2, Max: 5 * time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx) }()
		time.Sleep(12 * time.Second) // presence is kept for 15 s, see VirtualTime
		state := service.State()
		const why = "the site cannot be reached: connection refused"
		if w := state.Wait; w == nil || w.Reason != why || time.Until(w.Until) > time.Minute {
			t.Errorf("wait %+v", w)
		}
		if state.Slowdown.Level != 0 || state.Slowdown.Streak != 0 || state.InFlight != 0 {
			t.Errorf("state %+v", state)
		}
		presence, err := p.b.KV(t.Context(), contract.BucketFetchers)
		if err != nil {
			t.Fatal(err)
		}
		told, err := runs.Get[contract.Presence](t.Context(), presence, run.FetcherKey("one"))
		if err != nil || told.Wait == nil || told.Reached {
			t.Errorf("presence %+v, %v", told, err)
		}
		asked := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(asked) > time.Second {
			t.Errorf("%v after %s", err, time.Since(asked))
		}
	})
}
