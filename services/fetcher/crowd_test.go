package fetcher_test

import (
	"encoding/json"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/streams"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// other is a run of the same series and year.
const other contract.RunID = "other"

// beside begins the other run, and returns when the fetcher works on both.
func (p plant) beside() {
	p.t.Helper()
	config, err := streams.JobsConsumer(other)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.b.JetStream().CreateConsumer(p.t.Context(), contract.StreamJobs, config); err != nil {
		p.t.Fatal(err)
	}
	p.put(other.ManifestKey(), contract.Manifest{Version: contract.MessageVersion, RunID: other, Prefix: "IMM", Year: "25"})
	p.put(other.StateKey(), contract.State{Status: contract.Running, Round: 1})
	fetchers, err := p.b.KV(p.t.Context(), contract.BucketFetchers)
	if err != nil {
		p.t.Fatal(err)
	}
	p.until(func() bool {
		_, own := fetchers.Get(p.t.Context(), run.FetcherKey("one"))
		_, its := fetchers.Get(p.t.Context(), other.FetcherKey("one"))
		return own == nil && its == nil
	})
}

// plan publishes jobs of the run.
func (p plant) plan(numbers ...int) {
	p.t.Helper()
	for _, n := range numbers {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: run, CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: n}})
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := p.b.Publish(p.t.Context(), &nats.Msg{Subject: run.JobSubject(n), Data: body}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// ledger writes the header of a message of a run's ledger, which is all that a fetcher reads there.
func (p plant) ledger(of contract.RunID, states ...contract.AttemptState) (sequence uint64) {
	p.t.Helper()
	msg := nats.NewMsg(of.OutcomeSubject(0))
	msg.Header.Set(contract.StateHeader, contract.FormatStates(states))
	ack, err := p.b.Publish(p.t.Context(), msg)
	if err != nil {
		p.t.Fatal(err)
	}
	return ack.Sequence
}

// take takes the next answer out of the stream, as a classifier does that writes nothing.
func (p plant) take(classifier jetstream.Consumer) (taken []contract.Answer) {
	p.t.Helper()
	msg, err := classifier.Next(jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		p.t.Fatal(err)
	}
	pack, err := contract.DecodeAnswers(msg.Data())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := msg.DoubleAck(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return pack.Answers
}

func (p plant) classifier() jetstream.Consumer {
	p.t.Helper()
	consumer, err := p.b.JetStream().Consumer(p.t.Context(), contract.StreamAnswers, "classifier")
	if err != nil {
		p.t.Fatal(err)
	}
	return consumer
}

func TestWhatAnotherRunHasIsLeftToTheClassifierToCopy(t *testing.T) {
	t.Parallel()
	p := setUp(t, 0)
	first := p.ledger(other,
		contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Final: true},
		contract.AttemptState{Number: 3, Attempt: 4, Verdict: contract.VerdictTransient, Final: true})
	second := p.ledger(other,
		contract.AttemptState{Number: 2, Attempt: 2, Verdict: contract.VerdictNoRecord, Final: true},
		contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Final: true})
	defer p.work(nil)()
	p.beside()
	p.plan(1, 2, 3, 4)
	copies, asked := make(map[int]contract.Copy), make(map[int]bool)
	for classifier := p.classifier(); len(copies)+len(asked) < 4; {
		for _, answer := range p.take(classifier) {
			number := answer.CaseID.Number
			if answer.Attempt != 1 || answer.MaxAttempts != 4 || answer.AckSubject == "" || answer.PlannedAt.IsZero() {
				t.Errorf("%s: %+v", answer.CaseID, answer)
			}
			if answer.Copy == nil {
				asked[number] = true
				continue
			}
			copies[number] = *answer.Copy
		}
	}
	want := map[int]contract.Copy{1: {RunID: other, Sequence: first}, 2: {RunID: other, Sequence: second}}
	if diff := cmp.Diff(want, copies); diff != "" || !asked[3] || !asked[4] { // a failure is asked for again
		t.Errorf("asked %v; %s", asked, diff)
	}
	if all, _ := p.court.requests(); all != 2 {
		t.Errorf("%d requests, want 2", all)
	}
	ledger, err := p.b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil || ledger.CachedInfo().State.Msgs != 2 {
		t.Errorf("%v: %+v; the fetcher has no business in the ledger", err, ledger.CachedInfo().State)
	}
}

func TestWhatTheClassifierRefusesToCopyIsAskedFor(t *testing.T) {
	t.Parallel()
	p := setUp(t, 0)
	p.ledger(other, contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictNoRecord, Final: true})
	defer p.work(nil)()
	p.beside()
	p.plan(1)
	classifier := p.classifier()
	offered := p.take(classifier)
	if len(offered) != 1 || offered[0].Copy == nil {
		t.Fatalf("%+v, want a copy", offered)
	}
	if err := p.b.NakWithDelay(offered[0].AckSubject, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if made := p.take(classifier); len(made) != 1 || made[0].Copy != nil || made[0].Attempt != 1 {
		t.Errorf("%+v, want the first attempt", made)
	}
	if all, _ := p.court.requests(); all != 1 {
		t.Errorf("%d requests, want 1", all)
	}
}

// An answer in the stream is waited for, by whoever meets it, as long as it is there.
func TestACopyThatWaitsIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := setUp(t, 0)
	p.ledger(other, contract.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Final: true})
	stop := p.work(nil)
	p.beside()
	p.plan(1)
	p.until(func() bool { _, messages := p.answers(); return messages == 1 })
	stop() // and nobody has settled the job
	config, err := streams.JobsConsumer(run)
	if err == nil {
		err = p.b.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, config.Durable)
	}
	if err == nil { // it is delivered anew, as after its ack-wait
		_, err = p.b.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.court.asked = make(map[int]int)
	stop = p.work(nil)
	jobs, err := p.b.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
	if err != nil {
		t.Fatal(err)
	}
	p.until(func() bool { // it was looked at twice
		info, err := jobs.Info(t.Context())
		return err == nil && info.Delivered.Consumer >= 2
	})
	all, _ := p.court.requests()
	if _, messages := p.answers(); messages != 1 || all != 0 {
		t.Errorf("%d requests and %d answers while a copy waits", all, messages)
	}
	p.take(p.classifier()) // it brings nothing
	p.until(func() bool { _, messages := p.answers(); return messages == 1 })
	stop()
}
