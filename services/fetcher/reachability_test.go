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
	"fct-scraper/services/fetcher/limit"
)

// refuseConnection returns an exchange with a site that refuses the connection.
func refuseConnection(context.Context, int) (contract.Exchange, error) {
	x := contract.Exchange{Call: "docket", StartedAt: time.Now(), Unsent: true}
	x.Error = "connection refused"
	return x, nil
}

// checkAnsweredOnce fails the test unless each number up to jobs has one answer.
func (f fixture) checkAnsweredOnce(jobs int) {
	f.t.Helper()
	numbers, _ := f.answers()
	for n := 1; n <= jobs; n++ {
		if numbers[n] != 1 {
			f.t.Errorf("number %d has %d answers, want 1", n, numbers[n])
		}
	}
}

// waitAnswered waits until at least jobs numbers have an answer.
func (f fixture) waitAnswered(jobs int) {
	f.t.Helper()
	numbers, next := make(map[int]bool), uint64(1)
	f.waitUntil(func() bool {
		next = f.readAnswers(next, func(pack contract.AnswerPack) {
			for _, answer := range pack.Answers {
				numbers[answer.CaseID.Number] = true
			}
		})
		return len(numbers) >= jobs
	})
}

func (f fixture) awaitHalt() contract.Halt {
	f.t.Helper()
	halt, err := runs.Await(f.t.Context(), f.bus, runID.HaltKey(), func(contract.Halt) bool { return true })
	if err != nil {
		f.t.Fatal(err)
	}
	return halt
}

// TestUnreachableSiteRecovers checks a site that becomes reachable in time: no failed try is
// stored, each number is fetched once more, and one request at a time is tried until then.
func TestUnreachableSiteRecovers(t *testing.T) {
	t.Parallel()
	const jobs = 40
	f := newFixture(t, jobs)
	var tries, inFlight, maxInFlight atomic.Int64
	allStarted := make(chan struct{})
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		switch n := tries.Add(1); {
		case n <= 8: // they fail when all of them have started
			if n == 8 {
				close(allStarted)
			}
			<-allStarted
			return refuseConnection(ctx, number)
		case n <= 12:
			maxInFlight.Store(max(maxInFlight.Load(), inFlight.Add(1)))
			defer inFlight.Add(-1)
			return refuseConnection(ctx, number)
		}
		return okExchange(ctx, number)
	}
	stop := f.startFetcher(func(o *fetcher.Options) { o.Backoff.Max = time.Hour })
	f.waitAnswered(jobs)
	stop()
	f.checkAnsweredOnce(jobs)
	if total := int(tries.Load()); total != jobs+12 {
		t.Errorf("%d requests, want %d and 12 tries", total, jobs)
	}
	if maxInFlight.Load() > 1 {
		t.Errorf("%d tries at a time", maxInFlight.Load())
	}
}

// TestUnreachableSiteEndsRun checks that the run ends with a safe stop after the time for tries,
// and that no failed try is stored.
func TestUnreachableSiteEndsRun(t *testing.T) {
	const limit = 700 * time.Millisecond
	for name, answerLost := range map[string]bool{"from the start": false, "after requests without an answer": true} {
		t.Run(name, func(t *testing.T) {
			fcttest.VirtualTime(t, func(t *testing.T) {
				f := newFixture(t, 20)
				var tries atomic.Int64
				f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
					if tries.Add(1) == 1 && answerLost {
						return contract.Exchange{Call: "docket", StartedAt: time.Now(), Error: "connection reset"}, nil
					}
					return refuseConnection(ctx, number)
				}
				began := time.Now()
				stop := f.startFetcher(func(o *fetcher.Options) {
					o.Concurrency, o.Backoff.Max = 1, limit
				})
				halt := f.awaitHalt()
				took := time.Since(began)
				stop()
				if halt.Status != contract.SafeStop || halt.Reason != "the site cannot be reached: connection refused" {
					t.Errorf("halt %+v", halt)
				}
				if took < limit || took > limit+time.Second {
					t.Errorf("ended after %s, want %s", took, limit)
				}
				want := 0
				if answerLost {
					want = 1 // connected: the failure counts against the number
				}
				if numbers, _ := f.answers(); len(numbers) != want {
					t.Errorf("answers of %d numbers, want %d", len(numbers), want)
				}
				if n := tries.Load(); n < 3 || n > 9 {
					t.Errorf("%d tries", n)
				}
			})
		})
	}
}

// TestUnreachableAfterAnswer checks that after the first response, whatever its status, a failure
// to connect counts against its number.
func TestUnreachableAfterAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	var tries atomic.Int64
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if tries.Add(1) == 1 {
			return contract.Exchange{Call: "docket", StartedAt: time.Now(), Status: 503}, nil
		}
		return refuseConnection(ctx, number)
	}
	stop := f.startFetcher(func(o *fetcher.Options) { o.Concurrency, o.Backoff = 1, limit.Backoff{} })
	f.waitAnswered(5)
	stop()
	f.checkAnsweredOnce(5)
	if _, err := f.runs.Get(t.Context(), runID.HaltKey()); err == nil {
		t.Error("the run was halted")
	}
}

// TestUnreachableForOneFetcher checks that one fetcher that reaches the site is enough: the other
// one uses up no attempts and does not end the run.
func TestUnreachableForOneFetcher(t *testing.T) {
	t.Parallel()
	const jobs = 60
	f := newFixture(t, jobs)
	var tries atomic.Int64
	cut := &fakeSite{requested: make(map[int]int),
		answer: func(ctx context.Context, number int) (contract.Exchange, error) {
			tries.Add(1)
			return refuseConnection(ctx, number)
		}}
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		latency := time.NewTimer(50 * time.Millisecond) // so that the other one has time for its tries
		defer latency.Stop()
		select {
		case <-latency.C:
			return okExchange(ctx, number)
		case <-ctx.Done():
			return contract.Exchange{}, context.Cause(ctx)
		}
	}
	stopOne := f.startFetcher(func(o *fetcher.Options) { o.Shared, o.Concurrency = true, 2 })
	f.waitAnswered(1)
	stopTwo := f.startFetcher(func(o *fetcher.Options) {
		o.Shared, o.Concurrency, o.ID, o.Site, o.Backoff.Max = true, 2, "two", cut, 200*time.Millisecond
	})
	f.waitAnswered(jobs)
	stopTwo()
	stopOne()
	f.checkAnsweredOnce(jobs)
	if _, err := f.runs.Get(t.Context(), runID.HaltKey()); err == nil {
		t.Error("the run was halted")
	}
	if tries.Load() < 3 {
		t.Errorf("%d tries of the fetcher that cannot connect", tries.Load())
	}
}

// TestUnreachableForAllFetchers checks that the run ends if no fetcher can connect.
func TestUnreachableForAllFetchers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 10)
	f.site.answer = refuseConnection
	for _, id := range []string{"one", "two"} {
		defer f.startFetcher(func(o *fetcher.Options) {
			o.Shared, o.Concurrency, o.ID, o.Backoff.Max = true, 2, id, 300*time.Millisecond
		})()
	}
	if halt := f.awaitHalt(); halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "connection refused") {
		t.Errorf("halt %+v", halt)
	}
}

// TestStopWhileConnecting checks that a stop does not wait for a connection to be made, and that
// nothing is stored.
func TestStopWhileConnecting(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	began := make(chan struct{}, 16)
	f.site.answer = func(ctx context.Context, _ int) (contract.Exchange, error) {
		began <- struct{}{}
		<-ctx.Done()
		return contract.Exchange{}, context.Cause(ctx)
	}
	stop := f.startFetcher(func(o *fetcher.Options) { o.Grace = time.Hour })
	<-began
	stopped := time.Now()
	stop()
	if took := time.Since(stopped); took > time.Minute {
		t.Errorf("the stop took %s", took)
	}
	if numbers, _ := f.answers(); len(numbers) != 0 {
		t.Errorf("answers of %d numbers", len(numbers))
	}
}

// TestUnreachableReportsWait checks that the pause between two tries is reported with its reason
// and end, and does not slow down the site's other requests.
func TestUnreachableReportsWait(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		f := newFixture(t, 3)
		f.site.answer = refuseConnection
		service, err := fetcher.New(t.Context(), fetcher.Options{
			Bus: f.bus, Log: fcttest.Logger(t), ID: "one", Site: f.site, SiteName: "sim", Concurrency: 2,
			Backoff: limit.Backoff{Base: time.Minute, Factor: 2, Max: 5 * time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx) }()
		time.Sleep(12 * time.Second) // a presence expires after 15 s, see VirtualTime
		state := service.State()
		const why = "the site cannot be reached: connection refused"
		if w := state.Wait; w == nil || w.Reason != why || time.Until(w.Until) > time.Minute {
			t.Errorf("wait %+v", w)
		}
		if state.Slowdown.Level != 0 || state.Slowdown.Streak != 0 || state.InFlight != 0 {
			t.Errorf("state %+v", state)
		}
		presence, err := f.bus.KV(t.Context(), contract.BucketFetchers)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := runs.Get[contract.Presence](t.Context(), presence, runID.FetcherKey("one"))
		if err != nil || stored.Wait == nil || stored.Reached {
			t.Errorf("presence %+v, %v", stored, err)
		}
		canceled := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(canceled) > time.Second {
			t.Errorf("%v after %s", err, time.Since(canceled))
		}
	})
}
