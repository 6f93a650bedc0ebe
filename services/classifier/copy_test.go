package classifier_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/classifier"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// other is the run that has had the answers.
const other contract.RunID = "other"

var asked = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// settled is an entry of the other run.
func settled(number int, outcome contract.Outcome) contract.Entry {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
	entry := contract.Entry{
		CaseID: id, Attempt: 3, Verdict: contract.Verdict(outcome), Outcome: outcome, Rule: "rule", Notes: []string{"seen"},
		StartedAt: asked, Seconds: 2, PlannedAt: asked.Add(-time.Hour), FiledOn: "2025-05-06",
		Requests: []contract.Exchange{{Call: "docket", Status: 200, StartedAt: asked, GapSeconds: 1}},
	}
	if outcome == contract.Success {
		entry.Record = contract.Record{Version: contract.RecordVersion, CaseID: id, Docket: []contract.DocketEntry{}}.FileContent()
	}
	if outcome == contract.Failed {
		entry.Verdict = contract.VerdictTransient
	}
	return entry
}

// stored puts entries into a ledger and returns their place there.
func stored(t *testing.T, b *bus.Bus, subject string, of contract.RunID, entries ...contract.Entry) uint64 {
	t.Helper()
	pack := contract.EntryPack{Version: contract.MessageVersion, RunID: of, Entries: entries}
	body, err := pack.Encode()
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Header.Set(contract.StateHeader, contract.FormatStates(pack.States()))
	msg.Data = bus.Compress(body)
	ack, err := b.Publish(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// copyOf is the answer that asks for a copy.
func copyOf(number int, from contract.RunID, sequence uint64) contract.Answer {
	return contract.Answer{
		CaseID: contract.CaseID{Series: "IMM", Year: "25", Number: number}, Attempt: 1, MaxAttempts: 4,
		PlannedAt: asked.Add(time.Minute), Copy: &contract.Copy{RunID: from, Sequence: sequence}, Exchanges: []contract.Exchange{},
	}
}

// messages are those of this run's ledger.
func messages(t *testing.T, b *bus.Bus) (found []*jetstream.RawStreamMsg) {
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

func TestACopyIsTheOutcomeOfTheOtherRunWithoutItsRequests(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	again := settled(1, contract.NoRecord) // the first outcome counts
	first := stored(t, b, other.OutcomeSubject(0), other, settled(1, contract.Success), settled(3, contract.Success), again)
	second := stored(t, b, other.OutcomeSubject(0), other, settled(2, contract.NoRecord))
	stored(t, b, other.CanarySubject(), other, contract.Entry{CaseID: again.CaseID, Verdict: contract.VerdictSuccess, StartedAt: asked})
	before := time.Now()
	entries, states := classify(t, b, copyOf(1, other, first), answer(4, 1, "transient"), copyOf(2, other, second), copyOf(3, other, first))
	if len(entries) != 4 || len(states) != 4 {
		t.Fatalf("%d entries and %d states, want 4", len(entries), len(states))
	}
	for i, from := range map[int]contract.Entry{0: settled(1, contract.Success), 2: settled(2, contract.NoRecord), 3: settled(3, contract.Success)} {
		got, want := entries[i], from
		if got.StartedAt.Before(before.Add(-time.Second)) || got.StartedAt.After(time.Now()) {
			t.Errorf("%s: started at %v, want when its answer was stored", got.CaseID, got.StartedAt)
		}
		want.Attempt, want.Requests, want.Seconds, want.StartedAt, want.PlannedAt = 1, nil, 0, got.StartedAt, asked.Add(time.Minute)
		want.Notes, want.RecordSize = []string{"seen", "asked for by run other"}, len(want.Record)
		got.Raw, want.Record = nil, append([]byte{}, want.Record...) // nothing is read back as an empty body
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if s := states[i]; !s.Final || s.Verdict != want.Verdict || s.Number != want.CaseID.Number || s.Attempt != 1 {
			t.Errorf("header %+v over %s", s, want.CaseID)
		}
	}
	if entries[1].Verdict != contract.VerdictTransient || entries[1].CaseID.Number != 4 {
		t.Errorf("the answer between the copies became %+v", entries[1])
	}
}

// A process that is killed after it has written the ledger gets the answer again.
func TestACopyThatIsDeliveredAgainIsTheSame(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	sequence := stored(t, b, other.OutcomeSubject(0), other, settled(1, contract.Success), settled(2, contract.NoRecord))
	d := bus.Delivery[contract.AnswerPack]{
		Body:     contract.AnswerPack{Version: contract.MessageVersion, RunID: run, Answers: []contract.Answer{copyOf(1, other, sequence), copyOf(2, other, sequence)}},
		StoredAt: asked.Add(time.Hour),
	}
	for range 3 {
		if err := classifier.Classify(t.Context(), newService(t, b), d); err != nil {
			t.Fatal(err)
		}
	}
	kept := messages(t, b)
	if len(kept) != 3 {
		t.Fatalf("%d messages, want 3", len(kept))
	}
	for _, msg := range kept[1:] {
		if !bytes.Equal(msg.Data, kept[0].Data) || msg.Header.Get(contract.StateHeader) != kept[0].Header.Get(contract.StateHeader) {
			t.Errorf("message %d says %q, the first %q", msg.Sequence, msg.Data, kept[0].Data)
		}
	}
}

func TestACopyWithoutAnOriginalIsRefusedAndItsJobComesAgain(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	failed := stored(t, b, other.OutcomeSubject(0), other, settled(1, contract.Failed))
	pending := settled(2, "")
	pending.Verdict = contract.VerdictTransient
	tried := stored(t, b, other.OutcomeSubject(0), other, pending)
	whole := stored(t, b, other.OutcomeSubject(0), other, settled(3, contract.Success), settled(9, contract.Success))
	elsewhere := settled(4, contract.Success)
	elsewhere.CaseID.Year = "24"
	year := stored(t, b, other.OutcomeSubject(0), other, elsewhere)
	lying := stored(t, b, other.OutcomeSubject(0), "somebody", settled(5, contract.Success))
	damaged, err := b.Publish(t.Context(), &nats.Msg{Subject: other.OutcomeSubject(0), Data: []byte("s2\n{}\n\xff\xff")})
	if err != nil {
		t.Fatal(err)
	}
	planned, err := b.Publish(t.Context(), &nats.Msg{Subject: other.PlannedSubject(), Data: []byte(`{"v":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	outcome := stored(t, b, other.CanarySubject(), other, settled(14, contract.Success)) // a fetcher may write there
	const vanished contract.RunID = "vanished"
	void := stored(t, b, vanished.OutcomeSubject(0), vanished, settled(8, contract.NoRecord), settled(9, contract.Success))
	canary := stored(t, b, vanished.CanarySubject(), vanished, contract.Entry{CaseID: elsewhere.CaseID, Verdict: contract.VerdictNoRecord, StartedAt: asked})
	jobs := newJobs(t, b)
	answers := []contract.Answer{
		copyOf(1, other, failed), copyOf(2, other, tried), copyOf(3, "nobody", whole), copyOf(4, other, year), copyOf(5, other, lying),
		copyOf(6, other, damaged.Sequence), copyOf(7, other, planned.Sequence), copyOf(8, vanished, void), copyOf(10, other, whole),
		copyOf(11, vanished, canary), copyOf(12, other, 1<<63), copyOf(300, other, whole), copyOf(14, other, outcome), copyOf(9, vanished, void),
	}
	for i := range answers {
		answers[i].AckSubject = deliver(t, b, jobs, answers[i].CaseID.Number)
	}
	answers = append(answers, copyOf(13, other, failed)) // a job that nobody waits for
	entries, _ := classify(t, b, answers...)
	if len(entries) != 1 || entries[0].CaseID.Number != 9 || entries[0].Outcome != contract.Success || len(messages(t, b)) != 1 {
		t.Errorf("copied %+v, want the success that no canary makes void", entries)
	}
	back := make(map[string]bool)
	for range len(answers) - 2 {
		msg, err := jobs.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("only %v came again: %v", back, err)
		}
		back[msg.Subject()] = true
	}
	if len(back) != 13 || back[run.JobSubject(9)] {
		t.Errorf("came again: %v, want all but 9", back)
	}
}

// Who may publish answers may write anything into them. What is no copy from another run never comes back, and stops nobody.
func TestForgedCopiesAreDropped(t *testing.T) {
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
	if len(entries) != 1 || entries[0].CaseID.Number != 2 || len(messages(t, b)) != 1 {
		t.Errorf("%d entries, %d messages; want the honest answer alone", len(entries), len(messages(t, b)))
	}
}

func TestCopiesOfMoreThanAMessageTakesGoIntoSeveral(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	var answers []contract.Answer
	for number := 1; number <= 3; number++ {
		large := settled(number, contract.Success)
		large.Raw, large.RawType = bytes.Repeat([]byte{'x'}, 3<<20), "json"
		answers = append(answers, copyOf(number, other, stored(t, b, other.OutcomeSubject(0), other, large)))
	}
	d := bus.Delivery[contract.AnswerPack]{Body: contract.AnswerPack{Version: contract.MessageVersion, RunID: run, Answers: answers}, StoredAt: asked}
	if err := classifier.Classify(t.Context(), newService(t, b), d); err != nil {
		t.Fatal(err)
	}
	if n := len(messages(t, b)); n != 3 {
		t.Errorf("%d messages, want one for each", n)
	}
}
