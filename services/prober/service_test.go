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

// limited makes the run end at a number at the latest.
func limited(start, end int) func(*plant) {
	return func(p *plant) { p.manifest.Range = contract.Range{Start: start, End: end} }
}

func TestTheBoundEndsTheRange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		highest int
		change  func(*plant)
		want    contract.Range
		limit   bool
	}{
		"a whole year":         {5600, func(*plant) {}, contract.Range{Start: 1, End: 5600}, false},
		"the year ends before": {60, limited(30, 79), contract.Range{Start: 30, End: 60}, false},
		"the year goes on":     {500, limited(30, 79), contract.Range{Start: 30, End: 79}, true},
		"nothing from there":   {20, limited(30, 79), contract.Range{Start: 30, End: 29}, false},
		"an empty year":        {0, func(*plant) {}, contract.Range{Start: 1, End: 0}, false},
		"the bound alone":      {60, func(p *plant) { p.manifest.ProbeOnly = true }, contract.Range{Start: 1, End: 0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlant(t, c.highest, c.change)
			m := p.search()
			if m.Bound.AtLimit != c.limit {
				t.Errorf("at limit %t, want %t", m.Bound.AtLimit, c.limit)
			}
			if m.Range != c.want || m.Bound.Requests != p.requests || m.Bound.NumbersProbed != len(p.jobs) || m.Bound.Requests > 50 {
				t.Errorf("%v, bound %+v; want %v after %d requests and %d questions", m.Range, m.Bound, c.want, p.requests, len(p.jobs))
			}
			if m.Bound.Number > 0 && !p.exists(m.Bound.Number) || m.Bound.Number > 0 && m.Bound.FiledOn != filedOn(m.Bound.Number) {
				t.Errorf("bound %+v", m.Bound)
			}
			m.Range, m.Bound = p.manifest.Range, nil
			if diff := cmp.Diff(p.manifest, m); diff != "" {
				t.Error("more of the manifest has changed:", diff)
			}
		})
	}
}

func TestTwoProbersWriteOneBound(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 300)
	changes, err := p.kv.Watch(t.Context(), p.manifest.RunID.ManifestKey(), jetstream.UpdatesOnly())
	p.must(err)
	stop := p.work()
	m := p.search()
	p.put(p.kv, p.manifest.RunID.ManifestKey(), m) // so that all changes before it have come
	for written := 0; ; written++ {
		entry := <-changes.Updates()
		var now contract.Manifest
		p.must(json.Unmarshal(entry.Value(), &now))
		if diff := cmp.Diff(m, now); diff != "" {
			t.Error(diff)
		}
		if written == 1 {
			break
		}
	}
	stop()
	p.must(changes.Stop())
	if more, open := <-changes.Updates(); open {
		t.Errorf("written once more: %s", more.Value())
	}
}

func TestWhatIsCollectedIsEvidence(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 0, func(p *plant) {
		p.exists = func(n int) bool { return n <= 300 && n%50 != 0 || n == 301 }
	})
	for n := 1; n <= 301; n++ {
		outcome := contract.NoRecord
		if p.exists(n) {
			outcome = contract.Success
		}
		p.collected("25", outcome, n)
	}
	m := p.search()
	if m.Bound.Number != 301 || len(p.jobs) == 0 || slices.Min(p.numbers()) <= 301 {
		t.Errorf("bound %+v, asked for %v", m.Bound, p.numbers())
	}
}

func TestLastYearSaysWhereToBegin(t *testing.T) {
	t.Parallel()
	first := func(lastMax int) int {
		p := newPlant(t, 0)
		p.collected("24", contract.Success, 1, lastMax)
		p.collected("24", contract.NoRecord, lastMax+500)
		p.collected("23", contract.Success, 99000)
		p.search()
		return p.numbers()[0]
	}
	if low, high := first(300), first(30000); low > 1000 || high < 10000 {
		t.Errorf("begins with %d when last year had 300 numbers, with %d when it had 30,000", low, high)
	}
}

func TestAFailedNumberIsNoEvidence(t *testing.T) {
	t.Parallel()
	failed := 0
	p := newPlant(t, 5600, func(p *plant) {
		p.failing = func(asked int) bool { // never three in a row
			if asked >= 12 || asked%3 != 1 {
				return false
			}
			failed++
			return true
		}
	})
	m := p.search()
	if m.Bound.Number < 5400 || m.Bound.Number > 5600 || failed != 4 || m.Bound.Requests != p.requests {
		t.Errorf("bound %+v with %d failed questions and %d requests", m.Bound, failed, p.requests)
	}
}

func TestTheBudgetIsHardWhateverFails(t *testing.T) {
	t.Parallel()
	for most := 1; most <= 25; most += 2 {
		parties := most%4 == 1
		p := newPlant(t, 5600, func(p *plant) { p.manifest.ProbeBudget, p.transients, p.parties = most, 2, parties })
		stopWork, stop := p.work(), p.serving(p.manifest.RunID)
		halt := await(p, p.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
		stop()
		stopWork()
		if p.requests > most || halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "probe_budget") {
			t.Errorf("parties %t: %d requests with a budget of %d: %+v", parties, p.requests, most, halt)
		}
	}
}

func TestASearchThatMeetsOnlyFailuresStopsTheRun(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 5600, func(p *plant) { p.transients = 99 })
	defer p.work()()
	stop := p.serving(p.manifest.RunID)
	halt := await(p, p.manifest.RunID.HaltKey(), func(contract.Halt) bool { return true })
	stop()
	m, err := runs.Manifest(t.Context(), p.kv, p.manifest.RunID)
	p.must(err)
	if halt.Status != contract.SafeStop || !strings.Contains(halt.Reason, "only failures") || len(p.jobs) != 3 || m.Bound != nil {
		t.Errorf("%+v after %d questions, bound %+v", halt, len(p.jobs), m.Bound)
	}
}

func TestAHaltEndsASearch(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 5600)
	defer p.work()()
	halted, other := p.manifest, p.manifest
	other.RunID, other.Year = "other", "24"
	var pending contract.Job
	p.must(p.serve(t.Context(), halted.RunID, func(job contract.Job) bool {
		pending = job
		return len(p.jobs) == 3
	}))
	p.put(p.kv, halted.RunID.HaltKey(), contract.Halt{Status: contract.Blocked, Reason: "status 403"})
	p.begin(other) // whoever has begun it knows of the halt
	p.must(p.serve(t.Context(), other.RunID, func(contract.Job) bool { return true }))
	p.must(p.answer(t.Context(), pending))
	p.manifest = other
	stop := p.serving(other.RunID)
	p.found(other.RunID)
	stop()
	asked, err := runs.PublishedNumbers(t.Context(), p.b, halted.RunID)
	p.must(err)
	m, err := runs.Manifest(t.Context(), p.kv, halted.RunID)
	p.must(err)
	if len(asked) != 4 || m.Bound != nil {
		t.Errorf("%d questions, bound %+v after a halt at the fourth question", len(asked), m.Bound)
	}
}

// next starts a prober and stops it when it has asked its next question, or found the bound.
func (p *plant) next() (job contract.Job, found *contract.Manifest) {
	p.t.Helper()
	defer p.work()()
	ctx, cancel := context.WithCancel(p.t.Context())
	asked := make(chan error, 1)
	go func() {
		defer cancel()
		asked <- p.serve(ctx, p.manifest.RunID, func(next contract.Job) bool {
			job = next
			return true
		})
	}()
	m, err := runs.Await(ctx, p.b, p.manifest.RunID.ManifestKey(), func(m contract.Manifest) bool { return m.Bound != nil })
	cancel()
	p.must(<-asked)
	if err == nil {
		return job, &m
	}
	return job, nil
}

func TestCutOffAfterEveryAnswerASearchAsksTheSame(t *testing.T) {
	t.Parallel()
	ragged := func(p *plant) {
		p.exists = func(n int) bool { return n <= 5000 && n%11 != 0 || n <= 5600 && n%7 == 0 }
		p.transients, p.manifest.ProbeBudget = 1, 2*budget
	}
	whole, cut := newPlant(t, 0, ragged), newPlant(t, 0, ragged)
	want := whole.search()
	job, found := cut.next()
	for ; found == nil; job, found = cut.next() {
		cut.must(cut.answer(t.Context(), job))
	}
	if diff := cmp.Diff(want, *found); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(whole.numbers(), cut.numbers()); diff != "" || len(whole.jobs) < 10 {
		t.Errorf("%d questions: %s", len(whole.jobs), diff)
	}
}

func TestAttemptsThatAreClassifiedTwiceCountOnce(t *testing.T) {
	t.Parallel()
	p := newPlant(t, 700, func(p *plant) { p.twice, p.transients = true, 1 })
	if m := p.search(); m.Bound.Number != 700 || m.Bound.Requests != p.requests || m.Bound.NumbersProbed != len(p.jobs) {
		t.Errorf("bound %+v after %d requests and %d questions", m.Bound, p.requests, len(p.jobs))
	}
}

func TestWhatIsNewIsSearchedForAboveTheHighestRecord(t *testing.T) {
	t.Parallel()
	for isNew, want := range map[bool]int{true: 45, false: 40} {
		p := newPlant(t, 45, func(p *plant) { p.manifest.New, p.manifest.RecheckAbove = isNew, 40 })
		for n := 1; n <= 60; n++ {
			outcome := contract.Success
			if n > 40 || n == 20 {
				outcome = contract.NoRecord
			}
			p.collected("25", outcome, n)
		}
		m := p.search()
		again := slices.ContainsFunc(p.numbers(), func(n int) bool { return n <= 60 })
		if again != isNew || slices.Contains(p.numbers(), 20) || m.Bound.Number != want {
			t.Errorf("new %t: bound %+v, asked for %v; want %d", isNew, m.Bound, p.numbers(), want)
		}
	}
}

func TestOldNoRecordsProveNoBound(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for age, want := range map[time.Duration]int{time.Minute: 300, 2 * time.Hour: 900} {
		p := newPlant(t, 900, func(p *plant) { p.manifest.RecheckAbove, p.manifest.RecheckBefore = 300, now.Add(-time.Hour) })
		kv := p.bucket(contract.BucketCollected)
		for n := 1; n <= 1000; n++ {
			value := contract.Collected{Outcome: contract.Success, RunID: "before", At: now.Add(-age)}
			if n > 300 {
				value.Outcome = contract.NoRecord
			}
			p.put(kv, p.manifest.Case(n).Key(), value)
		}
		m := p.search()
		since := m.Bound.KnownSince
		if m.Bound.Number != want || m.Bound.Confidence >= 1 || m.Bound.Exact >= 1 || want == 300 && !since.Equal(now.Add(-age)) || want == 900 && !since.IsZero() {
			t.Errorf("no-records %s old: bound %d, %v sure, known since %s; want %d", age, m.Bound.Number, m.Bound.Confidence, since, want)
		}
	}
}
