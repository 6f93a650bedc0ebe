package main

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// shownRuns bounds how many runs have figures, the latest first: each is a series for the scraper to keep.
const shownRuns = 16

// runFigures are the figures of the latest runs, as the reporter, which may be elsewhere, tells them in its events.
type runFigures struct {
	duration, jobs, retries, failures *prometheus.Desc

	mu   sync.Mutex
	runs []contract.Event // the latest of each run, the oldest first
}

func newRunFigures() *runFigures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"run_id"}, nil)
	}
	return &runFigures{
		duration: desc("batch.run.duration_seconds", "time since the run was started, pauses included; its whole time once it is over"),
		jobs:     desc("batch.job.duration_seconds", "time of the attempts, from the first request to the classification"),
		retries:  desc("batch.job.retry_count", "attempts after the first of their job"),
		failures: desc("batch.run.failure_rate", "share of the numbers with an outcome that failed"),
	}
}

// recentProgress is how far back among the events progress is read: a run that goes on tells it each second.
const recentProgress = 256

// follow reads how the runs ended, and how those that go on stand, and then what comes, until ctx ends.
func (f *runFigures) follow(ctx context.Context, b *broker) error {
	take := func(msg bus.Message) error { //nolint:unparam // the form that Tail takes
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) == nil { // what is not an event tells nothing
			f.take(event)
		}
		return nil
	}
	last, err := b.LastSequence(ctx, contract.StreamEvents, "batch.event.*.progress")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Tail(ctx, contract.StreamEvents, "batch.event.*.finished", 0, take) })
	group.Go(func() error {
		return b.Tail(ctx, contract.StreamEvents, "batch.event.*.progress", last-min(last, recentProgress), take)
	})
	return group.Wait()
}

// take keeps an event unless a later one of its run is known.
func (f *runFigures) take(event contract.Event) {
	if event.Report != nil {
		event.Metrics, event.Report = &event.Report.Metrics, nil // the report's configuration need not be kept
	}
	if event.Metrics == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.runs, func(e contract.Event) bool { return e.RunID == event.RunID }); i >= 0 {
		if f.runs[i].At.After(event.At) {
			return
		}
		f.runs = slices.Delete(f.runs, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(f.runs, event, func(a, b contract.Event) int { return a.At.Compare(b.At) })
	f.runs = slices.Insert(f.runs, i, event)
	f.runs = slices.Delete(f.runs, 0, max(0, len(f.runs)-shownRuns))
}

// Describe names the figures.
func (f *runFigures) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{f.duration, f.jobs, f.retries, f.failures} {
		out <- desc
	}
}

// Collect reads them.
func (f *runFigures) Collect(out chan<- prometheus.Metric) {
	f.mu.Lock()
	events := slices.Clone(f.runs)
	f.mu.Unlock()
	for _, event := range events {
		m, run := event.Metrics, string(event.RunID)
		gauge := func(desc *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, run)
		}
		gauge(f.duration, m.RunDurationSeconds)
		gauge(f.retries, float64(m.JobRetryCount))
		gauge(f.failures, m.RunFailureRate)
		out <- prometheus.MustNewConstSummary(f.jobs, uint64(max(0, m.JobDurationSeconds.Count)), m.JobDurationSeconds.Sum, nil, run)
	}
}
