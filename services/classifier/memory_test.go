package classifier_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/site"
	"fct-scraper/services/classifier"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// newSiteService returns a classifier with four workers that reads the answers of the court.
func newSiteService(t *testing.T, b *bus.Bus) *classifier.Service {
	t.Helper()
	p, err := site.Load("fct-cf")
	if err != nil {
		t.Fatal(err)
	}
	return classifier.New(classifier.Options{Bus: b, Log: fcttest.Logger(t), Read: p.Read, Workers: 4,
		Backoff: classifier.Backoff{Base: time.Hour, Factor: 2, Max: time.Hour}})
}

// docketAnswer returns an answer with a docket whose texts name its number. Every third one keeps its
// raw answer, every fifth one is no JSON.
func docketAnswer(number int) contract.Answer {
	a := answer(number, 1, "")
	rows := make([]string, 1+number%40)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"COURT_NO":"IMM-%d-25","STYLE_OF_CAUSE":"P%[1]d v. MCI","RE_NO":%d,"RECORDED_ENTRY":"entry %[2]d of %[1]d"}`,
			number, i+1)
	}
	body := fmt.Sprintf(`{"Count":%d,"data":[%s]}`, len(rows), strings.Join(rows, ","))
	if a.KeepRaw = number%3 == 0; number%5 == 0 {
		body, a.MaxAttempts = body[:len(body)-2], 1
	}
	a.Exchanges[0].Body, a.Exchanges[0].StartedAt = []byte(body), time.Now().UTC().Truncate(time.Second)
	return a
}

func answerData(t *testing.T, answers ...contract.Answer) []byte {
	t.Helper()
	data, err := ledger.Encode(contract.AnswerPack{Version: contract.MessageVersion, RunID: run, Answers: answers})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wantEntries returns the entries of answers that were classified in memory that nothing used before.
func wantEntries(t *testing.T, b *bus.Bus, answers []contract.Answer) map[int]contract.Entry {
	t.Helper()
	for _, a := range answers {
		a.Exchanges[0].Size = len(a.Exchanges[0].Body)
	}
	err := classifier.Classify(t.Context(), newSiteService(t, b), bus.Delivery[contract.AnswerPack]{
		Body: contract.AnswerPack{Version: contract.MessageVersion, RunID: "alone", Answers: answers},
	})
	if err != nil {
		t.Fatal(err)
	}
	return storedEntries(t, b, "alone", len(answers))
}

// storedEntries returns the entry of each number in the ledger of a run.
func storedEntries(t *testing.T, b *bus.Bus, of contract.RunID, count int) map[int]contract.Entry {
	t.Helper()
	got := make(map[int]contract.Entry)
	_, err := ledger.EachMessage(t.Context(), b, contract.StreamOutcomes, of.OutcomeSubject(0), 1, func(msg bus.Message) error {
		pack, err := ledger.Decode[contract.EntryPack](msg.Data)
		for _, e := range pack.Entries {
			got[e.CaseID.Number] = e
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != count {
		t.Fatalf("%d entries of run %s, want %d", len(got), of, count)
	}
	return got
}

// TestHandle_PoisonedMemory: nothing refers to the memory of a pack that was handled.
func TestHandle_PoisonedMemory(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	service := newSiteService(t, b)
	var answers []contract.Answer
	for number := 1; number <= 30; number++ {
		answers = append(answers, docketAnswer(number))
	}
	for _, part := range [][]contract.Answer{answers[:1], answers[1:4], answers[4:20], answers[20:]} {
		d := bus.Delivery[[]byte]{Body: answerData(t, part...)}
		if err := classifier.HandleAndPoison(t.Context(), service, d); err != nil {
			t.Fatal(err)
		}
	}
	got := storedEntries(t, b, run, len(answers))
	if diff := cmp.Diff(wantEntries(t, b, answers), got); diff != "" {
		t.Errorf("other entries than in new memory (-want +got):\n%s", diff)
	}
	for number, e := range got {
		if bytes.Contains(e.Record, []byte{0xFF}) || bytes.Contains(e.Raw, []byte{0xFF}) {
			t.Errorf("the entry of %d has poison", number)
		}
	}
}

// TestRun_ReusedMemory: workers that reuse memory for packs of other sizes give the entries that new
// memory gives.
func TestRun_ReusedMemory(t *testing.T) {
	t.Parallel()
	b := fcttest.Broker(t)
	var answers []contract.Answer
	for number := 1; number <= 100; number++ {
		answers = append(answers, docketAnswer(number))
	}
	for at, size := 0, 1; at < len(answers); at, size = at+size, size%11+1 {
		data := answerData(t, answers[at:min(at+size, len(answers))]...)
		if _, err := b.Publish(t.Context(), &nats.Msg{Subject: run.AnswerSubject(0), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	runUntilDrained(t, b, newSiteService(t, b))
	if diff := cmp.Diff(wantEntries(t, b, answers), storedEntries(t, b, run, len(answers))); diff != "" {
		t.Errorf("other entries than in new memory (-want +got):\n%s", diff)
	}
}

// TestHandle_Undecodable: a message that cannot be decoded is never delivered again.
func TestHandle_Undecodable(t *testing.T) {
	t.Parallel()
	data := answerData(t, docketAnswer(39))
	err := classifier.HandleAndPoison(t.Context(), newSiteService(t, fcttest.Broker(t)), bus.Delivery[[]byte]{Body: data[:len(data)-1]})
	if settlement, ok := bus.SettlementOf(err); !ok || settlement != bus.Term {
		t.Errorf("%v settles with %q", err, settlement)
	}
}
