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
	"fct-scraper/pkg/runs"
	"fct-scraper/services/prober"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a search may take; it bounds failures only.
const patience = time.Minute

// plant is a broker with one run whose bound is to be found, and who answers its jobs.
type plant struct {
	t          *testing.T
	b          *bus.Bus
	kv         jetstream.KeyValue
	manifest   contract.Manifest
	exists     func(number int) bool
	transients int                  // attempts of each job that bring nothing, at most
	failing    func(asked int) bool // whether a question has no answer, by its place among them
	twice      bool
	parties    bool
	requests   int // that were made
	jobs       []contract.Job
}

// newPlant is a run over the whole year of a court that has the numbers from 1 to highest.
func newPlant(t *testing.T, highest int, change ...func(*plant)) *plant {
	t.Helper()
	p := &plant{t: t, b: fcttest.Broker(t), exists: func(n int) bool { return n <= highest }, manifest: contract.Manifest{
		Version: contract.MessageVersion, RunID: "run", Prefix: "IMM", Year: "25", Range: contract.Range{Start: 1, End: contract.MaxNumber},
		MaxRetries: 3, Probe: true, ProbeBudget: budget,
	}}
	for _, c := range change {
		c(p)
	}
	p.kv = p.bucket(contract.BucketRuns)
	p.begin(p.manifest)
	return p
}

// begin makes a run running.
func (p *plant) begin(m contract.Manifest) {
	p.t.Helper()
	p.put(p.kv, m.RunID.ManifestKey(), m)
	p.put(p.kv, m.RunID.StateKey(), contract.State{Status: contract.Running, Round: 1})
}

func (p *plant) bucket(name string) jetstream.KeyValue {
	p.t.Helper()
	kv, err := p.b.KV(p.t.Context(), name)
	p.must(err)
	return kv
}

func (p *plant) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) put(kv jetstream.KeyValue, key string, value any) {
	p.t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		_, err = kv.Put(p.t.Context(), key, data)
	}
	p.must(err)
}

// collected notes what an earlier run has brought.
func (p *plant) collected(year string, outcome contract.Outcome, numbers ...int) {
	p.t.Helper()
	kv := p.bucket(contract.BucketCollected)
	for _, n := range numbers {
		id := contract.CaseID{Series: "IMM", Year: year, Number: n}
		p.put(kv, id.Key(), contract.Collected{Outcome: outcome, RunID: "before"})
	}
}

// work runs a prober until stop is called.
func (p *plant) work() (stop func()) {
	p.t.Helper()
	service, err := prober.NewService(p.t.Context(), prober.Options{
		Bus: p.b, Log: fcttest.Logger(p.t), Parties: p.parties, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	})
	p.must(err)
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	return func() {
		p.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	}
}

// found waits for the bound.
func (p *plant) found(run contract.RunID) contract.Manifest {
	p.t.Helper()
	return await(p, run.ManifestKey(), func(m contract.Manifest) bool { return m.Bound != nil })
}

// await waits for a value of a run that is good.
func await[T any](p *plant, key string, good func(T) bool) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	value, err := runs.Await(ctx, p.b, key, good)
	p.must(err)
	return value
}

// quiet is the error unless ctx has ended.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve answers the jobs of a run, each when it comes, until enough says so of the next one or ctx ends.
func (p *plant) serve(ctx context.Context, run contract.RunID, enough func(job contract.Job) bool) error {
	jobs, err := p.b.JetStream().OrderedConsumer(ctx, contract.StreamJobs, jetstream.OrderedConsumerConfig{FilterSubjects: []string{run.JobFilter()}})
	if err != nil {
		return quiet(ctx, err)
	}
	messages, err := jobs.Messages()
	if err != nil {
		return quiet(ctx, err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return quiet(ctx, err)
		}
		var job contract.Job
		if err := json.Unmarshal(msg.Data(), &job); err != nil {
			return err
		}
		if slices.Contains(p.jobs, job) {
			continue
		}
		if enough(job) {
			return nil
		}
		if err := p.answer(ctx, job); err != nil {
			return quiet(ctx, err)
		}
	}
}

// serving answers the jobs of a run until stop is called.
func (p *plant) serving(run contract.RunID) (stop func()) {
	ctx, cancel := context.WithCancel(p.t.Context())
	served := make(chan error, 1)
	go func() { served <- p.serve(ctx, run, func(contract.Job) bool { return false }) }()
	return func() {
		p.t.Helper()
		cancel()
		p.must(<-served)
	}
}

// answer is what a fetcher, a classifier and a reporter make of a job.
func (p *plant) answer(ctx context.Context, job contract.Job) error {
	transients := p.transients
	if p.failing != nil && p.failing(len(p.jobs)) {
		transients = job.MaxAttempts
	}
	p.jobs = append(p.jobs, job)
	for ordinal := 1; ; ordinal++ {
		entry := p.attempt(job, ordinal, transients)
		p.requests += len(entry.Requests)
		times := 1
		if p.twice {
			times = 2
		}
		for range times {
			if err := p.ledger(ctx, entry); err != nil {
				return err
			}
		}
		if entry.Outcome != "" {
			return p.keep(ctx, entry)
		}
	}
}

// attempt is what an attempt brings: two requests when it is not what was expected or brings nothing, and one more for
// the parties.
func (p *plant) attempt(job contract.Job, ordinal, transients int) contract.Entry {
	exists := p.exists(job.CaseID.Number)
	entry := contract.Entry{CaseID: job.CaseID, Attempt: ordinal, Verdict: contract.VerdictTransient, StartedAt: time.Now().UTC()}
	requests := 2
	switch {
	case ordinal <= transients && ordinal >= job.MaxAttempts:
		entry.Outcome = contract.Failed
	case ordinal <= transients:
	case exists:
		entry.Verdict, entry.Outcome, entry.FiledOn = contract.VerdictSuccess, contract.Success, filedOn(job.CaseID.Number)
	default:
		entry.Verdict, entry.Outcome = contract.VerdictNoRecord, contract.NoRecord
	}
	if ordinal > transients && job.LikelyAbsent != exists {
		requests--
	}
	if p.parties && (exists || ordinal <= transients) {
		requests++
	}
	entry.Requests = make([]contract.Exchange, requests)
	return entry
}

// filedOn is the day of a number in a year that hands out thirty a day.
func filedOn(number int) string {
	return time.Date(2025, 1, 1+number/30, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}

func (p *plant) ledger(ctx context.Context, entry contract.Entry) error {
	run := p.manifest.RunID
	body, err := contract.EntryPack{Version: contract.MessageVersion, RunID: run, Entries: []contract.Entry{entry}}.Encode()
	if err == nil {
		_, err = p.b.Publish(ctx, &nats.Msg{Subject: run.OutcomeSubject(contract.Chunk(entry.CaseID.Number)), Data: bus.Compress(body)})
	}
	return err
}

func (p *plant) keep(ctx context.Context, entry contract.Entry) error {
	if entry.Outcome == contract.Failed {
		return nil
	}
	value, err := json.Marshal(contract.Collected{Outcome: entry.Outcome, RunID: p.manifest.RunID, FiledOn: entry.FiledOn})
	if err != nil {
		return err
	}
	kv, err := p.b.KV(ctx, contract.BucketCollected)
	if err == nil {
		_, err = kv.Put(ctx, entry.CaseID.Key(), value)
	}
	return err
}

// search runs a prober and answers it until it has found the bound.
func (p *plant) search() contract.Manifest {
	p.t.Helper()
	defer p.work()()
	defer p.serving(p.manifest.RunID)()
	return p.found(p.manifest.RunID)
}

// numbers are those that were asked for, in their order.
func (p *plant) numbers() []int {
	var numbers []int
	for _, job := range p.jobs {
		numbers = append(numbers, job.CaseID.Number)
	}
	return numbers
}
