package fetcher_test

import (
	"encoding/json"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/streams"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// otherRun is a run of the same series and year.
const otherRun contract.RunID = "other"

// startOtherRun starts the other run and returns when the fetcher works on both.
func (f fixture) startOtherRun() {
	f.t.Helper()
	config, err := streams.JobsConsumer(otherRun)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.bus.JetStream().CreateConsumer(f.t.Context(), contract.StreamJobs, config); err != nil {
		f.t.Fatal(err)
	}
	f.put(otherRun.ManifestKey(), contract.Manifest{Version: contract.MessageVersion, RunID: otherRun,
		Prefix: "IMM", Year: "25"})
	f.put(otherRun.StateKey(), contract.State{Status: contract.Running, Round: 1})
	fetchers, err := f.bus.KV(f.t.Context(), contract.BucketFetchers)
	if err != nil {
		f.t.Fatal(err)
	}
	f.waitUntil(func() bool {
		_, errOwn := fetchers.Get(f.t.Context(), runID.FetcherKey("one"))
		_, errOther := fetchers.Get(f.t.Context(), otherRun.FetcherKey("one"))
		return errOwn == nil && errOther == nil
	})
}

// publishJobs publishes jobs of the run.
func (f fixture) publishJobs(numbers ...int) {
	f.t.Helper()
	for _, n := range numbers {
		body, err := json.Marshal(contract.Job{Version: contract.MessageVersion, RunID: runID,
			CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: n}})
		if err != nil {
			f.t.Fatal(err)
		}
		if _, err := f.bus.Publish(f.t.Context(), &nats.Msg{Subject: runID.JobSubject(n), Data: body}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// writeLedger publishes a message of a run's ledger with its header only, which is all that a
// fetcher reads there.
func (f fixture) writeLedger(id contract.RunID, states ...ledger.AttemptState) (sequence uint64) {
	f.t.Helper()
	msg := nats.NewMsg(id.OutcomeSubject(0))
	msg.Header.Set(ledger.StateHeader, ledger.FormatStates(states))
	ack, err := f.bus.Publish(f.t.Context(), msg)
	if err != nil {
		f.t.Fatal(err)
	}
	return ack.Sequence
}

// takeAnswers takes the next answers out of the stream, like a classifier that writes nothing.
func (f fixture) takeAnswers(classifier jetstream.Consumer) (answers []contract.Answer) {
	f.t.Helper()
	msg, err := classifier.Next(jetstream.FetchMaxWait(time.Minute))
	if err != nil {
		f.t.Fatal(err)
	}
	pack, err := ledger.Decode[contract.AnswerPack](msg.Data())
	if err != nil {
		f.t.Fatal(err)
	}
	if err := msg.DoubleAck(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return pack.Answers
}

func (f fixture) classifierConsumer() jetstream.Consumer {
	f.t.Helper()
	consumer, err := f.bus.JetStream().Consumer(f.t.Context(), contract.StreamAnswers, "classifier")
	if err != nil {
		f.t.Fatal(err)
	}
	return consumer
}

func TestOverlapRequestsCopy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	first := f.writeLedger(otherRun,
		ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success},
		ledger.AttemptState{Number: 3, Attempt: 4, Verdict: contract.VerdictTransient, Outcome: contract.Failed})
	second := f.writeLedger(otherRun,
		ledger.AttemptState{Number: 2, Attempt: 2, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord},
		ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success})
	defer f.startFetcher(nil)()
	f.startOtherRun()
	f.publishJobs(1, 2, 3, 4)
	copies, fetched := make(map[int]contract.Copy), make(map[int]bool)
	for classifier := f.classifierConsumer(); len(copies)+len(fetched) < 4; {
		for _, answer := range f.takeAnswers(classifier) {
			number := answer.CaseID.Number
			if answer.Attempt != 1 || answer.MaxAttempts != 4 || answer.AckSubject == "" || answer.PlannedAt.IsZero() {
				t.Errorf("%s: %+v", answer.CaseID, answer)
			}
			if answer.Copy == nil {
				fetched[number] = true
				continue
			}
			copies[number] = *answer.Copy
		}
	}
	want := map[int]contract.Copy{1: {RunID: otherRun, Sequence: first}, 2: {RunID: otherRun, Sequence: second}}
	if diff := cmp.Diff(want, copies); diff != "" || !fetched[3] || !fetched[4] { // a failed number is fetched again
		t.Errorf("fetched %v; %s", fetched, diff)
	}
	if total, _ := f.site.requests(); total != 2 {
		t.Errorf("%d requests, want 2", total)
	}
	ledger, err := f.bus.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil || ledger.CachedInfo().State.Msgs != 2 {
		t.Errorf("%v: %+v; the fetcher must not write to the ledger", err, ledger.CachedInfo().State)
	}
}

func TestOverlapFetchesAfterRefusedCopy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	f.writeLedger(otherRun, ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictNoRecord,
		Outcome: contract.NoRecord})
	defer f.startFetcher(nil)()
	f.startOtherRun()
	f.publishJobs(1)
	classifier := f.classifierConsumer()
	copies := f.takeAnswers(classifier)
	if len(copies) != 1 || copies[0].Copy == nil {
		t.Fatalf("%+v, want a copy", copies)
	}
	if err := f.bus.Settle(copies[0].AckSubject, bus.NakAfter(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if fetched := f.takeAnswers(classifier); len(fetched) != 1 || fetched[0].Copy != nil || fetched[0].Attempt != 1 {
		t.Errorf("%+v, want the first attempt", fetched)
	}
	if total, _ := f.site.requests(); total != 1 {
		t.Errorf("%d requests, want 1", total)
	}
}

// TestOverlapAwaitsPendingCopy checks that a worker, also one that did not request the copy, waits
// while the answer is in the stream.
func TestOverlapAwaitsPendingCopy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0)
	f.writeLedger(otherRun, ledger.AttemptState{Number: 1, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success})
	stop := f.startFetcher(nil)
	f.startOtherRun()
	f.publishJobs(1)
	f.waitUntil(func() bool { _, messages := f.answers(); return messages == 1 })
	stop() // the job is not settled
	config, err := streams.JobsConsumer(runID)
	if err == nil {
		err = f.bus.JetStream().DeleteConsumer(t.Context(), contract.StreamJobs, config.Durable)
	}
	if err == nil { // it is redelivered, as after its ack-wait
		_, err = f.bus.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, config)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.site.requested = make(map[int]int)
	stop = f.startFetcher(nil)
	jobs, err := f.bus.JetStream().Consumer(t.Context(), contract.StreamJobs, config.Durable)
	if err != nil {
		t.Fatal(err)
	}
	f.waitUntil(func() bool { // it was checked twice
		info, err := jobs.Info(t.Context())
		return err == nil && info.Delivered.Consumer >= 2
	})
	total, _ := f.site.requests()
	if _, messages := f.answers(); messages != 1 || total != 0 {
		t.Errorf("%d requests and %d answers while a copy waits", total, messages)
	}
	f.takeAnswers(f.classifierConsumer()) // the answer brings no outcome
	f.waitUntil(func() bool { _, messages := f.answers(); return messages == 1 })
	stop()
}
