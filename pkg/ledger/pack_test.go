package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

var began = time.Date(2025, 11, 24, 10, 0, 0, 0, time.UTC)

func answerPack() contract.AnswerPack {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: 30}
	return contract.AnswerPack{Version: contract.MessageVersion, RunID: "imm-25", Answers: []contract.Answer{
		{CaseID: id, Attempt: 1, MaxAttempts: 4, PlannedAt: began.Add(-time.Second), AckSubject: "$JS.ACK.x", Exchanges: []contract.Exchange{
			{Call: "docket", URL: "http://127.0.0.1/d", Status: 200, StartedAt: began, Seconds: 0.5, Body: []byte("{\"é\":1}\n")},
			{Call: "header", URL: "http://127.0.0.1/h", StartedAt: began, Error: "reset"},
		}},
		{CaseID: id.WithNumber(31), Attempt: 2, MaxAttempts: 4, KeepRaw: true, Exchanges: []contract.Exchange{
			{Call: "docket", URL: "http://127.0.0.1/d", Status: 200, StartedAt: began, Body: []byte{0, 255, '\n'}},
		}},
		{CaseID: id.WithNumber(32), Attempt: 1, MaxAttempts: 4, AckSubject: "$JS.ACK.y", Copy: &contract.Copy{RunID: "imm-25-7", Sequence: 17}, Exchanges: []contract.Exchange{}},
	}}
}

// record is of version 1: packs hold records as they were classified.
const record = `{
 "version": 1,
 "case_id": "IMM-30-25",
 "style_of_cause": "Élise Tremblay v. MCI",
 "entries": 0,
 "docket": [],
 "fetched_at": "2025-11-24T10:00:00Z",
 "source": ""
}
`

func entryPack() contract.EntryPack {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: 30}
	return contract.EntryPack{Version: contract.MessageVersion, RunID: "imm-25", Entries: []contract.Entry{
		{CaseID: id, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success, StartedAt: began, Requests: []contract.Exchange{},
			Record: []byte(record)},
		{CaseID: id.WithNumber(31), Attempt: 2, Verdict: contract.VerdictTransient, StartedAt: began, RetryAt: began.Add(1500 * time.Millisecond),
			Error: "status 500", PlannedAt: began.Add(-time.Second), Requests: []contract.Exchange{
				{Call: "docket", URL: "http://127.0.0.1/d", Status: 500, StartedAt: began, Size: 5, Digest: "sha256:" + strings.Repeat("0f", 32)},
			}, RawType: "html", Raw: []byte("<p>\n\x00")},
	}}
}

func TestPack_RoundTrip(t *testing.T) {
	t.Parallel()
	sent := answerPack()
	data, err := ledger.Encode(sent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.Decode[contract.AnswerPack](data)
	if err != nil {
		t.Fatal(err)
	}
	got.Answers[0].Exchanges[1].Body = nil // nothing is read back as an empty body
	sent.Answers[0].Exchanges[0].Size, sent.Answers[1].Exchanges[0].Size = len("{\"é\":1}\n"), 3
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	kept := entryPack()
	if data, err = ledger.Encode(kept); err != nil {
		t.Fatal(err)
	}
	back, err := ledger.Decode[contract.EntryPack](data)
	if err != nil {
		t.Fatal(err)
	}
	back.Entries[0].Raw, back.Entries[1].Record = nil, nil // nothing is read back as an empty body
	kept.Entries[0].RecordSize, kept.Entries[1].RawSize = len(kept.Entries[0].Record), len(kept.Entries[1].Raw)
	if diff := cmp.Diff(kept, back); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeInto: packs are decoded one after the other into the same memory, also after a message
// that cannot be decoded; no body reaches into the next one.
func TestDecodeInto(t *testing.T) {
	t.Parallel()
	pack := func(sizes ...int) contract.EntryPack {
		p := entryPack()
		p.Entries = p.Entries[:1]
		for i, size := range sizes {
			e := p.Entries[0]
			e.CaseID, e.Record = e.CaseID.WithNumber(100+i), bytes.Repeat([]byte{byte('a' + i)}, size)
			p.Entries = append(p.Entries, e)
		}
		return p
	}
	var buffer []byte
	for i, sent := range []contract.EntryPack{
		pack(5000), pack(3000, 4000), pack(), pack(100_000, 2000), pack(2000, 100_000), pack(1500), pack(1500, 1),
	} {
		data, err := ledger.Encode(sent)
		if err != nil {
			t.Fatal(err)
		}
		want, err := ledger.Decode[contract.EntryPack](data)
		if err != nil {
			t.Fatal(err)
		}
		before := cap(buffer)
		if before > 0 { // what the pack before it left
			for j := range buffer[:before] {
				buffer[:before][j] = 0xFF
			}
		}
		if _, buffer, err = ledger.DecodeInto[contract.EntryPack](data[:len(data)-1], buffer); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("pack %d without its end: error %v, want one that wraps ErrMessage", i, err)
		}
		var got contract.EntryPack
		got, buffer, err = ledger.DecodeInto[contract.EntryPack](data, buffer)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("pack %d: %v, another pack (-Decode +DecodeInto):\n%s", i, err, diff)
		}
		if cap(buffer) < before || i > 3 && cap(buffer) != before {
			t.Errorf("pack %d: memory of %d bytes after %d", i, cap(buffer), before)
		}
		for _, e := range got.Entries {
			if cap(e.Record) != len(e.Record) {
				t.Errorf("%s: a record of %d bytes has room for %d", e.CaseID, len(e.Record), cap(e.Record))
			}
		}
	}
}

// The wire forms are golden: a change that breaks a stored message must be seen in review.
func TestPack_Golden(t *testing.T) {
	t.Parallel()
	forAnswers, err := ledger.Encode(answerPack())
	if err != nil {
		t.Fatal(err)
	}
	forEntries, err := ledger.Encode(entryPack())
	if err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string][]byte{"testdata/answers.golden": forAnswers, "testdata/entries.golden": forEntries} {
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

func TestDecode_DamagedAnswers(t *testing.T) {
	t.Parallel()
	data, err := ledger.Encode(answerPack())
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{
		"empty":                  nil,
		"no line end":            []byte(`{"v":1}`),
		"not JSON":               []byte("{]\n"),
		"cut short":              data[:len(data)-1],
		"too long":               append(bytes.Clone(data), 'x'),
		"other version":          []byte(`{"v":2,"run_id":"a","answers":[]}` + "\n"),
		"bad run id":             []byte(`{"v":1,"run_id":"A.*","answers":[]}` + "\n"),
		"bad case id":            []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-0-25"}]}` + "\n"),
		"crashes and answer":     []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","crashes":5,"exchanges":[{}]}]}` + "\n"),
		"crashes and copy":       []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","crashes":5,"copy":{"run_id":"b","sequence":1}}]}` + "\n"),
		"crashes below zero":     []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","crashes":-1}]}` + "\n"),
		"copy of none":           []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{}}]}` + "\n"),
		"copy of hostile run":    []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{"run_id":"*.>","sequence":1}}]}` + "\n"),
		"copy of the run itself": []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{"run_id":"a","sequence":1}}]}` + "\n"),
		"copy of nothing":        []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{"run_id":"b"}}]}` + "\n"),
		"copy below zero":        []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{"run_id":"b","sequence":-1}}]}` + "\n"),
		"copy and answer":        []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","copy":{"run_id":"b","sequence":1},"exchanges":[{}]}]}` + "\n"),
		"minus size":             []byte(`{"v":1,"run_id":"a","answers":[{"case_id":"IMM-1-25","exchanges":[{"size":-1}]}]}` + "\n"),
	}
	for name, bad := range damaged {
		if _, err := ledger.Decode[contract.AnswerPack](bad); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("%s: %v, want ErrMessage", name, err)
		}
	}
}

func TestStates_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		states := rapid.SliceOf(rapid.Custom(func(t *rapid.T) ledger.AttemptState {
			s := ledger.AttemptState{
				Number:  rapid.IntRange(1, contract.MaxNumber).Draw(t, "number"),
				Attempt: rapid.IntRange(1, 21).Draw(t, "attempt"),
				Verdict: rapid.SampledFrom([]contract.Verdict{"", "success", "no-record", "transient", "blocked"}).Draw(t, "verdict"),
			}
			if rapid.Bool().Draw(t, "has an outcome") {
				s.Outcome = contract.Failed
				if outcome, implied := s.Verdict.Outcome(); implied {
					s.Outcome = outcome
				}
			}
			if rapid.Bool().Draw(t, "waits") {
				s.RetryAt = time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "retry at")).UTC()
			}
			return s
		})).Draw(t, "states")
		got, err := ledger.ParseStates(ledger.FormatStates(states))
		if err != nil {
			t.Fatal(err)
		}
		if len(states) > 0 && !cmp.Equal(states, got) || len(got) != len(states) {
			t.Fatal(cmp.Diff(states, got))
		}
	})
	for _, bad := range []string{"1", "1.1.success.true", "x.1..false.0", "1.1..maybe.0", "1.1..false.0.9", "1.1..false.x"} {
		if _, err := ledger.ParseStates(bad); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("ParseStates(%q): %v, want ErrMessage", bad, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := ledger.Encode(entryPack())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}\n"))
	large := entryPack()
	large.Entries[1].Raw = bytes.Repeat([]byte("<td>IMM-1-25</td>"), 100)
	if data, err = ledger.Encode(large); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		pack, err := ledger.Decode[contract.EntryPack](data)
		if err != nil && !errors.Is(err, contract.ErrMessage) {
			t.Fatalf("an error of another kind: %v", err)
		}
		if err == nil && pack.Version != contract.MessageVersion {
			t.Fatalf("read version %d", pack.Version)
		}
	})
}

// Encode sets the sizes in a pack that other code still uses.
func TestEncode_LeavesPackUnchanged(t *testing.T) {
	t.Parallel()
	answers, entries := answerPack(), entryPack()
	if _, err := ledger.Encode(answers); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Encode(entries); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(answerPack(), answers) + cmp.Diff(entryPack(), entries); diff != "" {
		t.Error(diff)
	}
}

func TestEncode_SmallWithReadableFirstLine(t *testing.T) {
	t.Parallel()
	sent := entryPack()
	sent.Entries[1].Raw = bytes.Repeat([]byte(`{"COURT_NO":"IMM-1-25","STYLE_OF_CAUSE":"A v. B"},`), 1000)
	compressed, err := ledger.Encode(sent)
	if err != nil {
		t.Fatal(err)
	}
	if len(compressed) > len(sent.Entries[1].Raw)/8 || !bytes.HasPrefix(compressed, []byte("s2\n{\"v\":1,\"run_id\":\"imm-25\"")) {
		t.Errorf("%d bytes became %d: %.40q", len(sent.Entries[1].Raw), len(compressed), compressed)
	}
	for _, broken := range [][]byte{
		compressed[:len(compressed)-1], []byte("s2\n"), []byte("s2\n{}\n"), []byte("s2\n{}\n\xff\xff\xff\xff\xff\x0f"),
	} {
		if _, err := ledger.Decode[contract.EntryPack](broken); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("%.20q: %v, want ErrMessage", broken, err)
		}
	}
}

func TestEncode_RoundTripCompressed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "raw"), rapid.IntRange(1, 50).Draw(t, "times"))
		sent := entryPack()
		sent.Entries[1].Raw = raw
		data, err := ledger.Encode(sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ledger.Decode[contract.EntryPack](data)
		if err != nil || !bytes.Equal(got.Entries[1].Raw, raw) || !bytes.Equal(got.Entries[0].Record, sent.Entries[0].Record) {
			t.Fatalf("%d bytes became %d: %v", len(raw), len(data), err)
		}
	})
}

// rowsPack returns a pack with one answer of about 1 MiB that no other number has.
func rowsPack(number int) contract.AnswerPack {
	pack := answerPack()
	pack.Answers = pack.Answers[:1]
	row := fmt.Appendf(nil, `{"COURT_NO":"IMM-%d-25","STYLE_OF_CAUSE":"A v. B"},`, number)
	pack.Answers[0].Exchanges[0].Body = bytes.Repeat(row, 1<<20/len(row))
	return pack
}

// A buffer that a message still used would be overwritten by the next pack.
func TestEncoder_MessagesAreIndependent(t *testing.T) {
	t.Parallel()
	var encoder ledger.Encoder
	msgs := make([]*nats.Msg, 16)
	var encoding sync.WaitGroup
	for i := range msgs {
		encoding.Go(func() {
			msg, err := encoder.AnswerMessage("imm-25", rowsPack(i).Answers)
			if err != nil {
				t.Error(err)
				return
			}
			msgs[i] = msg
		})
	}
	encoding.Wait()
	if t.Failed() {
		return
	}
	for i, msg := range msgs {
		want, err := ledger.Encode(rowsPack(i))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(msg.Data, want) {
			t.Errorf("message %d differs from its pack", i)
		}
	}
}

// Buffers of the size of all bodies were most of what a batch allocated.
func TestEncoder_AllocatesNoBodies(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	var encoder ledger.Encoder
	pack := rowsPack(1)
	least := uint64(math.MaxUint64)
	for range 50 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := encoder.AnswerMessage("imm-25", pack.Answers); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if bodies := len(pack.Answers[0].Exchanges[0].Body); least > uint64(bodies)/4 {
		t.Errorf("%d bytes are allocated for a message whose bodies have %d", least, bodies)
	}
}

func BenchmarkPack(b *testing.B) {
	entries, answers := entryPack(), contract.AnswerPack{Version: contract.MessageVersion, RunID: "imm-25"}
	entries.Entries = slices.Repeat(entries.Entries[:1], 8)
	for i := range entries.Entries {
		entries.Entries[i].Record = bytes.Repeat(entries.Entries[i].Record, 20)
	}
	answer := answerPack().Answers[0]
	answer.Exchanges[0].Body = bytes.Repeat([]byte(`{"COURT_NO":"IMM-1-25","STYLE_OF_CAUSE":"A v. B"},`), 100)
	answers.Answers = slices.Repeat([]contract.Answer{answer}, 8)
	b.Run("answers", func(b *testing.B) { benchmarkPack(b, answers) })
	b.Run("entries", func(b *testing.B) { benchmarkPack(b, entries) })
}

func benchmarkPack[P ledger.Pack](b *testing.B, pack P) {
	data, err := ledger.Encode(pack)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ledger.Encode(pack); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ledger.Decode[P](data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
