package contract_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
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

func entryPack() contract.EntryPack {
	id := contract.CaseID{Series: "IMM", Year: "25", Number: 30}
	return contract.EntryPack{Version: contract.MessageVersion, RunID: "imm-25", Entries: []contract.Entry{
		{CaseID: id, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success, StartedAt: began, Requests: []contract.Exchange{},
			Record: contract.Record{Version: 1, CaseID: id, Header: contract.Header{StyleOfCause: "Élise Tremblay v. MCI"}, Docket: []contract.DocketEntry{}, FetchedAt: began}.FileContent()},
		{CaseID: id.WithNumber(31), Attempt: 2, Verdict: contract.VerdictTransient, StartedAt: began, RetryAt: began.Add(1500 * time.Millisecond),
			Error: "status 500", PlannedAt: began.Add(-time.Second), Requests: []contract.Exchange{
				{Call: "docket", URL: "http://127.0.0.1/d", Status: 500, StartedAt: began, Size: 5, Digest: "sha256:" + strings.Repeat("0f", 32)},
			}, RawType: "html", Raw: []byte("<p>\n\x00")},
	}}
}

func TestPack_RoundTrip(t *testing.T) {
	t.Parallel()
	sent := answerPack()
	data, err := sent.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := contract.DecodeAnswers(data)
	if err != nil {
		t.Fatal(err)
	}
	got.Answers[0].Exchanges[1].Body = nil // nothing is read back as an empty body
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Error(diff)
	}
	kept := entryPack()
	if data, err = kept.Encode(); err != nil {
		t.Fatal(err)
	}
	back, err := contract.DecodeEntries(data)
	if err != nil {
		t.Fatal(err)
	}
	back.Entries[0].Raw, back.Entries[1].Record = nil, nil // nothing is read back as an empty body
	if diff := cmp.Diff(kept, back); diff != "" {
		t.Error(diff)
	}
}

// The wire forms are golden: a change that breaks a stored message must be seen in review.
func TestPack_Golden(t *testing.T) {
	t.Parallel()
	forAnswers, err := answerPack().Encode()
	if err != nil {
		t.Fatal(err)
	}
	forEntries, err := entryPack().Encode()
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

func TestDecodeAnswers_Damaged(t *testing.T) {
	t.Parallel()
	data, err := answerPack().Encode()
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
		if _, err := contract.DecodeAnswers(bad); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("%s: %v, want ErrMessage", name, err)
		}
	}
}

func TestStates_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		states := rapid.SliceOf(rapid.Custom(func(t *rapid.T) contract.AttemptState {
			s := contract.AttemptState{
				Number:  rapid.IntRange(1, contract.MaxNumber).Draw(t, "number"),
				Attempt: rapid.IntRange(1, 21).Draw(t, "attempt"),
				Verdict: rapid.SampledFrom([]contract.Verdict{"", "success", "no-record", "transient", "blocked"}).Draw(t, "verdict"),
				Final:   rapid.Bool().Draw(t, "final"),
			}
			if rapid.Bool().Draw(t, "waits") {
				s.RetryAt = time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "retry at")).UTC()
			}
			return s
		})).Draw(t, "states")
		got, err := contract.ParseStates(contract.FormatStates(states))
		if err != nil {
			t.Fatal(err)
		}
		if len(states) > 0 && !cmp.Equal(states, got) || len(got) != len(states) {
			t.Fatal(cmp.Diff(states, got))
		}
	})
	for _, bad := range []string{"1", "1.1.success.true", "x.1..false.0", "1.1..maybe.0", "1.1..false.0.9", "1.1..false.x"} {
		if _, err := contract.ParseStates(bad); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("ParseStates(%q): %v, want ErrMessage", bad, err)
		}
	}
}

func FuzzDecodeEntries(f *testing.F) {
	data, err := entryPack().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pack, err := contract.DecodeEntries(data)
		if err != nil && !errors.Is(err, contract.ErrMessage) {
			t.Fatalf("an error of another kind: %v", err)
		}
		if err == nil && pack.Version != contract.MessageVersion {
			t.Fatalf("read version %d", pack.Version)
		}
	})
}

func TestParseRunID(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "-a", "A", "a.b", "a*", "a>", "a b", "a/b", "..", "a\n", string(bytes.Repeat([]byte("a"), 64))} {
		if id, err := contract.ParseRunID(bad); err == nil {
			t.Errorf("ParseRunID(%q) = %q", bad, id)
		}
	}
	id, err := contract.ParseRunID("imm-25-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := id.JobSubject(231), "job.imm-25-1.231"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := id.OutcomeSubject(contract.Chunk(256)), "outcome.imm-25-1.1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
