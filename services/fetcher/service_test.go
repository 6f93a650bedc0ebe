package fetcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/fetcher/limit"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

const runID contract.RunID = "run"

// fakeSite answers with its function answer and counts the requests for each number.
type fakeSite struct {
	mu        sync.Mutex
	requested map[int]int
	answer    func(ctx context.Context, number int) (contract.Exchange, error)
}

func (c *fakeSite) Fetch(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
	if _, err := before(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.requested[id.Number]++
	c.mu.Unlock()
	exchange, err := c.answer(ctx, id.Number)
	if err != nil {
		return nil, err
	}
	return []contract.Exchange{exchange}, nil
}

func (c *fakeSite) FetchProofFirst(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
	return c.Fetch(ctx, id, before)
}

func (c *fakeSite) Blocked(
	_ contract.CaseID, exchanges []contract.Exchange, _ time.Time,
) (string, time.Duration, bool) {
	blocked := len(exchanges) > 0 && exchanges[0].Status == 403
	return "status 403", 0, blocked
}

func (c *fakeSite) RetryAfter(exchange contract.Exchange, _ time.Time) time.Duration {
	wait, err := time.ParseDuration(exchange.RetryAfter)
	if err != nil {
		return 0
	}
	return wait
}

// Release overwrites the bodies: whatever uses one after that fails its test.
func (c *fakeSite) Release(exchanges []contract.Exchange) { overwriteBodies(exchanges) }

func (c *fakeSite) requests() (total int, maxPerNumber int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.requested {
		total += n
		maxPerNumber = max(maxPerNumber, n)
	}
	return total, maxPerNumber
}

// okExchange returns an exchange with status 200.
func okExchange(context.Context, int) (contract.Exchange, error) {
	return contract.Exchange{Call: "docket", Status: 200, Body: []byte(`{"Count":1}`)}, nil
}

// fixture is a broker with a running run, and the site that its fetchers use.
type fixture struct {
	t    *testing.T
	bus  *bus.Bus
	runs jetstream.KeyValue
	site *fakeSite
}

// newFixture returns a fixture on a new broker, with a run of the numbers from 1 to jobs.
func newFixture(t *testing.T, jobs int) fixture {
	t.Helper()
	return newFixtureOn(t, fcttest.Broker(t), jobs)
}

// newFixtureOn is newFixture on a given connection.
func newFixtureOn(t *testing.T, b *bus.Bus, jobs int) fixture {
	t.Helper()
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{t, b, kv, &fakeSite{requested: make(map[int]int), answer: okExchange}}
	config, err := streams.JobsConsumer(runID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, config); err != nil {
		t.Fatal(err)
	}
	m := contract.Manifest{Version: contract.MessageVersion, RunID: runID, Prefix: "IMM", Year: "25", RunSettings: contract.RunSettings{MaxRetries: 3}}
	var msgs []*nats.Msg
	for n := 1; n <= jobs; n++ {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: runID, CaseID: m.Case(n)})
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, &nats.Msg{Subject: runID.JobSubject(n), Data: body})
	}
	if err := b.PublishBatch(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	f.put(runID.ManifestKey(), m)
	f.put(runID.StateKey(), contract.State{Status: contract.Running, Round: 1})
	return f
}

// put stores a value as JSON in the bucket of runs.
func (f fixture) put(key string, value any) {
	f.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.runs.Put(f.t.Context(), key, data); err != nil {
		f.t.Fatal(err)
	}
}

// startFetcher starts a fetcher whose options change adjusts, and returns a function that stops it.
func (f fixture) startFetcher(change func(*fetcher.Options)) (stop func()) {
	f.t.Helper()
	opts := fetcher.Options{
		Bus: f.bus, Log: fcttest.Logger(f.t), ID: "one", Site: f.site, SiteName: "sim",
		Concurrency: 8, Cooldown: time.Hour, Backoff: limit.Backoff{Base: time.Millisecond, Factor: 2,
			Max: time.Second},
	}
	if change != nil {
		change(&opts)
	}
	service, err := fetcher.New(f.t.Context(), opts)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
	}
}

// waitUntil polls until the condition holds; the time limit of the test ends one that never does.
func (f fixture) waitUntil(condition func() bool) {
	f.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for ; !condition(); <-ticker.C {
		if f.t.Context().Err() != nil {
			f.t.Fatal("the test ended first")
		}
	}
}

// answers returns how many answers each number has in the stream, and the count of its messages.
func (f fixture) answers() (numbers map[int]int, messages int) {
	f.t.Helper()
	numbers = make(map[int]int)
	f.readAnswers(1, func(pack contract.AnswerPack) {
		messages++
		for _, answer := range pack.Answers {
			numbers[answer.CaseID.Number]++
		}
	})
	return numbers, messages
}

// readAnswers passes the messages of answers from a sequence on, checks them, and returns the sequence that follows.
func (f fixture) readAnswers(from uint64, take func(contract.AnswerPack)) (next uint64) {
	f.t.Helper()
	stream, err := f.bus.JetStream().Stream(f.t.Context(), contract.StreamAnswers)
	if err != nil {
		f.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := max(from, state.FirstSeq); seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(f.t.Context(), seq)
		if err != nil {
			f.t.Fatal(err)
		}
		pack, err := ledger.Decode[contract.AnswerPack](msg.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		sent, err := new(ledger.Encoder).AnswerMessage(runID, pack.Answers)
		if err != nil {
			f.t.Fatal(err)
		}
		if got, want := msg.Header.Get(ledger.StateHeader), sent.Header.Get(ledger.StateHeader); got != want {
			f.t.Errorf("header %q over %q", got, want)
		}
		for _, answer := range pack.Answers {
			if got, want := msg.Subject, runID.AnswerSubject(contract.Chunk(answer.CaseID.Number)); got != want {
				f.t.Errorf("%s is on %s, want %s", answer.CaseID, got, want)
			}
		}
		take(pack)
	}
	return state.LastSeq + 1
}

func TestEachJobFetchedOnce(t *testing.T) {
	t.Parallel()
	const jobs = 700
	f := newFixture(t, jobs)
	stop := f.startFetcher(nil)
	f.waitUntil(func() bool { total, _ := f.site.requests(); return total >= jobs })
	stop()
	numbers, messages := f.answers()
	if len(numbers) != jobs {
		t.Errorf("%d answers, want %d", len(numbers), jobs)
	}
	if total, maxPerNumber := f.site.requests(); total != jobs || maxPerNumber != 1 {
		t.Errorf("%d requests, at most %d for a number", total, maxPerNumber)
	}
	if messages >= jobs {
		t.Errorf("%d messages for %d answers: nothing was packed", messages, jobs)
	}
}

func TestLedgerOutcomesNotRefetched(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 4)
	final := ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success}
	notDue := ledger.AttemptState{Number: 2, Attempt: 1, Verdict: contract.VerdictTransient,
		RetryAt: time.Now().Add(time.Hour)}
	due := ledger.AttemptState{Number: 3, Attempt: 2, Verdict: contract.VerdictTransient,
		RetryAt: time.Now().Add(-time.Hour)}
	msg := nats.NewMsg(runID.OutcomeSubject(0))
	msg.Header.Set(ledger.StateHeader, ledger.FormatStates([]ledger.AttemptState{final, notDue, due}))
	if _, err := f.bus.Publish(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	stop := f.startFetcher(nil)
	f.waitUntil(func() bool { numbers, _ := f.answers(); return len(numbers) == 2 })
	stop()
	if total, _ := f.site.requests(); total != 2 || f.site.requested[3] != 1 || f.site.requested[4] != 1 {
		t.Errorf("requests %v, want one each for 3 and 4", f.site.requested)
	}
	stream, err := f.bus.JetStream().Stream(t.Context(), contract.StreamAnswers)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.GetMsg(t.Context(), 1)
	if err != nil || !strings.Contains(first.Header.Get(ledger.StateHeader)+" ", "3.3.") &&
		stream.CachedInfo().State.Msgs == 1 {
		t.Errorf("the third attempt of 3 is missing: %v", err)
	}
}

func TestHaltAbandonsJobsAtDeadline(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		f := newFixture(t, 100)
		release := make(chan struct{})
		f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
			if number%2 == 0 { // hangs
				<-ctx.Done()
				return contract.Exchange{}, context.Cause(ctx)
			}
			<-release
			return okExchange(ctx, number)
		}
		defer f.startFetcher(nil)()
		f.waitUntil(func() bool { total, _ := f.site.requests(); return total == 8 })
		if err := runs.Halt(t.Context(), f.runs, runID,
			contract.Halt{Status: contract.Stopped, Deadline: time.Now().Add(300 * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		close(release)
		fetchers, err := f.bus.KV(t.Context(), contract.BucketFetchers)
		if err != nil {
			t.Fatal(err)
		}
		f.waitUntil(func() bool {
			_, err := fetchers.Get(t.Context(), runID.FetcherKey("one"))
			return errors.Is(err, jetstream.ErrKeyNotFound)
		})
		numbers, _ := f.answers()
		total, _ := f.site.requests()
		for number := range f.site.requested {
			if _, stored := numbers[number]; stored != (number%2 == 1) {
				t.Errorf("number %d: answer stored: %t", number, stored)
			}
		}
		if total > 8+8 { // cases that ended before the halt arrived made room for others
			t.Errorf("%d requests", total)
		}
	})
}

func TestBlockPersistsAcrossRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 500)
	halted := func() bool {
		_, err := f.runs.Get(t.Context(), runID.HaltKey())
		return err == nil
	}
	var before atomic.Int64 // requests when the site blocked; 0 until then
	f.site.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if number == 50 {
			total, _ := f.site.requests()
			before.Store(int64(total))
			return contract.Exchange{Call: "docket", Status: 403}, nil
		}
		if before.Load() > 0 { // on its way while the block is read
			f.waitUntil(halted)
		}
		return okExchange(ctx, number)
	}
	stop := f.startFetcher(nil)
	f.waitUntil(halted)
	stop()
	after, _ := f.site.requests()
	if after >= int(before.Load())+8 {
		t.Errorf("%d requests, %d of them before the block", after, before.Load())
	}
	halt, err := runs.Get[contract.Halt](t.Context(), f.runs, runID.HaltKey())
	if err != nil || halt.Status != contract.Blocked || !strings.Contains(halt.Reason, "IMM-50-25") {
		t.Errorf("halt %+v, %v", halt, err)
	}
	round := func(n int, change func(*fetcher.Options)) (stop func()) {
		if err := f.runs.Delete(t.Context(), runID.HaltKey()); err != nil {
			t.Fatal(err)
		}
		f.put(runID.StateKey(), contract.State{Status: contract.Running, Round: n})
		return f.startFetcher(change)
	}
	stop = round(2, nil)
	f.waitUntil(halted)
	stop()
	if total, _ := f.site.requests(); total != after {
		t.Errorf("%d requests inside the cool-down", total-after)
	}
	f.site.answer = okExchange
	stop = round(3, func(o *fetcher.Options) { o.Unblock = true })
	f.waitUntil(func() bool { total, _ := f.site.requests(); return total > after })
	stop()
}

func TestUnreadableJobsDropped(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 1)
	for i, body := range []string{`{`, `{"case_id":"IMM-0-25"}`, `null`} {
		if _, err := f.bus.Publish(t.Context(),
			&nats.Msg{Subject: fmt.Sprintf("job.run.%d", 10+i), Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	defer f.startFetcher(nil)()
	consumer, err := f.bus.JetStream().Consumer(t.Context(), contract.StreamJobs, runID.ConsumerName())
	if err != nil {
		t.Fatal(err)
	}
	last, err := f.bus.LastSequence(t.Context(), contract.StreamJobs, runID.JobFilter())
	if err != nil {
		t.Fatal(err)
	}
	f.waitUntil(func() bool {
		info, err := consumer.Info(t.Context())
		// The valid one waits for the classifier.
		return err == nil && info.Delivered.Stream >= last && info.NumAckPending <= 1
	})
	if total, _ := f.site.requests(); total > 1 {
		t.Errorf("%d requests, want that of the valid job", total)
	}
}

func TestForeignRunHaltedWithoutRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 3)
	m, err := runs.Manifest(t.Context(), f.runs, runID)
	if err != nil {
		t.Fatal(err)
	}
	m.Origin = "https://www.court.test"
	f.put(runID.ManifestKey(), m)
	stop := f.startFetcher(func(o *fetcher.Options) { o.Origin = "http://127.0.0.1:1" })
	halt, err := runs.Await(t.Context(), f.bus, runID.HaltKey(), func(h contract.Halt) bool { return h.Reason != "" })
	stop()
	if err != nil || halt.Status != contract.Errored || !strings.Contains(halt.Reason, m.Origin) ||
		!strings.Contains(halt.Reason, "http://127.0.0.1:1") {
		t.Errorf("halt %+v, %v", halt, err)
	}
	if total, _ := f.site.requests(); total != 0 {
		t.Errorf("%d requests", total)
	}
}

// TestRunFailsWhenStoreIsSilent checks an unanswered publish, as in a cluster without a leader. It
// looks like an ended context. The fetcher must not take it for its own end: its process would stay
// up and send no requests.
func TestRunFailsWhenStoreIsSilent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5)
	silent, err := bus.New(f.bus.Conn(), fcttest.Logger(t),
		bus.Options{PublishTimeout: time.Nanosecond, WaitForConnection: true})
	if err != nil {
		t.Fatal(err)
	}
	service, err := fetcher.New(t.Context(),
		fetcher.Options{Bus: silent, Log: fcttest.Logger(t), ID: "one", Site: f.site, SiteName: "sim", Concurrency: 8})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := service.Run(ctx); !errors.Is(err, bus.ErrStore) {
		t.Errorf("%v, want bus.ErrStore", err)
	}
}

func TestMain(m *testing.M) {
	fcttest.RareGC()
	goleak.VerifyTestMain(m)
}
