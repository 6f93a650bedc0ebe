package classifier_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/classifier"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const run contract.RunID = "run"

// read returns the verdict named by the body of the first exchange.
func read(id contract.CaseID, exchanges []contract.Exchange) contract.Classification {
	verdict := string(exchanges[0].Body)
	reading := contract.Classification{Verdict: contract.Verdict(verdict), Rule: "word", RawType: "html"}
	switch verdict {
	case "panic":
		panic("requested by the test")
	case "success":
		reading.Record = &contract.Record{Version: contract.RecordVersion, CaseID: id, Docket: []contract.DocketEntry{}}
	case "other-case":
		reading.Verdict, reading.Record = contract.VerdictSuccess,
			&contract.Record{CaseID: id.WithNumber(id.Number + 1)}
	}
	return reading
}

func answer(number, attempt int, verdict string) contract.Answer {
	return contract.Answer{
		CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: number}, Attempt: attempt, MaxAttempts: 2,
		Exchanges: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: time.Now().UTC(), Seconds: 0.1,
			Body: []byte(verdict)}},
	}
}

// newService returns a classifier that uses read.
func newService(t *testing.T, b *bus.Bus) *classifier.Service {
	t.Helper()
	return newServiceWith(t, b, read)
}

// newServiceWith returns a classifier that uses the given reader.
func newServiceWith(
	t *testing.T, b *bus.Bus, read func(contract.CaseID, []contract.Exchange) contract.Classification,
) *classifier.Service {
	t.Helper()
	return classifier.New(classifier.Options{
		Bus: b, Log: fcttest.Logger(t), Read: read,
		Backoff: classifier.Backoff{Base: time.Second, Factor: 2, Max: time.Minute},
	})
}

// runUntilDrained runs a classifier until no answer is left.
func runUntilDrained(t *testing.T, b *bus.Bus, service *classifier.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	waiting, err := b.JetStream().Stream(t.Context(), contract.StreamAnswers)
	if err != nil {
		t.Fatal(err)
	}
	for {
		info, err := waiting.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond) // leaves the processor to the classifier
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// classify classifies the answers and returns the ledger entries and the states in their header.
func classify(t *testing.T, b *bus.Bus, answers ...contract.Answer) ([]contract.Entry, []ledger.AttemptState) {
	t.Helper()
	return classifyWith(t, b, newService(t, b), answers...)
}

// classifyWith is classify with the given classifier.
func classifyWith(
	t *testing.T, b *bus.Bus, service *classifier.Service, answers ...contract.Answer,
) ([]contract.Entry, []ledger.AttemptState) {
	t.Helper()
	body, err := ledger.Encode(contract.AnswerPack{Version: contract.MessageVersion, RunID: run, Answers: answers})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), &nats.Msg{Subject: run.AnswerSubject(0), Data: body}); err != nil {
		t.Fatal(err)
	}
	runUntilDrained(t, b, service)
	stream, err := b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), run.OutcomeSubject(0))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	pack, err := ledger.Decode[contract.EntryPack](msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	states, err := ledger.ParseStates(msg.Header.Get(ledger.StateHeader))
	if err != nil {
		t.Fatal(err)
	}
	return pack.Entries, states
}

func TestCrashedJobFails(t *testing.T) {
	t.Parallel()
	crashed := answer(1, 1, "success")
	crashed.Crashes, crashed.Exchanges = 5, nil
	entries, states := classify(t, fcttest.Broker(t), crashed)
	if len(entries) != 1 || len(states) != 1 {
		t.Fatalf("%d entries, %d states", len(entries), len(states))
	}
	entry := entries[0]
	if entry.Outcome != contract.Failed || entry.Attempt != 1 || entry.Error != "worker crashed" ||
		entry.StartedAt.IsZero() || len(entry.Requests) != 0 {
		t.Errorf("%+v, want that its worker crashed", entry)
	}
	if states[0].Outcome == "" {
		t.Errorf("%+v, want a final outcome", states[0])
	}
}

func TestClassify_EveryVerdict(t *testing.T) {
	t.Parallel()
	withRaw := answer(8, 1, "success")
	withRaw.KeepRaw = true
	entries, states := classify(t, fcttest.Broker(t),
		answer(1, 1, "success"), answer(2, 1, "no-record"), answer(3, 1, "transient"), answer(4, 2, "transient"),
		answer(5, 1, "blocked"), answer(6, 1, "panic"), answer(7, 1, "nonsense"), withRaw, answer(9, 1, "other-case"))
	want := []struct {
		verdict contract.Verdict
		outcome contract.Outcome
		retried bool
		record  bool
		raw     string
	}{
		{contract.VerdictSuccess, contract.Success, false, true, ""},
		{contract.VerdictNoRecord, contract.NoRecord, false, false, ""},
		{contract.VerdictTransient, "", true, false, ""},
		{contract.VerdictTransient, contract.Failed, false, false, "transient"},
		{contract.VerdictBlocked, "", false, false, "blocked"},
		{contract.VerdictTransient, "", true, false, ""},
		{contract.VerdictTransient, "", true, false, ""},
		{contract.VerdictSuccess, contract.Success, false, true, "success"},
		{contract.VerdictTransient, "", true, false, ""},
	}
	if len(entries) != len(want) || len(states) != len(want) {
		t.Fatalf("%d entries and %d states, want %d", len(entries), len(states), len(want))
	}
	for i, w := range want {
		e := entries[i]
		if e.Verdict != w.verdict || e.Outcome != w.outcome || e.RetryAt.IsZero() == w.retried ||
			(len(e.Record) > 0) != w.record || string(e.Raw) != w.raw {
			t.Errorf("%s: %s %q, retried at %v, record %t, raw %q; want %+v", e.CaseID, e.Verdict, e.Outcome,
				e.RetryAt, len(e.Record) > 0, e.Raw, w)
		}
		if states[i].Outcome != w.outcome || states[i].Verdict != w.verdict {
			t.Errorf("%s: header %+v", e.CaseID, states[i])
		}
	}
	if !strings.Contains(entries[5].Error, "panic") || entries[6].Error == "" || entries[8].Error == "" {
		t.Errorf("errors %q, %q, %q", entries[5].Error, entries[6].Error, entries[8].Error)
	}
}

// newJobsConsumer creates a consumer that redelivers jobs only if they are returned.
func newJobsConsumer(t *testing.T, b *bus.Bus) jetstream.Consumer {
	t.Helper()
	consumer, err := b.JetStream().CreateConsumer(t.Context(), contract.StreamJobs, jetstream.ConsumerConfig{
		Durable: "jobs", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Hour, MaxDeliver: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

// deliverJob publishes a job, receives it, and returns the subject on which its delivery is
// settled.
func deliverJob(t *testing.T, b *bus.Bus, jobs jetstream.Consumer, number int) (reply string) {
	t.Helper()
	if _, err := b.Publish(t.Context(), nats.NewMsg(run.JobSubject(number))); err != nil {
		t.Fatal(err)
	}
	msg, err := jobs.Next()
	if err != nil {
		t.Fatal(err)
	}
	return msg.Reply()
}

func TestJobsSettledByVerdict(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	consumer := newJobsConsumer(t, b)
	var answers []contract.Answer
	for i, verdict := range []string{"success", "transient", "no-record", "blocked"} {
		a := answer(i+1, 1, verdict)
		a.AckSubject = deliverJob(t, b, consumer, i+1)
		answers = append(answers, a)
	}
	entries, _ := classify(t, b, answers...)
	redelivered := make(map[string]time.Time)
	for range 2 {
		msg, err := consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		redelivered[msg.Subject()] = time.Now()
	}
	at, retried := redelivered[run.JobSubject(2)]
	if _, again := redelivered[run.JobSubject(4)]; !retried || !again {
		t.Fatalf("redelivered: %v, want 2 and 4", redelivered)
	}
	if at.Before(entries[1].RetryAt.Add(-5 * time.Millisecond)) {
		t.Errorf("retried %v early", entries[1].RetryAt.Sub(at))
	}
	info, err := consumer.Info(t.Context())
	if err != nil || info.NumAckPending != 2 {
		t.Errorf("%d jobs held, %v; want the two that were redelivered", info.NumAckPending, err)
	}
}

func TestClassify_TwiceIsIdentical(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	once := answer(3, 1, "transient")
	first, _ := classify(t, b, once)
	second, _ := classify(t, b, once)
	if !first[0].RetryAt.Equal(second[0].RetryAt) || first[0].Verdict != second[0].Verdict {
		t.Errorf("%+v, then %+v", first[0], second[0])
	}
}

func TestRun_CanceledBeforeStart(t *testing.T) {
	t.Parallel()
	service := newService(t, fcttest.Broker(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := service.Run(ctx); err != nil {
		t.Error(err)
	}
}

// incompressible returns a text of size bytes that cannot be compressed.
func incompressible(size int) string {
	random := make([]byte, size*3/4)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	return base64.StdEncoding.EncodeToString(random)
}

func TestClassify_OversizedEntry(t *testing.T) {
	fcttest.SkipIfShort(t) // tens of megabytes take half a minute under the race detector
	t.Parallel()
	const half, whole = 20 << 20, 33 << 20
	for name, c := range map[string]struct {
		record, raw int
		outcome     contract.Outcome
		message     string
	}{
		"both fit":             {1 << 20, 1 << 20, contract.Success, ""},
		"raw answer too large": {half, half, contract.Success, "the store cannot hold the raw answer: "},
		"record too large":     {whole, 1 << 20, contract.Failed, "the store cannot hold the record: "},
	} {
		t.Run(name, func(t *testing.T) {
			withRaw := answer(1, 1, "success"+incompressible(c.raw))
			withRaw.KeepRaw = true
			b := fcttest.Broker(t)
			big := newServiceWith(t, b, func(id contract.CaseID, _ []contract.Exchange) contract.Classification {
				return contract.Classification{Verdict: contract.VerdictSuccess, RawType: "html",
					Record: &contract.Record{
						Version: contract.RecordVersion, CaseID: id,
						Header: contract.Header{StyleOfCause: incompressible(c.record)},
					}}
			})
			entries, _ := classifyWith(t, b, big, withRaw)
			if len(entries) != 1 {
				t.Fatalf("%d entries, want 1", len(entries))
			}
			e := entries[0]
			if message := e.Error + strings.Join(e.Notes, ""); e.Outcome != c.outcome ||
				!strings.HasPrefix(message, c.message) {
				t.Errorf("%s: %q, want %s: %q", e.Outcome, message, c.outcome, c.message)
			}
			if has := len(e.Record) > 0; has != (c.outcome == contract.Success) {
				t.Errorf("a record of %d bytes for %s", len(e.Record), e.Outcome)
			}
		})
	}
}

func TestEntryHasBodyDigests(t *testing.T) {
	t.Parallel()
	answered, planned := answer(1, 1, "transient"), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	answered.PlannedAt = planned
	answered.Exchanges = append(answered.Exchanges, contract.Exchange{Call: "header", Error: "reset"})
	entries, _ := classify(t, fcttest.Broker(t), answered)
	sum := sha256.Sum256([]byte("transient"))
	if got, want := entries[0].Requests[0].Digest, "sha256:"+hex.EncodeToString(sum[:]); got != want {
		t.Errorf("digest %q, want %q", got, want)
	}
	if got := entries[0].Requests[1].Digest; got != "" {
		t.Errorf("digest %q of an answer that never came", got)
	}
	if !entries[0].PlannedAt.Equal(planned) {
		t.Errorf("planned at %v, want %v", entries[0].PlannedAt, planned)
	}
}

// BenchmarkDigest measures the digest of an answer of usual size; a batch spends about 400 µs a
// number.
func BenchmarkDigest(b *testing.B) {
	exchange := []contract.Exchange{{Body: make([]byte, 5000)}}
	for b.Loop() {
		if got := classifier.DigestOf(exchange); got == "" {
			b.Fatal("no digest")
		}
	}
}
