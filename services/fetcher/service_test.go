package fetcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/fetcher"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const run contract.RunID = "run"

// court answers at once, or as the test says; it counts what it is asked.
type court struct {
	mu     sync.Mutex
	asked  map[int]int
	answer func(ctx context.Context, number int) (contract.Exchange, error)
}

func (c *court) Fetch(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	if _, err := before(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.asked[id.Number]++
	c.mu.Unlock()
	exchange, err := c.answer(ctx, id.Number)
	if err != nil {
		return nil, err
	}
	return []contract.Exchange{exchange}, nil
}

func (c *court) FetchProofFirst(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	return c.Fetch(ctx, id, before)
}

func (c *court) Blocked(_ contract.CaseID, exchanges []contract.Exchange, _ time.Time) (string, time.Duration, bool) {
	blocked := len(exchanges) > 0 && exchanges[0].Status == 403
	return "status 403", 0, blocked
}

func (c *court) RetryAfter(exchange contract.Exchange, _ time.Time) time.Duration {
	wait, err := time.ParseDuration(exchange.RetryAfter)
	if err != nil {
		return 0
	}
	return wait
}

func (c *court) requests() (all int, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.asked {
		all += n
		most = max(most, n)
	}
	return all, most
}

func fine(context.Context, int) (contract.Exchange, error) {
	return contract.Exchange{Call: "docket", Status: 200, Body: []byte(`{"Count":1}`)}, nil
}

type plant struct {
	t     *testing.T
	b     *bus.Bus
	runs  jetstream.KeyValue
	court *court
}

// setUp is a broker with a running run of so many jobs.
func setUp(t *testing.T, jobs int) plant {
	t.Helper()
	return setUpOn(t, fcttest.Broker(t), jobs)
}

func setUpOn(t *testing.T, b *bus.Bus, jobs int) plant {
	t.Helper()
	kv, err := b.KV(t.Context(), contract.BucketRuns)
	if err != nil {
		t.Fatal(err)
	}
	p := plant{t, b, kv, &court{asked: make(map[int]int), answer: fine}}
	config, err := streams.JobsConsumer(run)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, config); err != nil {
		t.Fatal(err)
	}
	m := contract.Manifest{Version: contract.MessageVersion, RunID: run, Prefix: "IMM", Year: "25", MaxRetries: 3}
	var msgs []*nats.Msg
	for n := 1; n <= jobs; n++ {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: run, CaseID: m.Case(n)})
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, &nats.Msg{Subject: run.JobSubject(n), Data: body})
	}
	if err := b.PublishBatch(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	p.put(run.ManifestKey(), m)
	p.put(run.StateKey(), contract.State{Status: contract.Running, Round: 1})
	return p
}

func (p plant) put(key string, value any) {
	p.t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.runs.Put(p.t.Context(), key, data); err != nil {
		p.t.Fatal(err)
	}
}

func (p plant) work(change func(*fetcher.Options)) (stop func()) {
	p.t.Helper()
	opts := fetcher.Options{
		Bus: p.b, Log: fcttest.Logger(p.t), ID: "one", Site: p.court, SiteName: "sim",
		Concurrency: 8, Cooldown: time.Hour, Backoff: fetcher.Backoff{Base: time.Millisecond, Factor: 2, Max: time.Second},
	}
	if change != nil {
		change(&opts)
	}
	service, err := fetcher.New(p.t.Context(), opts)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	}
}

// until asks again and again until the condition holds; the test's own time limit ends a condition that never does.
func (p plant) until(condition func() bool) {
	p.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for ; !condition(); <-ticker.C {
		if p.t.Context().Err() != nil {
			p.t.Fatal("the test ended first")
		}
	}
}

func (p plant) answers() (numbers map[int]int, messages int) {
	p.t.Helper()
	stream, err := p.b.JetStream().Stream(p.t.Context(), contract.StreamAnswers)
	if err != nil {
		p.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	numbers = make(map[int]int)
	for seq := state.FirstSeq; seq > 0 && seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(p.t.Context(), seq)
		if err != nil {
			p.t.Fatal(err)
		}
		pack, err := contract.DecodeAnswers(msg.Data)
		if err != nil {
			p.t.Fatal(err)
		}
		if got, want := msg.Header.Get(contract.StateHeader), contract.FormatStates(pack.States()); got != want {
			p.t.Errorf("header %q over %q", got, want)
		}
		for _, answer := range pack.Answers {
			numbers[answer.CaseID.Number]++
			if got, want := msg.Subject, run.AnswerSubject(contract.Chunk(answer.CaseID.Number)); got != want {
				p.t.Errorf("%s lies on %s, want %s", answer.CaseID, got, want)
			}
		}
	}
	return numbers, int(state.Msgs)
}

func TestEachJobIsAskedOnceAndItsAnswerStored(t *testing.T) {
	t.Parallel()
	const jobs = 700
	p := setUp(t, jobs)
	stop := p.work(nil)
	p.until(func() bool { all, _ := p.court.requests(); return all >= jobs })
	stop()
	numbers, messages := p.answers()
	if len(numbers) != jobs {
		t.Errorf("%d answers, want %d", len(numbers), jobs)
	}
	if all, most := p.court.requests(); all != jobs || most != 1 {
		t.Errorf("%d requests, at most %d for a number", all, most)
	}
	if messages >= jobs {
		t.Errorf("%d messages for %d answers: nothing was packed", messages, jobs)
	}
}

func TestWhatTheLedgerKnowsIsNotAsked(t *testing.T) {
	t.Parallel()
	p := setUp(t, 4)
	settled := contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Final: true}
	notDue := contract.AttemptState{Number: 2, Attempt: 1, Verdict: contract.VerdictTransient, RetryAt: time.Now().Add(time.Hour)}
	due := contract.AttemptState{Number: 3, Attempt: 2, Verdict: contract.VerdictTransient, RetryAt: time.Now().Add(-time.Hour)}
	msg := nats.NewMsg(run.OutcomeSubject(0))
	msg.Header.Set(contract.StateHeader, contract.FormatStates([]contract.AttemptState{settled, notDue, due}))
	if _, err := p.b.Publish(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	stop := p.work(nil)
	p.until(func() bool { numbers, _ := p.answers(); return len(numbers) == 2 })
	stop()
	if all, _ := p.court.requests(); all != 2 || p.court.asked[3] != 1 || p.court.asked[4] != 1 {
		t.Errorf("asked %v, want 3 and 4 once each", p.court.asked)
	}
	stream, err := p.b.JetStream().Stream(t.Context(), contract.StreamAnswers)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.GetMsg(t.Context(), 1)
	if err != nil || !strings.Contains(first.Header.Get(contract.StateHeader)+" ", "3.3.") && stream.CachedInfo().State.Msgs == 1 {
		t.Errorf("the third attempt of 3 is not there: %v", err)
	}
}

func TestHaltLetsFinishWhatCanAndGivesUpTheRestAtItsDeadline(t *testing.T) {
	fcttest.VirtualTime(t, func(t *testing.T) {
		p := setUp(t, 100)
		release := make(chan struct{})
		p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
			if number%2 == 0 { // hangs
				<-ctx.Done()
				return contract.Exchange{}, context.Cause(ctx)
			}
			<-release
			return fine(ctx, number)
		}
		defer p.work(nil)()
		p.until(func() bool { all, _ := p.court.requests(); return all == 8 })
		if err := runs.Halt(t.Context(), p.runs, run, contract.Halt{Status: contract.Stopped, Deadline: time.Now().Add(300 * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		close(release)
		fetchers, err := p.b.KV(t.Context(), contract.BucketFetchers)
		if err != nil {
			t.Fatal(err)
		}
		p.until(func() bool {
			_, err := fetchers.Get(t.Context(), run.FetcherKey("one"))
			return errors.Is(err, jetstream.ErrKeyNotFound)
		})
		numbers, _ := p.answers()
		all, _ := p.court.requests()
		for number := range p.court.asked {
			if _, stored := numbers[number]; stored != (number%2 == 1) {
				t.Errorf("number %d: answer stored: %t", number, stored)
			}
		}
		if all > 8+8 { // those that were let go before the halt was heard of made room for others
			t.Errorf("%d requests", all)
		}
	})
}

func TestBlockStopsEverybodyAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	p := setUp(t, 500)
	p.court.answer = func(ctx context.Context, number int) (contract.Exchange, error) {
		if number == 50 {
			return contract.Exchange{Call: "docket", Status: 403}, nil
		}
		return fine(ctx, number)
	}
	stop := p.work(nil)
	p.until(func() bool {
		_, err := p.runs.Get(t.Context(), run.HaltKey())
		return err == nil
	})
	stop()
	after, _ := p.court.requests()
	if after > 50+2*8 {
		t.Errorf("%d requests although the 50th was blocked", after)
	}
	halt, err := runs.Get[contract.Halt](t.Context(), p.runs, run.HaltKey())
	if err != nil || halt.Status != contract.Blocked || !strings.Contains(halt.Reason, "IMM-50-25") {
		t.Errorf("halt %+v, %v", halt, err)
	}
	round := func(n int, change func(*fetcher.Options)) (stop func()) {
		if err := p.runs.Delete(t.Context(), run.HaltKey()); err != nil {
			t.Fatal(err)
		}
		p.put(run.StateKey(), contract.State{Status: contract.Running, Round: n})
		return p.work(change)
	}
	stop = round(2, nil)
	p.until(func() bool { _, err := p.runs.Get(t.Context(), run.HaltKey()); return err == nil })
	stop()
	if all, _ := p.court.requests(); all != after {
		t.Errorf("%d requests inside the cool-down", all-after)
	}
	p.court.answer = fine
	stop = round(3, func(o *fetcher.Options) { o.Unblock = true })
	p.until(func() bool { all, _ := p.court.requests(); return all > after })
	stop()
}

func TestJobsThatCannotBeReadAreDropped(t *testing.T) {
	t.Parallel()
	p := setUp(t, 1)
	for i, body := range []string{`{`, `{"case_id":"IMM-0-25"}`, `null`} {
		if _, err := p.b.Publish(t.Context(), &nats.Msg{Subject: fmt.Sprintf("job.run.%d", 10+i), Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	defer p.work(nil)()
	consumer, err := p.b.JetStream().Consumer(t.Context(), contract.StreamJobs, run.ConsumerName())
	if err != nil {
		t.Fatal(err)
	}
	p.until(func() bool {
		info, err := consumer.Info(t.Context())
		return err == nil && info.NumPending == 0 && info.NumAckPending <= 1 // the good one waits for the classifier
	})
	if all, _ := p.court.requests(); all > 1 {
		t.Errorf("%d requests, want that of the good job", all)
	}
}
