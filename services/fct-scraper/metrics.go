package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/services/fetcher"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// metrics are what scrapers read. Names have dots: a scraper that does not ask for UTF-8 names gets underscores instead.
type metrics struct {
	registry *prometheus.Registry
	runs     *runMetrics
	fetcher  *fetcherMetrics
}

func newMetrics() *metrics {
	f := &metrics{registry: prometheus.NewRegistry(), runs: newRunMetrics(), fetcher: newFetcherMetrics()}
	f.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), f.runs, f.fetcher)
	return f
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// fetcherStateSource says how it stands with a fetcher.
type fetcherStateSource interface{ State() fetcher.State }

// fetcherMetrics are those of the fetcher, if this process has one.
type fetcherMetrics struct {
	source                                 atomic.Pointer[fetcherStateSource]
	inFlight, pause, hold, level, blocking *prometheus.Desc
}

func newFetcherMetrics() *fetcherMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"site"}, labels...), nil)
	}
	return &fetcherMetrics{
		inFlight: desc("site.requests_in_flight", "cases that this process asks the site for"),
		pause:    desc("site.pause_seconds", "bounds of the pause between the starts of two requests", "bound"),
		hold:     desc("site.hold_seconds", "for how much longer nobody asks because the site is in trouble"),
		level:    desc("site.slowdown_level", "how often the pause was made longer because of trouble"),
		blocking: desc("site.blocked", "1 while the site tells us to go away"),
	}
}

func (f *fetcherMetrics) setSource(s fetcherStateSource) { f.source.Store(&s) }

// Describe names the figures.
func (f *fetcherMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{f.inFlight, f.pause, f.hold, f.level, f.blocking} {
		out <- desc
	}
}

// Collect reads them; without a fetcher there are none.
func (f *fetcherMetrics) Collect(out chan<- prometheus.Metric) {
	from := f.source.Load()
	if from == nil {
		return
	}
	s := (*from).State()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{s.Site}, labels...)...)
	}
	blocked := 0.0
	if s.Block != nil {
		blocked = 1
	}
	gauge(f.inFlight, float64(s.InFlight))
	gauge(f.pause, s.PauseMinSeconds, "min")
	gauge(f.pause, s.PauseMaxSeconds, "max")
	gauge(f.hold, s.HoldSeconds)
	gauge(f.level, float64(s.Slowdown.Level))
	gauge(f.blocking, blocked)
}

// maxMetricRuns bounds how many runs have figures, the latest first: each is a series for the scraper to keep.
const maxMetricRuns = 16

// runMetrics are the figures of the latest runs, as the reporter, which may be elsewhere, tells them in its events.
type runMetrics struct {
	duration, jobs, retries, failures *prometheus.Desc

	mu   sync.Mutex
	runs []contract.Event // the latest of each run, the oldest first
}

func newRunMetrics() *runMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"run_id"}, nil)
	}
	return &runMetrics{
		duration: desc("batch.run.duration_seconds", "time since the run was started, pauses included; its whole time once it is over"),
		jobs:     desc("batch.job.duration_seconds", "time of the attempts, from the first request to the classification"),
		retries:  desc("batch.job.retry_count", "attempts after the first of their job"),
		failures: desc("batch.run.failure_rate", "share of the numbers with an outcome that failed"),
	}
}

// recentProgress is how far back among the events progress is read: a run that goes on tells it each second.
const recentProgress = 256

// follow reads how the runs ended, and how those that go on stand, and then what comes, until ctx ends.
func (f *runMetrics) follow(ctx context.Context, b *broker) error {
	take := func(msg bus.Message) error { //nolint:unparam // the form that Tail takes
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) == nil { // what is not an event tells nothing
			f.store(event)
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

// store keeps an event unless a later one of its run is known.
func (f *runMetrics) store(event contract.Event) {
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
	f.runs = slices.Delete(f.runs, 0, max(0, len(f.runs)-maxMetricRuns))
}

// Describe names the figures.
func (f *runMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{f.duration, f.jobs, f.retries, f.failures} {
		out <- desc
	}
}

// Collect reads them.
func (f *runMetrics) Collect(out chan<- prometheus.Metric) {
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
