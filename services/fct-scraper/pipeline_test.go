// Package fctscraper_test drives the whole pipeline: every service on one embedded broker, and a court in memory.
package fctscraper_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/store"
	"fct-scraper/services/classifier"
	"fct-scraper/services/fetcher"
	"fct-scraper/services/generator"
	"fct-scraper/services/reporter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// court knows every number but each tenth; each seventh fails at first, and number 13 always.
type court struct {
	mu    sync.Mutex
	asked map[int]int
}

func (c *court) truth(number int) contract.Outcome {
	switch {
	case number == 13:
		return contract.Failed
	case number%10 == 0:
		return contract.NoRecord
	default:
		return contract.Success
	}
}

func (c *court) Ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	gap, err := before(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[id.Number]++
	word := string(c.truth(id.Number))
	if id.Number == 13 || id.Number%7 == 0 && c.asked[id.Number] == 1 {
		word = "transient"
	}
	return []contract.Exchange{{Call: "docket", Status: 200, StartedAt: time.Now().UTC(), GapSeconds: gap.Seconds(), Body: []byte(word)}}, nil
}

func (c *court) Blocked([]contract.Exchange, time.Time) (string, time.Duration, bool) {
	return "", 0, false
}

func read(id contract.CaseID, exchanges []contract.Exchange) contract.Reading {
	reading := contract.Reading{Verdict: contract.Verdict(exchanges[0].Body), Rule: "word", RawType: "html"}
	if reading.Verdict == contract.VerdictSuccess {
		reading.Record = &contract.Record{Version: contract.RecordVersion, CaseID: id, Docket: []contract.DocketEntry{}, FetchedAt: exchanges[0].StartedAt}
	}
	return reading
}

// house is all services at work.
type house struct {
	t      *testing.T
	b      *bus.Bus
	output string
	court  *court
}

func (h house) open() (stop func()) {
	h.t.Helper()
	t, log := h.t, fcttest.Logger(h.t)
	generating, err := generator.New(t.Context(), generator.Options{
		Bus: h.b, Log: log, Site: "memory", Program: "test",
		Defaults: generator.Batch{Prefix: "IMM", Year: "25", Start: 1, MaxRetries: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	fetching, err := fetcher.New(t.Context(), fetcher.Options{
		Bus: h.b, Log: log, ID: "one", Site: h.court, SiteName: "memory",
		Pacer: fetcher.NewPacer(fetcher.Pace{}), Concurrency: 16, Cooldown: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := store.Open(h.output)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var services sync.WaitGroup
	for _, run := range []func(context.Context) error{
		generating.Run, fetching.Run,
		classifier.New(classifier.Options{Bus: h.b, Log: log, Read: read, Backoff: classifier.Backoff{Base: 20 * time.Millisecond, Factor: 2, Max: time.Second}}).Run,
		reporter.New(reporter.Options{Bus: h.b, Store: folder, Logger: log, Version: "test"}).Run,
	} {
		services.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		cancel()
		services.Wait()
		if err := folder.Close(); err != nil {
			t.Error(err)
		}
	}
}

// batch starts a batch and waits for the report of its run.
func (h house) batch(body string) contract.Report {
	h.t.Helper()
	kv, err := h.b.KV(h.t.Context(), contract.BucketRuns)
	if err != nil {
		h.t.Fatal(err)
	}
	watcher, err := kv.Watch(h.t.Context(), "*.state", jetstream.IgnoreDeletes(), jetstream.UpdatesOnly())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = watcher.Stop() }()
	if _, err := h.b.Publish(h.t.Context(), &nats.Msg{Subject: contract.SubjectStart, Data: []byte(body)}); err != nil {
		h.t.Fatal(err)
	}
	for entry := range watcher.Updates() {
		var state contract.State
		if err := json.Unmarshal(entry.Value(), &state); err != nil {
			h.t.Fatal(err)
		}
		if state.Status != contract.Running {
			if state.Report == nil {
				h.t.Fatalf("%s without a report: %s", state.Status, state.Reason)
			}
			return *state.Report
		}
	}
	h.t.Fatal("the test ended first")
	return contract.Report{}
}

func TestOneBatchFromStartToReport(t *testing.T) {
	t.Parallel()
	const numbers = 1000
	h := house{t, fcttest.Broker(t), t.TempDir(), &court{asked: make(map[int]int)}}
	defer h.open()()
	report := h.batch(`{"end":1000}`)
	if report.Status != contract.Completed || report.Total != numbers || report.Succeeded != 899 || report.NoRecord != 100 || report.Failed != 1 {
		t.Errorf("%s: %d = %d + %d + %d; want completed: 1000 = 899 + 100 + 1", report.Status, report.Total, report.Succeeded, report.NoRecord, report.Failed)
	}
	requests := 0
	for number := 1; number <= numbers; number++ {
		want := 1
		if number%7 == 0 {
			want = 2
		}
		if number == 13 {
			want = 3
		}
		if got := h.court.asked[number]; got != want {
			t.Errorf("number %d asked %d times, want %d", number, got, want)
		}
		requests += h.court.asked[number]
		_, err := os.Stat(filepath.Join(h.output, "cases", "IMM", "25", contract.CaseID{Series: "IMM", Year: "25", Number: number}.String()+".json"))
		if stored := err == nil; stored != (h.court.truth(number) == contract.Success) {
			t.Errorf("number %d: record stored: %t", number, stored)
		}
	}
	if report.Requests != requests || report.Retries != requests-numbers {
		t.Errorf("%d requests and %d retries reported, want %d and %d", report.Requests, report.Retries, requests, requests-numbers)
	}
	if len(report.Errors) != 1 || report.Errors[0].CaseID.Number != 13 || report.Errors[0].Attempts != 3 {
		t.Errorf("errors %+v, want number 13 after three attempts", report.Errors)
	}
	again := h.batch(`{"end":1000}`)
	if again.RunID == report.RunID || again.Skipped != numbers-1 || again.Total != 1 || again.Failed != 1 || again.Requests != 3 {
		t.Errorf("second run %s: %d skipped, %d attempted, %d requests; want the one that failed", again.RunID, again.Skipped, again.Total, again.Requests)
	}
}

func TestServicesGoOnWhereTheyWereStopped(t *testing.T) {
	t.Parallel()
	h := house{t, fcttest.Broker(t), t.TempDir(), &court{asked: make(map[int]int)}}
	asked := func() int {
		h.court.mu.Lock()
		defer h.court.mu.Unlock()
		return len(h.court.asked)
	}
	stop := h.open()
	if _, err := h.b.Publish(t.Context(), &nats.Msg{Subject: contract.SubjectStart, Data: []byte(`{"end":800}`)}); err != nil {
		t.Fatal(err)
	}
	for part := 100; part <= 400; part += 100 {
		for asked() < part {
			if t.Context().Err() != nil {
				t.Fatal("the test ended first")
			}
		}
		stop() // all services at once, whatever they were doing
		stop = h.open()
	}
	defer func() { stop() }()
	report := h.batch(`{"end":800}`)
	if report.Total != 800 || report.Succeeded != 719 || report.NoRecord != 80 || report.Failed != 1 {
		t.Errorf("%d = %d + %d + %d; want 800 = 719 + 80 + 1", report.Total, report.Succeeded, report.NoRecord, report.Failed)
	}
}
