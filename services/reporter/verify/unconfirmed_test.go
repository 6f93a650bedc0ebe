package verify

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/reporter/files"
	"fct-scraper/services/reporter/fold"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// answeredAt returns the entry with an answer received so many seconds after startTime, half a
// second after its request.
func answeredAt(entry contract.Entry, seconds int) contract.Entry {
	entry.StartedAt = fcttest.StartTime().Add(time.Duration(seconds)*time.Second - 500*time.Millisecond)
	entry.Requests = slices.Clone(entry.Requests)
	entry.Requests[0].StartedAt, entry.Requests[0].Seconds = entry.StartedAt, 0.5
	return entry
}

// canaryAt returns a canary that started at a second, with one case for each verdict.
func canaryAt(seconds int, verdicts ...contract.Verdict) (canary []contract.Entry) {
	for i, verdict := range verdicts {
		entry := contract.Entry{CaseID: fcttest.CaseOf(500 + i), Verdict: verdict,
			StartedAt: fcttest.StartTime().Add(time.Duration(seconds) * time.Second),
			Requests:  []contract.Exchange{{Status: 200, GapSeconds: 0.5}}}
		canary = append(canary, entry)
	}
	return canary
}

// foldBoth folds the messages with the tally and the verifier, and fails when they do not agree.
func foldBoth(t interface{ Fatal(...any) }, messages []ledger.Message) (fold.Tally, []fold.Counted) {
	var folded fold.Tally
	var fresh []fold.Counted
	manifest := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 12}}
	reader := New(manifest, math.MaxUint64)
	for i, m := range messages {
		m.Sequence = uint64(i + 1)
		fresh = append(fresh, folded.AddMessage(m, 0)...)
		reader.Read(m)
	}
	derived, err := files.Derive(manifest, fresh, func(contract.CaseID) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	reader.CompareCounts(Counts{Succeeded: folded.Succeeded, NoRecord: folded.NoRecord, Failed: folded.Failed,
		Retries: folded.Retries, Requests: folded.Requests, UnconfirmedCount: folded.UnconfirmedCount(),
		Unconfirmed: folded.UnconfirmedNumbers(), Outcomes: folded.Outcomes})
	if err := reader.CompareAttempts(bytes.NewReader(derived.Lines), folded.Durations.Count); err != nil {
		t.Fatal(err)
	}
	if err := reader.Result(); err != nil {
		t.Fatal(err)
	}
	return folded, fresh
}

func entriesOf(entries ...contract.Entry) ledger.Message { return ledger.Message{Entries: entries} }

func unconfirmedIn(t fold.Tally) (numbers []int) {
	for _, a := range t.Unconfirmed {
		numbers = append(numbers, a.CaseID.Number)
	}
	return numbers
}

func TestSuccessConfirmsEarlierNoRecords(t *testing.T) {
	t.Parallel()
	folded, _ := foldBoth(t, []ledger.Message{
		entriesOf(answeredAt(fcttest.NoRecord(1), 10), answeredAt(fcttest.NoRecord(2), 20)),
		entriesOf(answeredAt(fcttest.Success(3), 11)), // requested at 10.5
		entriesOf(answeredAt(fcttest.NoRecord(4), 5)), // follows the success in the ledger, whatever its time
	})
	if diff := cmp.Diff([]int{2, 4}, unconfirmedIn(folded)); diff != "" || folded.NoRecordStreak != 1 {
		t.Errorf("streak %d, unconfirmed: %s", folded.NoRecordStreak, diff)
	}
}

func TestCanaryConfirmsOrVoids(t *testing.T) {
	t.Parallel()
	rows := []ledger.Message{entriesOf(answeredAt(fcttest.Success(9), 1)),
		entriesOf(answeredAt(fcttest.NoRecord(1), 10), answeredAt(fcttest.NoRecord(2), 20))}
	for _, c := range []struct {
		verdicts          []contract.Verdict
		noRecord, inRow   int
		gone              bool
		requests, counted int
	}{
		{[]contract.Verdict{contract.VerdictSuccess}, 2, 1, false, 4, 1},
		{[]contract.Verdict{contract.VerdictNoRecord, contract.VerdictSuccess}, 2, 1, false, 5, 1},
		{[]contract.Verdict{contract.VerdictTransient}, 2, 2, false, 4, 0},
		{[]contract.Verdict{contract.VerdictNoRecord, contract.VerdictTransient}, 2, 2, false, 5, 0},
		{[]contract.Verdict{contract.VerdictBlocked}, 2, 2, false, 4, 1},
		{[]contract.Verdict{contract.VerdictNoRecord}, 0, 0, true, 4, 3},
		{[]contract.Verdict{contract.VerdictNoRecord, contract.VerdictNoRecord}, 0, 0, true, 5, 4},
	} {
		folded, fresh := foldBoth(t, append(slices.Clone(rows), ledger.Message{Canary: canaryAt(15, c.verdicts...)}))
		if folded.NoRecord != c.noRecord || len(folded.Unconfirmed) != c.inRow || folded.Vanished != nil != c.gone ||
			folded.Requests != c.requests ||
			folded.MinGap != 0.5 || len(fresh)-3 != c.counted {
			t.Errorf("%v: %d no-records, %d unconfirmed, vanished %t, %d requests, smallest gap %.1f, %d more in the files; want %+v", c.verdicts, folded.NoRecord,
				len(folded.Unconfirmed), folded.Vanished != nil, folded.Requests, folded.MinGap, len(fresh)-3, c)
		}
	}
}

func TestVanishedCanaryVoidsLaterNoRecords(t *testing.T) {
	t.Parallel()
	folded, fresh := foldBoth(t, []ledger.Message{
		entriesOf(answeredAt(fcttest.Success(9), 1), answeredAt(fcttest.NoRecord(1), 10)),
		{Canary: canaryAt(15, contract.VerdictNoRecord)},
		entriesOf(answeredAt(fcttest.NoRecord(1), 10), answeredAt(fcttest.NoRecord(2), 3), answeredAt(fcttest.Success(3), 30),
			answeredAt(fcttest.NoRecord(2), 40), answeredAt(fcttest.NoRecord(1), 50)),
		{Canary: canaryAt(60, contract.VerdictNoRecord)},
		{Planned: &contract.Planned{Jobs: 2}},
	})
	if folded.Succeeded != 2 || folded.NoRecord != 0 || len(folded.Voided) != 2 || folded.Vanished.NoRecords != 1 ||
		folded.Complete() {
		t.Errorf("%d succeeded, %d no-records, %d taken back of which %d had been counted, complete %t",
			folded.Succeeded, folded.NoRecord,
			len(folded.Voided), folded.Vanished.NoRecords, folded.Complete())
	}
	var lines []string
	for _, entry := range fresh {
		if entry.WritesLine() {
			lines = append(lines, fmt.Sprint(entry.CaseID, " ", entry.Verdict, " ", entry.Notes))
		}
	}
	want := []string{"IMM-9-25 success []", "IMM-1-25 no-record []",
		"IMM-1-25 blocked [taken back: the site no longer shows IMM-500-25, known to exist]",
		"IMM-2-25 blocked [taken back: the site no longer shows IMM-500-25, known to exist]", "IMM-3-25 success []"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestOverflowStaysUnconfirmed(t *testing.T) {
	t.Parallel()
	var messages []ledger.Message
	for n := range contract.MaxUnconfirmed + 5 {
		messages = append(messages, entriesOf(answeredAt(fcttest.NoRecord(n+1), n)))
	}
	folded, _ := foldBoth(t, append(messages, ledger.Message{Canary: canaryAt(contract.MaxUnconfirmed, contract.VerdictNoRecord)}))
	if folded.NoRecord != 5 || folded.Outcomes.Get(5) != contract.NoRecord || folded.Outcomes.Get(6) != "" ||
		folded.UnconfirmedCount() != 5 {
		t.Errorf("%d no-records are left, %d unconfirmed; want the five oldest, all unconfirmed", folded.NoRecord,
			folded.UnconfirmedCount())
	}
	folded, fresh := foldBoth(t, append(messages, entriesOf(answeredAt(fcttest.Success(contract.MaxUnconfirmed+6), contract.MaxUnconfirmed+9))))
	confirmed := map[int]bool{}
	for _, entry := range fresh {
		if entry.WritesKey() && entry.Outcome == contract.NoRecord {
			confirmed[entry.CaseID.Number] = true
		}
	}
	if folded.UnconfirmedCount() != 0 || len(confirmed) != contract.MaxUnconfirmed+5 || !confirmed[1] ||
		confirmed[contract.MaxUnconfirmed+6] {
		t.Errorf("after a record %d are unconfirmed and %d were confirmed, want all %d", folded.UnconfirmedCount(),
			len(confirmed), contract.MaxUnconfirmed+5)
	}
	// This record was requested before the fifth answer. The overflow is confirmed as one, so by a
	// later record only.
	folded, _ = foldBoth(t, append(messages, entriesOf(answeredAt(fcttest.Success(contract.MaxUnconfirmed+6), 4))))
	if folded.UnconfirmedCount() != contract.MaxUnconfirmed+5 {
		t.Errorf("%d unconfirmed after an early record, want %d", folded.UnconfirmedCount(), contract.MaxUnconfirmed+5)
	}
}

// drawMessages draws the messages of a ledger in any order, canaries among them.
func drawMessages(t *rapid.T) (messages []ledger.Message) {
	verdict := rapid.SampledFrom([]contract.Verdict{contract.VerdictSuccess, contract.VerdictNoRecord,
		contract.VerdictNoRecord,
		contract.VerdictTransient, contract.VerdictBlocked})
	for range rapid.IntRange(1, 25).Draw(t, "messages") {
		if rapid.IntRange(0, 7).Draw(t, "kind") == 0 {
			messages = append(messages, ledger.Message{Canary: canaryAt(rapid.IntRange(0, 60).Draw(t, "started at"),
				rapid.SliceOfN(verdict, 1, 2).Draw(t, "verdicts")...)})
			continue
		}
		var entries []contract.Entry
		for range rapid.IntRange(1, 4).Draw(t, "entries") {
			number, n := rapid.IntRange(1, 12).Draw(t, "number"), rapid.IntRange(1, 3).Draw(t, "attempt")
			entry := rapid.SampledFrom([]contract.Entry{
				fcttest.Success(number), fcttest.NoRecord(number), fcttest.Failure(number),
				fcttest.Attempt(number, n, contract.VerdictTransient, ""),
				fcttest.Attempt(number, n, contract.VerdictBlocked, ""),
			}).Draw(t, "entry")
			entry.Attempt = n
			entries = append(entries, answeredAt(entry, rapid.IntRange(0, 60).Draw(t, "ended at")))
		}
		messages = append(messages, entriesOf(entries...))
	}
	return messages
}

// modelUnconfirmed returns the no-records that count and those of them that are unconfirmed, found
// in the simplest way: each message is compared with the complete ledger.
func modelUnconfirmed(messages []ledger.Message) (numbers, unconfirmed []int, vanished bool) {
	type counts struct {
		entry contract.Entry
		place int
	}
	outcomes := map[int]contract.Outcome{}
	var absent []counts
	var proofs []counts // the entry has the start of the request
	last := -1
	place := 0
	for _, m := range messages {
		for _, entry := range m.Entries {
			place++
			number := entry.CaseID.Number
			if outcomes[number] != "" || entry.Outcome == "" {
				continue
			}
			outcomes[number] = entry.Outcome
			switch entry.Outcome {
			case contract.Success:
				proofs = append(proofs, counts{entry, place})
			case contract.NoRecord:
				absent = append(absent, counts{entry, place})
			}
		}
		place++
		verdict, started := contract.CanaryVerdict(m.Canary)
		switch {
		case m.Canary == nil || last >= 0:
		case verdict == contract.VerdictSuccess:
			proofs = append(proofs, counts{contract.Entry{StartedAt: started}, place})
		case verdict == contract.VerdictNoRecord:
			last = place
		}
	}
	for _, a := range absent {
		confirmed := slices.ContainsFunc(proofs, func(p counts) bool {
			return p.place > a.place && (last < 0 || p.place < last) &&
				!p.entry.StartedAt.Before(a.entry.Requests[0].StartedAt.Add(500*time.Millisecond))
		})
		if last < 0 || confirmed && a.place < last {
			numbers = append(numbers, a.entry.CaseID.Number)
			if !confirmed {
				unconfirmed = append(unconfirmed, a.entry.CaseID.Number)
			}
		}
	}
	slices.Sort(numbers)
	slices.Sort(unconfirmed)
	return numbers, unconfirmed, last >= 0
}

func TestUnconfirmedMatchesModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		messages := drawMessages(rt)
		folded, _ := foldBoth(rt, messages)
		want, wantUnconfirmed, vanished := modelUnconfirmed(messages)
		var got []int
		for number := 1; number <= 12; number++ {
			if folded.Outcomes.Get(number) == contract.NoRecord {
				got = append(got, number)
				if folded.Voided[number] {
					rt.Fatalf("number %d is void and counted", number)
				}
			}
		}
		if diff := cmp.Diff(wantUnconfirmed, slices.Sorted(maps.Keys(folded.UnconfirmedNumbers()))); diff != "" {
			rt.Fatalf("unconfirmed: %s", diff)
		}
		if diff := cmp.Diff(want, got); diff != "" || folded.NoRecord != len(got) ||
			vanished != (folded.Vanished != nil) {
			rt.Fatalf("%d no-records counted, gone %t: %s", folded.NoRecord, vanished, diff)
		}
	})
}

// A canary confirms what the fold had read before the canary was requested, whatever the times, and
// nothing after it.
func TestCanaryConfirms_ClockSetBack(t *testing.T) {
	t.Parallel()
	m := contract.Manifest{RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: 9},
		CreatedAt: fcttest.StartTime()}
	absent := func(number int) []contract.Entry {
		return []contract.Entry{{
			CaseID: m.Case(number), Attempt: 1, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord,
			StartedAt: fcttest.StartTime(),
			Requests:  []contract.Exchange{{StartedAt: fcttest.StartTime(), Seconds: 0.5}},
		}}
	}
	canary := []contract.Entry{{CaseID: m.Case(9), Verdict: contract.VerdictSuccess,
		StartedAt: fcttest.StartTime().Add(-24 * time.Hour)}}
	folded, reader := &fold.Tally{}, New(m, 0)
	for _, read := range []ledger.Message{
		{Sequence: 3, Entries: absent(1)}, {Sequence: 5, Entries: absent(2)}, {Sequence: 7, Entries: absent(3)},
		{Sequence: 8, Canary: canary, After: 5},
	} {
		folded.AddMessage(read, 0)
		reader.Read(read)
	}
	if len(folded.Unconfirmed) != 1 || folded.Unconfirmed[0].CaseID.Number != 3 {
		t.Errorf("unconfirmed: %+v, want number 3 alone", folded.Unconfirmed)
	}
	if _, found := reader.unconfirmed.newest[3]; len(reader.unconfirmed.newest) != 1 || !found {
		t.Errorf("the verifier has %v, want number 3 alone", reader.unconfirmed.newest)
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
