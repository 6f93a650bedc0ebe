package fetcher_test

import (
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/fetcher"

	"pgregory.net/rapid"
)

func TestHistoryNext(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
	answer := func(attempt int) contract.AttemptState {
		return contract.AttemptState{Number: 7, Attempt: attempt}
	}
	transient := func(attempt int, in time.Duration) contract.AttemptState {
		return contract.AttemptState{Number: 7, Attempt: attempt, Verdict: contract.VerdictTransient,
			RetryAt: now.Add(in)}
	}
	blocked := contract.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictBlocked}
	done := contract.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictSuccess, Final: true}
	missing := contract.AttemptState{Number: 7, Attempt: 1, Verdict: contract.VerdictNoRecord, Final: true}
	failed := contract.AttemptState{Number: 7, Attempt: 2, Verdict: contract.VerdictTransient, Final: true}
	other := contract.AttemptState{Number: 8, Attempt: 5, Verdict: contract.VerdictSuccess, Final: true}
	for name, c := range map[string]struct {
		states []contract.AttemptState
		want   fetcher.Step
	}{
		"nothing known":         {nil, fetcher.Step{Attempt: 1}},
		"another number":        {[]contract.AttemptState{other}, fetcher.Step{Attempt: 1}},
		"answer not classified": {[]contract.AttemptState{answer(1)}, fetcher.Step{Wait: time.Second}},
		"settled": {[]contract.AttemptState{done},
			fetcher.Step{Settled: true, Outcome: contract.Success, Sequence: 1}},
		"settled, answer left": {[]contract.AttemptState{answer(1), done},
			fetcher.Step{Settled: true, Outcome: contract.Success, Sequence: 2}},
		"failed after two": {[]contract.AttemptState{transient(1, -time.Second), failed},
			fetcher.Step{Settled: true, Outcome: contract.Failed, Sequence: 2}},
		"the first outcome counts": {[]contract.AttemptState{missing, done, failed},
			fetcher.Step{Settled: true, Outcome: contract.NoRecord, Sequence: 1}},
		"retry not due": {[]contract.AttemptState{answer(1), transient(1, 4*time.Second)},
			fetcher.Step{Wait: 4 * time.Second}},
		"retry due": {[]contract.AttemptState{transient(1, 0)}, fetcher.Step{Attempt: 2}},
		"second answer waits": {[]contract.AttemptState{transient(1, 0), answer(2)},
			fetcher.Step{Wait: time.Second}},
		"blocked costs no attempt": {[]contract.AttemptState{blocked}, fetcher.Step{Attempt: 1}},
		"blocked answer":           {[]contract.AttemptState{answer(1), blocked}, fetcher.Step{Attempt: 1}},
		"older attempt comes later": {[]contract.AttemptState{transient(2, 0), transient(1, time.Hour)},
			fetcher.Step{Attempt: 3}},
	} {
		history := fetcher.NewHistory()
		for i, state := range c.states {
			history.Add(uint64(i+1), []contract.AttemptState{state})
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
		states := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) contract.AttemptState {
			attempt := rapid.IntRange(1, 4).Draw(t, "attempt")
			return contract.AttemptState{
				Number: 7, Attempt: attempt,
				Verdict: rapid.SampledFrom([]contract.Verdict{"", contract.VerdictTransient,
					contract.VerdictBlocked}).Draw(t, "verdict"),
				Final:   rapid.IntRange(0, 9).Draw(t, "final") == 0,
				RetryAt: now.Add(time.Duration(attempt-2) * time.Second), // depends on the attempt, as in the program
			}
		}), 0, 8).Draw(t, "states")
		once, twice := fetcher.NewHistory(), fetcher.NewHistory()
		var order []int
		for i, s := range states {
			once.Add(uint64(i+1), []contract.AttemptState{s})
			order = append(order, i, i)
		}
		for _, i := range rapid.Permutation(order).Draw(t, "shuffled") {
			twice.Add(uint64(i+1), []contract.AttemptState{states[i]})
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
	history.Add(4, []contract.AttemptState{{Number: 7, Attempt: 1, Verdict: contract.VerdictTransient}})
	history.Add(5, []contract.AttemptState{{Number: 7, Attempt: 2}, {Number: 8, Attempt: 1}})
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
