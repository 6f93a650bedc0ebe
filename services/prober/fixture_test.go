package prober_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/runs"
	"fct-scraper/services/prober"

	"github.com/nats-io/nats.go/jetstream"
)

// searchTimeout limits the duration of a search; it only bounds failures.
const searchTimeout = time.Minute

// budget is the probe_budget of the runs.
const budget = 200

// fixture is a server with one run that searches for its bound. It answers the jobs of the run.
type fixture struct {
	t               *testing.T
	b               *bus.Bus
	kv              jetstream.KeyValue
	manifest        contract.Manifest
	exists          func(number int) bool
	transients      int                  // maximum number of failed attempts of each job
	failingQuestion func(index int) bool // reports whether a question, by its index, gets no answer
	classifyTwice   bool
	parties         bool
	requests        int // the number of requests made
	jobs            []contract.Job
}

// newFixture starts a run over the year of a site that has the numbers 1 to highest.
func newFixture(t *testing.T, highest int, change ...func(*fixture)) *fixture {
	t.Helper()
	f := &fixture{t: t, b: fcttest.Broker(t), exists: func(n int) bool { return n <= highest },
		manifest: contract.Manifest{
			Version: contract.MessageVersion, RunID: "run", Prefix: "IMM", Year: "25",
			Range:       contract.Range{Start: 1, End: contract.MaxNumber},
			RunSettings: contract.RunSettings{MaxRetries: 3, Probe: true, ProbeBudget: budget},
		}}
	for _, c := range change {
		c(f)
	}
	f.kv = f.bucket(contract.BucketRuns)
	f.beginRun(f.manifest)
	return f
}

// beginRun stores a running run.
func (f *fixture) beginRun(m contract.Manifest) {
	f.t.Helper()
	f.put(f.kv, m.RunID.ManifestKey(), m)
	f.put(f.kv, m.RunID.StateKey(), contract.State{Status: contract.Running, Round: 1})
}

func (f *fixture) bucket(name string) jetstream.KeyValue {
	f.t.Helper()
	kv, err := f.b.KV(f.t.Context(), name)
	f.must(err)
	return kv
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) put(kv jetstream.KeyValue, key string, value any) {
	f.t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		_, err = kv.Put(f.t.Context(), key, data)
	}
	f.must(err)
}

// storeOutcomes stores outcomes of an earlier run.
func (f *fixture) storeOutcomes(year string, outcome contract.Outcome, numbers ...int) {
	f.t.Helper()
	kv := f.bucket(contract.BucketCollected)
	for _, n := range numbers {
		id := contract.CaseID{Series: "IMM", Year: year, Number: n}
		f.put(kv, id.Key(), contract.Collected{Outcome: outcome, RunID: "before"})
	}
}

// runService runs a prober until stop is called.
func (f *fixture) runService() (stop func()) {
	f.t.Helper()
	service, err := prober.NewService(f.t.Context(), prober.Options{
		Bus: f.b, Log: fcttest.Logger(f.t), Parties: f.parties,
		Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	})
	f.must(err)
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	return func() {
		f.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
	}
}

// awaitBound waits for the bound of a run.
func (f *fixture) awaitBound(run contract.RunID) contract.Manifest {
	f.t.Helper()
	return await(f, run.ManifestKey(), func(m contract.Manifest) bool { return m.Bound != nil })
}

// await waits until the value of a key satisfies good.
func await[T any](f *fixture, key string, good func(T) bool) T {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), searchTimeout)
	defer cancel()
	value, err := runs.Await(ctx, f.b, key, good)
	f.must(err)
	return value
}

// ignoreCanceled returns err, or nil if ctx has ended.
func ignoreCanceled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// answerJobsUntil answers the jobs of a run in order until enough returns true for the next one or
// ctx ends.
func (f *fixture) answerJobsUntil(ctx context.Context, run contract.RunID, enough func(job contract.Job) bool) error {
	jobs, err := f.b.JetStream().OrderedConsumer(ctx, contract.StreamJobs,
		jetstream.OrderedConsumerConfig{FilterSubjects: []string{run.JobFilter()}})
	if err != nil {
		return ignoreCanceled(ctx, err)
	}
	messages, err := jobs.Messages()
	if err != nil {
		return ignoreCanceled(ctx, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return ignoreCanceled(ctx, err)
		}
		var job contract.Job
		if err := json.Unmarshal(msg.Data(), &job); err != nil {
			return err
		}
		if slices.Contains(f.jobs, job) {
			continue
		}
		if enough(job) {
			return nil
		}
		if err := f.answerJob(ctx, job); err != nil {
			return ignoreCanceled(ctx, err)
		}
	}
}

// answerJobs answers the jobs of a run until stop is called.
func (f *fixture) answerJobs(run contract.RunID) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	served := make(chan error, 1)
	go func() { served <- f.answerJobsUntil(ctx, run, func(contract.Job) bool { return false }) }()
	return func() {
		f.t.Helper()
		cancel()
		f.must(<-served)
	}
}

// answerJob acts as fetcher, classifier and reporter for a job.
func (f *fixture) answerJob(ctx context.Context, job contract.Job) error {
	transients := f.transients
	if f.failingQuestion != nil && f.failingQuestion(len(f.jobs)) {
		transients = job.MaxAttempts
	}
	f.jobs = append(f.jobs, job)
	for ordinal := 1; ; ordinal++ {
		entry := f.newEntry(job, ordinal, transients)
		f.requests += len(entry.Requests)
		times := 1
		if f.classifyTwice {
			times = 2
		}
		for range times {
			if err := f.appendEntry(ctx, entry); err != nil {
				return err
			}
		}
		if entry.Outcome != "" {
			return f.storeOutcome(ctx, entry)
		}
	}
}

// newEntry returns the entry of an attempt. It takes two requests if the result is unexpected or
// transient, else one, and one more for the parties.
func (f *fixture) newEntry(job contract.Job, ordinal, transients int) contract.Entry {
	exists := f.exists(job.CaseID.Number)
	entry := contract.Entry{CaseID: job.CaseID, Attempt: ordinal, Verdict: contract.VerdictTransient,
		StartedAt: time.Now().UTC()}
	requests := 2
	switch {
	case ordinal <= transients && ordinal >= job.MaxAttempts:
		entry.Outcome = contract.Failed
	case ordinal <= transients:
	case exists:
		entry.Verdict, entry.Outcome, entry.FiledOn = contract.VerdictSuccess, contract.Success,
			filedOn(job.CaseID.Number)
	default:
		entry.Verdict, entry.Outcome = contract.VerdictNoRecord, contract.NoRecord
	}
	if ordinal > transients && job.LikelyAbsent != exists {
		requests--
	}
	if f.parties && (exists || ordinal <= transients) {
		requests++
	}
	entry.Requests = make([]contract.Exchange, requests)
	return entry
}

// filedOn returns the filing date of a number in a year with thirty numbers a day.
func filedOn(number int) string {
	return time.Date(2025, 1, 1+number/30, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}

func (f *fixture) appendEntry(ctx context.Context, entry contract.Entry) error {
	msg, err := new(ledger.Encoder).EntryMessage(f.manifest.RunID, []contract.Entry{entry})
	if err == nil {
		_, err = f.b.Publish(ctx, msg)
	}
	return err
}

func (f *fixture) storeOutcome(ctx context.Context, entry contract.Entry) error {
	if entry.Outcome == contract.Failed {
		return nil
	}
	value, err := json.Marshal(contract.Collected{Outcome: entry.Outcome, RunID: f.manifest.RunID,
		FiledOn: entry.FiledOn})
	if err != nil {
		return err
	}
	kv, err := f.b.KV(ctx, contract.BucketCollected)
	if err == nil {
		_, err = kv.Put(ctx, entry.CaseID.Key(), value)
	}
	return err
}

// search runs a prober and answers its jobs until it has found the bound.
func (f *fixture) search() contract.Manifest {
	f.t.Helper()
	defer f.runService()()
	defer f.answerJobs(f.manifest.RunID)()
	return f.awaitBound(f.manifest.RunID)
}

// requestedNumbers returns the numbers that were requested, in order.
func (f *fixture) requestedNumbers() []int {
	var numbers []int
	for _, job := range f.jobs {
		numbers = append(numbers, job.CaseID.Number)
	}
	return numbers
}
