package fetcher_test

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/services/fetcher"

	"pgregory.net/rapid"
)

func TestHistoryNext(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	answer := func(attempt int) ledger.AttemptState {
		return ledger.AttemptState{Number: 7, Attempt: attempt}
	}
	transient := func(attempt int, in time.Duration) ledger.AttemptState {
		return ledger.AttemptState{Number: 7, Attempt: attempt, Verdict: contract.VerdictTransient,
			RetryAt: now.Add(in)}
	}
	blocked := ledger.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictBlocked}
	done := ledger.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictSuccess, Outcome: contract.Success}
	missing := ledger.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictNoRecord, Outcome: contract.NoRecord}
	failed := ledger.AttemptState{Number: 7, Attempt: 2, Verdict: contract.VerdictTransient, Outcome: contract.Failed}
	other := ledger.AttemptState{Number: 8, Attempt: 5, Verdict: contract.VerdictSuccess, Outcome: contract.Success}
	for name, c := range map[string]struct {
		states []ledger.AttemptState
		want   fetcher.Step
	}{
		"nothing known":         {nil, fetcher.Step{Attempt: 1}},
		"another number":        {[]ledger.AttemptState{other}, fetcher.Step{Attempt: 1}},
		"answer not classified": {[]ledger.AttemptState{answer(1)}, fetcher.Step{Wait: time.Second}},
		"has an outcome": {[]ledger.AttemptState{done},
			fetcher.Step{Outcome: contract.Success, Sequence: 1}},
		"has an outcome, answer left": {[]ledger.AttemptState{answer(1), done},
			fetcher.Step{Outcome: contract.Success, Sequence: 2}},
		"failed after two": {[]ledger.AttemptState{transient(1, -time.Second), failed},
			fetcher.Step{Outcome: contract.Failed, Sequence: 2}},
		"the first outcome counts": {[]ledger.AttemptState{missing, done, failed},
			fetcher.Step{Outcome: contract.NoRecord, Sequence: 1}},
		"retry not due": {[]ledger.AttemptState{answer(1), transient(1, 4*time.Second)},
			fetcher.Step{Wait: 4 * time.Second}},
		"retry due": {[]ledger.AttemptState{transient(1, 0)}, fetcher.Step{Attempt: 2}},
		"second answer waits": {[]ledger.AttemptState{transient(1, 0), answer(2)},
			fetcher.Step{Wait: time.Second}},
		"blocked costs no attempt": {[]ledger.AttemptState{blocked}, fetcher.Step{Attempt: 1}},
		"blocked answer":           {[]ledger.AttemptState{answer(1), blocked}, fetcher.Step{Attempt: 1}},
		"older attempt comes later": {[]ledger.AttemptState{transient(2, 0), transient(1, time.Hour)},
			fetcher.Step{Attempt: 3}},
	} {
		history := fetcher.NewHistory()
		for i, state := range c.states {
			history.Add(uint64(i+1), []ledger.AttemptState{state})
		}
		if got := history.Next(7, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestHistoryIgnoresOrderAndRepetition(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		states := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ledger.AttemptState {
			attempt := rapid.IntRange(1, 4).Draw(t, "attempt")
			state := ledger.AttemptState{
				Number: 7, Attempt: attempt,
				Verdict: rapid.SampledFrom([]contract.Verdict{"", contract.VerdictTransient,
					contract.VerdictBlocked}).Draw(t, "verdict"),
				RetryAt: now.Add(time.Duration(attempt-2) * time.Second), // depends on the attempt, as in the program
			}
			if rapid.IntRange(0, 9).Draw(t, "has an outcome") == 0 {
				state.Outcome = contract.Failed
			}
			return state
		}), 0, 8).Draw(t, "states")
		once, twice := fetcher.NewHistory(), fetcher.NewHistory()
		var order []int
		for i, s := range states {
			once.Add(uint64(i+1), []ledger.AttemptState{s})
			order = append(order, i, i)
		}
		for _, i := range rapid.Permutation(order).Draw(t, "shuffled") {
			twice.Add(uint64(i+1), []ledger.AttemptState{states[i]})
		}
		if a, b := once.Next(7, now), twice.Next(7, now); a != b {
			t.Fatalf("%+v in order, %+v shuffled and repeated", a, b)
		}
	})
}

func TestHistoryForget(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	history := fetcher.NewHistory()
	history.Add(4, []ledger.AttemptState{{Number: 7, Attempt: 1, Verdict: contract.VerdictTransient}})
	history.Add(5, []ledger.AttemptState{{Number: 7, Attempt: 2}, {Number: 8, Attempt: 1}})
	if got := history.Pending(7); got != 5 {
		t.Errorf("answer %d is pending, want 5", got)
	}
	history.Forget(7)
	if got, want := history.Next(7, now), (fetcher.Step{Attempt: 2}); got != want || history.Pending(7) != 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := history.Next(8, now), (fetcher.Step{Wait: time.Second}); got != want {
		t.Errorf("%+v of its neighbour, want %+v", got, want)
	}
}
