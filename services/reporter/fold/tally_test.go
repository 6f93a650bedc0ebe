package fold

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// drawHistories draws the attempts of some numbers, each ending in an outcome.
func drawHistories(t *rapid.T) [][]contract.Entry {
	var histories [][]contract.Entry
	for number := range rapid.IntRange(1, 30).Draw(t, "numbers") {
		var history []contract.Entry
		attempts := rapid.IntRange(1, 4).Draw(t, "tries")
		for n := 1; n < attempts; n++ {
			verdict := rapid.SampledFrom([]contract.Verdict{contract.VerdictTransient,
				contract.VerdictBlocked}).Draw(t, "verdict")
			history = append(history, fcttest.Attempt(number+1, n, verdict, ""))
		}
		last := rapid.SampledFrom([]contract.Entry{fcttest.Success(number + 1), fcttest.NoRecord(number + 1),
			fcttest.Failure(number + 1)}).Draw(t, "last")
		last.Attempt = attempts
		histories = append(histories, append(history, last))
	}
	return histories
}

// interleave merges the histories into one ledger that keeps each one's order; with repeat it
// replays some entries.
func interleave(t *rapid.T, histories [][]contract.Entry, repeat bool) []contract.Entry {
	next := make([]int, len(histories))
	var stream []contract.Entry
	for {
		var ready []int
		for i, history := range histories {
			if next[i] < len(history) {
				ready = append(ready, i)
			}
		}
		if len(ready) == 0 {
			return stream
		}
		i := rapid.SampledFrom(ready).Draw(t, "next")
		stream = append(stream, histories[i][next[i]])
		next[i]++
		for repeat && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			stream = append(stream, rapid.SampledFrom(stream).Draw(t, "which"))
		}
	}
}

func foldAll(stream []contract.Entry) (t Tally, fresh int) {
	for i, entry := range stream {
		for _, entry := range t.AddMessage(ledger.Message{Sequence: uint64(i + 1), Entries: []contract.Entry{entry}},
			0) {
			if entry.kind != kindConfirmation {
				fresh++
			}
		}
	}
	return t, fresh
}

// withoutOrder returns a tally without the parts that depend on the order of entries.
func withoutOrder(t Tally) Tally {
	t.Sequence, t.FailStreak, t.Errors = 0, 0, nil
	t.Unconfirmed, t.NoRecordStreak, t.NewestSuccesses = nil, 0, nil
	t.Durations.Sum = math.Round(t.Durations.Sum * 1e6)
	return t
}

func TestTallyIgnoresOrderAndReplays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		histories := drawHistories(rt)
		plain, _ := foldAll(interleave(rt, histories, false))
		again, fresh := foldAll(interleave(rt, histories, true))
		if diff := cmp.Diff(withoutOrder(plain), withoutOrder(again)); diff != "" {
			rt.Fatal(diff)
		}
		entries := 0
		for _, history := range histories {
			entries += len(history)
		}
		if plain.Total() != len(histories) || fresh != entries || plain.Retries != entries-len(histories) ||
			plain.Requests != entries {
			rt.Fatalf("total %d, fresh %d, retries %d, requests %d of %d numbers and %d attempts",
				plain.Total(), fresh, plain.Retries, plain.Requests, len(histories), entries)
		}
	})
}

func TestTallyOutcomesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stream := interleave(rt, drawHistories(rt), true)
		plain, _ := foldAll(stream)
		mixed, _ := foldAll(rapid.Permutation(stream).Draw(rt, "mixed"))
		got := []any{mixed.Succeeded, mixed.NoRecord, mixed.Failed, mixed.Outcomes}
		want := []any{plain.Succeeded, plain.NoRecord, plain.Failed, plain.Outcomes}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestStoredTallyContinues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stream := interleave(rt, drawHistories(rt), true)
		complete, _ := foldAll(stream)
		cut := rapid.IntRange(0, len(stream)).Draw(rt, "cut")
		first, _ := foldAll(stream[:cut])
		data, err := json.Marshal(first)
		if err != nil {
			rt.Fatal(err)
		}
		var second Tally
		if err := json.Unmarshal(data, &second); err != nil {
			rt.Fatal(err)
		}
		for i, entry := range stream[cut:] {
			second.AddMessage(ledger.Message{Sequence: uint64(cut + i + 1), Entries: []contract.Entry{entry}}, 0)
		}
		if got, want := fmt.Sprintf("%+v", second), fmt.Sprintf("%+v", complete); got != want {
			rt.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func TestFirstOutcomeWins(t *testing.T) {
	got, fresh := foldAll([]contract.Entry{fcttest.Failure(7), fcttest.Success(7), fcttest.NoRecord(7)})
	if got.Failed != 1 || got.Total() != 1 || fresh != 1 || got.Outcomes.Get(7) != contract.Failed {
		t.Errorf("failed %d of %d, %d fresh", got.Failed, got.Total(), fresh)
	}
}

func TestBlockedAttemptsShareNumber(t *testing.T) {
	blocked, later := fcttest.Attempt(7, 1, contract.VerdictBlocked, ""),
		fcttest.Attempt(7, 1, contract.VerdictBlocked, "")
	later.StartedAt = later.StartedAt.Add(time.Hour)
	got, fresh := foldAll([]contract.Entry{blocked, blocked, later, fcttest.Success(7)})
	if got.Succeeded != 1 || fresh != 3 || got.Requests != 3 || got.Retries != 2 {
		t.Errorf("%d succeeded, %d fresh, %d requests, %d retries", got.Succeeded, fresh, got.Requests, got.Retries)
	}
}

func TestFailureLimit_AtEnd(t *testing.T) {
	stream := []contract.Entry{fcttest.Failure(1), fcttest.Success(2), fcttest.Failure(3), fcttest.Failure(1),
		fcttest.Failure(4), fcttest.Failure(5)}
	for jobs, want := range map[int]string{0: "3 consecutive failed, the last was IMM-5-25",
		6: "3 consecutive failed, the last was IMM-5-25", 5: ""} {
		var got Tally
		if jobs > 0 {
			got.Planned = &contract.Planned{Jobs: jobs}
		}
		got.AddMessage(ledger.Message{Sequence: 1, Entries: stream}, 3)
		if got.SafeStop != want {
			t.Errorf("%d jobs: %q, want %q", jobs, got.SafeStop, want)
		}
	}
}

func TestOutcomesMatchModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var packed Outcomes
		model := map[int]contract.Outcome{}
		for range rapid.IntRange(0, 50).Draw(rt, "sets") {
			number := rapid.IntRange(1, 300).Draw(rt, "number")
			outcome := rapid.SampledFrom([]contract.Outcome{contract.Success, contract.NoRecord, contract.Failed,
				""}).Draw(rt, "outcome")
			packed.Set(number, outcome)
			model[number] = outcome
		}
		for number := range 400 {
			if packed.Get(number) != model[number] {
				rt.Fatalf("%d: %q, want %q", number, packed.Get(number), model[number])
			}
			if model[number] != "" && number > packed.Highest() {
				rt.Fatalf("%d lies above the highest, %d", number, packed.Highest())
			}
		}
	})
}

func TestStreakIsInNumberOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		manifest := contract.Manifest{Prefix: "IMM", Year: "25", Range: contract.Range{Start: 11, End: 60},
			RunSettings: contract.RunSettings{SafeStopNoRecords: 4}}
		found := map[int]contract.Outcome{}
		var order []int
		for n := 11; n <= 60; n++ {
			found[n] = rapid.SampledFrom([]contract.Outcome{contract.NoRecord, contract.NoRecord, contract.Success,
				contract.Failed}).Draw(rt, "outcome")
			order = append(order, n)
		}
		var atOnce, stepwise Streak
		want, stops := atOnce.Walk(manifest, func(n int) contract.Outcome { return found[n] })
		known := map[int]contract.Outcome{}
		var got contract.Range
		stopped := false
		for _, n := range rapid.Permutation(order).Draw(rt, "order") {
			known[n] = found[n]
			if !stopped {
				got, stopped = stepwise.Walk(manifest, func(n int) contract.Outcome { return known[n] })
			}
		}
		if got != want || stopped != stops {
			rt.Fatalf("%v, %t; want %v, %t", got, stopped, want, stops)
		}
	})
}

// Numbers that a list leaves out neither count nor interrupt.
func TestStreakOfList(t *testing.T) {
	list, problems := contract.ParseCaseList([]string{"IMM-10-25", "IMM-20-25", "IMM-30-25..IMM-32-25", "IMM-90-25"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	manifest := contract.Manifest{Prefix: "IMM", Year: "25", Range: list.Range(), IDs: list,
		RunSettings: contract.RunSettings{SafeStopNoRecords: 3}}
	for name, c := range map[string]struct {
		outcomes map[int]contract.Outcome
		want     string
	}{
		"in a row": {map[int]contract.Outcome{10: contract.Success, 20: contract.NoRecord, 30: contract.NoRecord,
			31: contract.NoRecord}, "3 consecutive no-record: IMM-20-25..IMM-31-25"},
		"interrupted": {map[int]contract.Outcome{10: contract.NoRecord, 20: contract.NoRecord, 30: contract.Failed,
			31: contract.NoRecord, 32: contract.NoRecord}, ""},
		"undecided": {map[int]contract.Outcome{10: contract.NoRecord, 30: contract.NoRecord, 31: contract.NoRecord,
			32: contract.NoRecord}, ""},
		"at the end": {map[int]contract.Outcome{10: contract.Success, 20: contract.Success, 30: contract.Success,
			31: contract.NoRecord, 32: contract.NoRecord, 90: contract.NoRecord}, ""},
	} {
		var s Streak
		got := ""
		if stretch, found := s.Walk(manifest, func(n int) contract.Outcome { return c.outcomes[n] }); found {
			got = NoRecordsReason(manifest, stretch)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestStreakReason(t *testing.T) {
	none := func(int) contract.Outcome { return contract.NoRecord }
	for end, want := range map[int]string{560: "", 561: "500 consecutive no-record: IMM-61-23..IMM-560-23"} {
		manifest := contract.Manifest{Prefix: "IMM", Year: "23", Range: contract.Range{Start: 61, End: end},
			RunSettings: contract.RunSettings{SafeStopNoRecords: 500}}
		var s Streak
		got := ""
		if stretch, found := s.Walk(manifest, none); found {
			got = NoRecordsReason(manifest, stretch)
		}
		if got != want {
			t.Errorf("end %d: %q, want %q", end, got, want)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
