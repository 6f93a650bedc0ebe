package classifier_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/classifier"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// otherRun is the run whose outcomes are copied.
const otherRun contract.RunID = "other"

var startedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// outcomeEntry returns a ledger entry of the other run.
func outcomeEntry(number int, outcome contract.Outcome) contract.Entry {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
	entry := contract.Entry{
		CaseID: id, Attempt: 3, Verdict: contract.Verdict(outcome), Outcome: outcome, Rule: "rule",
		Notes:     []string{"seen"},
		StartedAt: startedAt, Seconds: 2, PlannedAt: startedAt.Add(-time.Hour), FiledOn: "2025-05-06",
		Requests: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: startedAt, GapSeconds: 1}},
	}
	if outcome == contract.Success {
		entry.Record = contract.Record{Version: contract.RecordVersion, CaseID: id,
			Docket: []contract.DocketEntry{}}.FileContent()
	}
	if outcome == contract.Failed {
		entry.Verdict = contract.VerdictTransient
	}
	return entry
}

// storeEntries writes entries to the ledger of a run and returns their sequence.
func storeEntries(t *testing.T, b *bus.Bus, subject string, of contract.RunID, entries ...contract.Entry) uint64 {
	t.Helper()
	msg, err := new(ledger.Encoder).EntryMessage(of, entries)
	if err != nil {
		t.Fatal(err)
	}
	msg.Subject = subject
	ack, err := b.Publish(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// copyAnswer returns an answer that refers to an outcome of another run.
func copyAnswer(number int, from contract.RunID, sequence uint64) contract.Answer {
	return contract.Answer{
		CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: number}, Attempt: 1, MaxAttempts: 4,
		PlannedAt: startedAt.Add(time.Minute), Copy: &contract.Copy{RunID: from, Sequence: sequence},
		Exchanges: []contract.Exchange{},
	}
}

// ledgerMessages returns the messages of the ledger of this run.
func ledgerMessages(t *testing.T, b *bus.Bus) (found []*jetstream.RawStreamMsg) {
	t.Helper()
	ledger, err := b.JetStream().Stream(t.Context(), contract.StreamOutcomes)
	if err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); ; {
		msg, err := ledger.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(run.OutcomeFilter()))
		if err != nil {
			return found
		}
		found, next = append(found, msg), msg.Sequence+1
	}
}

func TestCopy_OutcomeWithoutRequests(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	again := outcomeEntry(1, contract.NoRecord) // a second entry of number 1; the first outcome counts
	first := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, outcomeEntry(1, contract.Success),
		outcomeEntry(3, contract.Success), again)
	second := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, outcomeEntry(2, contract.NoRecord))
	storeEntries(t, b, otherRun.CanarySubject(), otherRun,
		contract.Entry{CaseID: again.CaseID, Verdict: contract.VerdictSuccess, StartedAt: startedAt})
	before := time.Now()
	entries, states := classify(t, b, copyAnswer(1, otherRun, first), answer(4, 1, "transient"),
		copyAnswer(2, otherRun, second), copyAnswer(3, otherRun, first))
	if len(entries) != 4 || len(states) != 4 {
		t.Fatalf("%d entries and %d states, want 4", len(entries), len(states))
	}
	for i, from := range map[int]contract.Entry{0: outcomeEntry(1, contract.Success),
		2: outcomeEntry(2, contract.NoRecord), 3: outcomeEntry(3, contract.Success)} {
		got, want := entries[i], from
		if got.StartedAt.Before(before.Add(-time.Second)) || got.StartedAt.After(time.Now()) {
			t.Errorf("%s: started at %v, want when its answer was stored", got.CaseID, got.StartedAt)
		}
		want.Attempt, want.Requests, want.Seconds, want.StartedAt, want.PlannedAt = 1, nil, 0, got.StartedAt,
			startedAt.Add(time.Minute)
		want.Notes, want.RecordSize = []string{"seen", "asked for by run other"}, len(want.Record)
		got.Raw, want.Record = nil, append([]byte{}, want.Record...) // the decoder returns an empty body for none
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if s := states[i]; s.Outcome != want.Outcome || s.Verdict != want.Verdict || s.Number != want.CaseID.Number || s.Attempt != 1 {
			t.Errorf("header %+v over %s", s, want.CaseID)
		}
	}
	if entries[1].Verdict != contract.VerdictTransient || entries[1].CaseID.Number != 4 {
		t.Errorf("the answer between the copies became %+v", entries[1])
	}
}

// The answer is redelivered if the process is killed after it wrote the ledger.
func TestCopy_RedeliveryIsIdentical(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	sequence := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, outcomeEntry(1, contract.Success),
		outcomeEntry(2, contract.NoRecord))
	d := bus.Delivery[contract.AnswerPack]{
		Body: contract.AnswerPack{Version: contract.MessageVersion, RunID: run,
			Answers: []contract.Answer{copyAnswer(1, otherRun, sequence), copyAnswer(2, otherRun, sequence)}},
		StoredAt: startedAt.Add(time.Hour),
	}
	for range 3 {
		if err := classifier.Classify(t.Context(), newService(t, b), d); err != nil {
			t.Fatal(err)
		}
	}
	messages := ledgerMessages(t, b)
	if len(messages) != 3 {
		t.Fatalf("%d messages, want 3", len(messages))
	}
	for _, msg := range messages[1:] {
		if !bytes.Equal(msg.Data, messages[0].Data) || msg.Header.Get(ledger.StateHeader) != messages[0].Header.Get(ledger.StateHeader) {
			t.Errorf("message %d has %q, the first %q", msg.Sequence, msg.Data, messages[0].Data)
		}
	}
}

func TestCopy_NoOutcomeRedeliversJob(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	failed := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, outcomeEntry(1, contract.Failed))
	pending := outcomeEntry(2, "")
	pending.Verdict = contract.VerdictTransient
	tried := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, pending)
	whole := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, outcomeEntry(3, contract.Success),
		outcomeEntry(9, contract.Success))
	elsewhere := outcomeEntry(4, contract.Success)
	elsewhere.CaseID.Year = "24"
	year := storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, elsewhere)
	foreign := storeEntries(t, b, otherRun.OutcomeSubject(0), "third", outcomeEntry(5, contract.Success))
	damaged, err := b.Publish(t.Context(), &nats.Msg{Subject: otherRun.OutcomeSubject(0),
		Data: []byte("s2\n{}\n\xff\xff")})
	if err != nil {
		t.Fatal(err)
	}
	planned, err := b.Publish(t.Context(), &nats.Msg{Subject: otherRun.PlannedSubject(), Data: []byte(`{"v":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	outcome := storeEntries(t, b, otherRun.CanarySubject(), otherRun,
		outcomeEntry(14, contract.Success)) // fetchers may publish to this subject
	const vanished contract.RunID = "vanished"
	void := storeEntries(t, b, vanished.OutcomeSubject(0), vanished, outcomeEntry(8, contract.NoRecord),
		outcomeEntry(9, contract.Success))
	canary := storeEntries(t, b, vanished.CanarySubject(), vanished,
		contract.Entry{CaseID: elsewhere.CaseID, Verdict: contract.VerdictNoRecord, StartedAt: startedAt})
	jobs := newJobsConsumer(t, b)
	answers := []contract.Answer{
		copyAnswer(1, otherRun, failed), copyAnswer(2, otherRun, tried), copyAnswer(3, "nobody", whole),
		copyAnswer(4, otherRun, year), copyAnswer(5, otherRun, foreign),
		copyAnswer(6, otherRun, damaged.Sequence), copyAnswer(7, otherRun, planned.Sequence),
		copyAnswer(8, vanished, void), copyAnswer(10, otherRun, whole),
		copyAnswer(11, vanished, canary), copyAnswer(12, otherRun, 1<<63), copyAnswer(300, otherRun, whole),
		copyAnswer(14, otherRun, outcome), copyAnswer(9, vanished, void),
	}
	for i := range answers {
		answers[i].AckSubject = deliverJob(t, b, jobs, answers[i].CaseID.Number)
	}
	answers = append(answers, copyAnswer(13, otherRun, failed)) // without a delivery to settle
	entries, _ := classify(t, b, answers...)
	if len(entries) != 1 || entries[0].CaseID.Number != 9 || entries[0].Outcome != contract.Success ||
		len(ledgerMessages(t, b)) != 1 {
		t.Errorf("copied %+v, want the success that no canary makes void", entries)
	}
	redelivered := make(map[string]bool)
	for range len(answers) - 2 {
		msg, err := jobs.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("only %v were redelivered: %v", redelivered, err)
		}
		redelivered[msg.Subject()] = true
	}
	if len(redelivered) != 13 || redelivered[run.JobSubject(9)] {
		t.Errorf("redelivered: %v, want all but 9", redelivered)
	}
}

// Anyone who may publish answers may write anything into them. An invalid copy is not redelivered
// and does not stop the service.
func TestCopy_ForgedSourceDropped(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	for _, forged := range []string{
		`{"run_id":"*.>","sequence":1}`, `{"run_id":"../../x","sequence":1}`, `{"run_id":"a.b","sequence":1}`, `{"run_id":"","sequence":1}`, `{"sequence":1}`,
		`{"run_id":"run","sequence":1}`, `{"run_id":"other"}`, `{"run_id":"other","sequence":-1}`, `{"run_id":7}`, `[]`, `"other"`,
	} {
		body := fmt.Sprintf(`{"v":1,"run_id":"run","answers":[{"case_id":"IMM-1-25","attempt":1,"max_attempts":4,"copy":%s,"exchanges":[]}]}`+"\n", forged)
		if _, err := b.Publish(t.Context(), &nats.Msg{Subject: run.AnswerSubject(0), Data: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	entries, _ := classify(t, b, answer(2, 1, "success"))
	if len(entries) != 1 || entries[0].CaseID.Number != 2 || len(ledgerMessages(t, b)) != 1 {
		t.Errorf("%d entries, %d messages; want the honest answer alone", len(entries), len(ledgerMessages(t, b)))
	}
}

func TestCopy_SplitIntoSeveralMessages(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	var answers []contract.Answer
	for number := 1; number <= 3; number++ {
		large := outcomeEntry(number, contract.Success)
		large.Raw, large.RawType = bytes.Repeat([]byte{'x'}, 3<<20), "json"
		answers = append(answers, copyAnswer(number, otherRun,
			storeEntries(t, b, otherRun.OutcomeSubject(0), otherRun, large)))
	}
	d := bus.Delivery[contract.AnswerPack]{Body: contract.AnswerPack{Version: contract.MessageVersion, RunID: run,
		Answers: answers}, StoredAt: startedAt}
	if err := classifier.Classify(t.Context(), newService(t, b), d); err != nil {
		t.Fatal(err)
	}
	if n := len(ledgerMessages(t, b)); n != 3 {
		t.Errorf("%d messages, want one for each", n)
	}
}
