package prober_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// withRange sets the range of the run.
func withRange(start, end int) func(*fixture) {
	return func(f *fixture) { f.manifest.Range = contract.Range{Start: start, End: end} }
}

func TestBoundLimitsRange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		highest int
		change  func(*fixture)
		want    contract.Range
		limit   bool
	}{
		"a complete year":      {5600, func(*fixture) {}, contract.Range{Start: 1, End: 5600}, false},
		"the year ends before": {60, withRange(30, 79), contract.Range{Start: 30, End: 60}, false},
		"the year continues":   {500, withRange(30, 79), contract.Range{Start: 30, End: 79}, true},
		"nothing in the range": {20, withRange(30, 79), contract.Range{Start: 30, End: 29}, false},
		"an empty year":        {0, func(*fixture) {}, contract.Range{Start: 1, End: 0}, false},
		"the bound alone":      {60, func(f *fixture) { f.manifest.ProbeOnly = true }, contract.Range{Start: 1, End: 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.highest, c.change)
			m := f.search()
			if m.Bound.AtLimit != c.limit {
				t.Errorf("at limit %t, want %t", m.Bound.AtLimit, c.limit)
			}
			if m.Range != c.want || m.Bound.Requests != f.requests || m.Bound.NumbersProbed != len(f.jobs) ||
				m.Bound.Requests > 50 {
				t.Errorf("%v, bound %+v; want %v after %d requests and %d questions", m.Range, m.Bound, c.want,
					f.requests, len(f.jobs))
			}
			if m.Bound.Number > 0 && !f.exists(m.Bound.Number) ||
				m.Bound.Number > 0 && m.Bound.FiledOn != filedOn(m.Bound.Number) {
				t.Errorf("bound %+v", m.Bound)
			}
			m.Range, m.Bound = f.manifest.Range, nil
			if diff := cmp.Diff(f.manifest, m); diff != "" {
				t.Error("other fields of the manifest have changed:", diff)
			}
		})
	}
}

func TestConcurrentProbersWriteOneBound(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 300)
	changes, err := f.kv.Watch(t.Context(), f.manifest.RunID.ManifestKey(), jetstream.UpdatesOnly())
	f.must(err)
	stop := f.runService()
	m := f.search()
	f.put(f.kv, f.manifest.RunID.ManifestKey(), m) // a marker after all earlier changes
	for written := 0; ; written++ {
		entry := <-changes.Updates()
		var now contract.Manifest
		f.must(json.Unmarshal(entry.Value(), &now))
		if diff := cmp.Diff(m, now); diff != "" {
			t.Error(diff)
		}
		if written == 1 {
			break
		}
	}
	stop()
	f.must(changes.Stop())
	if more, open := <-changes.Updates(); open {
		t.Errorf("written a second time: %s", more.Value())
	}
}

func TestCollectedOutcomesAreEvidence(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 0, func(f *fixture) {
		f.exists = func(n int) bool { return n <= 300 && n%50 != 0 || n == 301 }
	})
	for n := 1; n <= 301; n++ {
		outcome := contract.NoRecord
		if f.exists(n) {
			outcome = contract.Success
		}
		f.storeOutcomes("25", outcome, n)
	}
	m := f.search()
	if m.Bound.Number != 301 || len(f.jobs) == 0 || slices.Min(f.requestedNumbers()) <= 301 {
		t.Errorf("bound %+v, requested %v", m.Bound, f.requestedNumbers())
	}
}

func TestPreviousYearGivesFirstQuestion(t *testing.T) {
	t.Parallel()
	first := func(lastMax int) int {
		f := newFixture(t, 0)
		f.storeOutcomes("24", contract.Success, 1, lastMax)
		f.storeOutcomes("24", contract.NoRecord, lastMax+500)
		f.storeOutcomes("23", contract.Success, 99000)
		f.search()
		return f.requestedNumbers()[0]
	}
	if low, high := first(300), first(30000); low > 1000 || high < 10000 {
		t.Errorf("starts at %d when the previous year had 300 numbers, with %d when it had 30,000", low, high)
	}
}

func TestFailedNumberIsNoEvidence(t *testing.T) {
	t.Parallel()
	failed := 0
	f := newFixture(t, 5600, func(f *fixture) {
		f.failingQuestion = func(index int) bool { // never three in a row
			if index >= 12 || index%3 != 1 {
				return false
			}
			failed++
			return true
		}
	})
	m := f.search()
	if m.Bound.Number < 5400 || m.Bound.Number > 5600 || failed != 4 || m.Bound.Requests != f.requests {
		t.Errorf("bound %+v with %d failed questions and %d requests", m.Bound, failed, f.requests)
	}
}

func TestBudgetNeverExceeded(t *testing.T) {
	t.Parallel()
	for most := 1; most <= 25; most += 2 {
		parties := most%4 == 1
		f := newFixture(t, 5600, func(f *fixture) {
			f.manifest.ProbeBudget, f.transients, f.parties = most, 2, parties
		})
		stopWork, stop := f.runService(), f.answerJobs(f.manifest.RunID)
		halt := await(f, f.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
		stop()
		stopWork()
		if f.requests > most || halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "probe_budget") {
			t.Errorf("parties %t: %d requests with a budget of %d: %+v", parties, f.requests, most, halt)
		}
	}
}

func TestOnlyFailuresStopRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5600, func(f *fixture) { f.transients = 99 })
	defer f.runService()()
	stop := f.answerJobs(f.manifest.RunID)
	halt := await(f, f.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
	stop()
	m, err := runs.Manifest(t.Context(), f.kv, f.manifest.RunID)
	f.must(err)
	if halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "only failures") || len(f.jobs) != 3 ||
		m.Bound != nil {
		t.Errorf("%+v after %d questions, bound %+v", halt, len(f.jobs), m.Bound)
	}
}

func TestHaltEndsSearch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 5600)
	defer f.runService()()
	halted, other := f.manifest, f.manifest
	other.RunID, other.Year = "other", "24"
	var pending contract.Job
	f.must(f.answerJobsUntil(t.Context(), halted.RunID, func(job contract.Job) bool {
		pending = job
		return len(f.jobs) == 3
	}))
	f.put(f.kv, halted.RunID.HaltKey(), contract.Halt{Status: contract.Blocked, Reason: "status 403"})
	f.beginRun(other) // the prober has read the halt once it starts this run
	f.must(f.answerJobsUntil(t.Context(), other.RunID, func(contract.Job) bool { return true }))
	f.must(f.answerJob(t.Context(), pending))
	f.manifest = other
	stop := f.answerJobs(other.RunID)
	f.awaitBound(other.RunID)
	stop()
	requested, err := runs.PublishedNumbers(t.Context(), f.b, halted.RunID)
	f.must(err)
	m, err := runs.Manifest(t.Context(), f.kv, halted.RunID)
	f.must(err)
	if len(requested) != 4 || m.Bound != nil {
		t.Errorf("%d questions, bound %+v after a halt at the fourth question", len(requested), m.Bound)
	}
}

// nextQuestion runs a prober until it has asked its next question or found the bound.
func (f *fixture) nextQuestion() (job contract.Job, found *contract.Manifest) {
	f.t.Helper()
	defer f.runService()()
	ctx, cancel := context.WithCancel(f.t.Context())
	requested := make(chan error, 1)
	go func() {
		defer cancel()
		requested <- f.answerJobsUntil(ctx, f.manifest.RunID, func(next contract.Job) bool {
			job = next
			return true
		})
	}()
	m, err := runs.Await(ctx, f.b, f.manifest.RunID.ManifestKey(),
		func(m contract.Manifest) bool { return m.Bound != nil })
	cancel()
	f.must(<-requested)
	if err == nil {
		return job, &m
	}
	return job, nil
}

func TestRestartAfterEveryAnswer(t *testing.T) {
	t.Parallel()
	ragged := func(f *fixture) {
		f.exists = func(n int) bool { return n <= 5000 && n%11 != 0 || n <= 5600 && n%7 == 0 }
		f.transients, f.manifest.ProbeBudget = 1, 2*budget
	}
	uninterrupted, restarted := newFixture(t, 0, ragged), newFixture(t, 0, ragged)
	want := uninterrupted.search()
	job, found := restarted.nextQuestion()
	for ; found == nil; job, found = restarted.nextQuestion() {
		restarted.must(restarted.answerJob(t.Context(), job))
	}
	if diff := cmp.Diff(want, *found); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(uninterrupted.requestedNumbers(), restarted.requestedNumbers()); diff != "" ||
		len(uninterrupted.jobs) < 10 {
		t.Errorf("%d questions: %s", len(uninterrupted.jobs), diff)
	}
}

func TestDuplicateAttemptsCountOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, 700, func(f *fixture) { f.classifyTwice, f.transients = true, 1 })
	if m := f.search(); m.Bound.Number != 700 || m.Bound.Requests != f.requests ||
		m.Bound.NumbersProbed != len(f.jobs) {
		t.Errorf("bound %+v after %d requests and %d questions", m.Bound, f.requests, len(f.jobs))
	}
}

func TestNewSearchesAboveHighestRecord(t *testing.T) {
	t.Parallel()
	for isNew, want := range map[bool]int{true: 45, false: 40} {
		f := newFixture(t, 45, func(f *fixture) { f.manifest.New, f.manifest.RecheckAbove = isNew, 40 })
		for n := 1; n <= 60; n++ {
			outcome := contract.Success
			if n > 40 || n == 20 {
				outcome = contract.NoRecord
			}
			f.storeOutcomes("25", outcome, n)
		}
		m := f.search()
		again := slices.ContainsFunc(f.requestedNumbers(), func(n int) bool { return n <= 60 })
		if again != isNew || slices.Contains(f.requestedNumbers(), 20) || m.Bound.Number != want {
			t.Errorf("new %t: bound %+v, requested %v; want %d", isNew, m.Bound, f.requestedNumbers(), want)
		}
	}
}

func TestOldNoRecordsRechecked(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for age, want := range map[time.Duration]int{time.Minute: 300, 2 * time.Hour: 900} {
		f := newFixture(t, 900, func(f *fixture) {
			f.manifest.RecheckAbove, f.manifest.RecheckBefore = 300, now.Add(-time.Hour)
		})
		kv := f.bucket(contract.BucketCollected)
		for n := 1; n <= 1000; n++ {
			value := contract.Collected{Outcome: contract.Success, RunID: "before", At: now.Add(-age)}
			if n > 300 {
				value.Outcome = contract.NoRecord
			}
			f.put(kv, f.manifest.Case(n).Key(), value)
		}
		m := f.search()
		since := m.Bound.KnownSince
		if m.Bound.Number != want || m.Bound.Confidence >= 1 || m.Bound.Exact >= 1 ||
			want == 300 && !since.Equal(now.Add(-age)) || want == 900 && !since.IsZero() {
			t.Errorf("no-records %s old: bound %d, confidence %v, known since %s; want %d", age, m.Bound.Number,
				m.Bound.Confidence, since, want)
		}
	}
}
