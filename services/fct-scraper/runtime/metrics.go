package runtime

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

// metrics are the Prometheus metrics of this process. Their names contain dots. A scraper that does
// not accept UTF-8 names gets underscores instead.
type metrics struct {
	registry *prometheus.Registry
	runs     *runMetrics
	fetcher  *fetcherMetrics
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), runs: &runMetrics{}, fetcher: &fetcherMetrics{}}
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.runs, m.fetcher)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// fetcherStateSource returns the state of a fetcher.
type fetcherStateSource interface{ State() fetcher.State }

// fetcherMetrics collects the metrics of the fetcher, if this process has one.
type fetcherMetrics struct {
	source atomic.Pointer[fetcherStateSource]
}

// Describe sends nothing: what Collect sends depends on the process.
func (m *fetcherMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. Without a fetcher it sends nothing.
func (m *fetcherMetrics) Collect(out chan<- prometheus.Metric) {
	from := m.source.Load()
	if from == nil {
		return
	}
	s := (*from).State()
	gauge := func(name, help string, value float64, bound ...string) {
		desc := prometheus.NewDesc(name, help, []string{"site", "bound"}[:1+len(bound)], nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{s.Site}, bound...)...)
	}
	blocked := 0.0
	if s.Block != nil {
		blocked = 1
	}
	const pause = "bounds of the pause between the starts of two requests"
	gauge("site.requests_in_flight", "cases in flight in this process", float64(s.InFlight))
	gauge("site.pause_seconds", pause, s.PauseMinSeconds, "min")
	gauge("site.pause_seconds", pause, s.PauseMaxSeconds, "max")
	gauge("site.hold_seconds", "remaining time without requests because the site is in trouble", s.HoldSeconds)
	gauge("site.slowdown_level", "level of the slowdown: how often the pause was lengthened", float64(s.Slowdown.Level))
	gauge("site.blocked", "1 while the site blocks this client", blocked)
}

// maxMetricRuns is how many runs have metrics, the latest ones. Each run is a time series that the
// scraper stores.
const maxMetricRuns = 16

// runMetrics collects the metrics of the latest runs from the events of the reporter, which may be
// in another process.
type runMetrics struct {
	mu   sync.Mutex
	runs []contract.Event // the latest event of each run, the oldest first
}

// recentProgress is how many of the latest progress events are read. A running run sends one each
// second.
const recentProgress = 256

// follow stores the events of finished runs, recent progress and all later events until ctx ends.
func (r *runMetrics) follow(ctx context.Context, b *broker) error {
	take := func(msg bus.Message) error { //nolint:unparam // Tail needs this signature
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) == nil { // anything else is ignored
			r.store(event)
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

// store stores an event unless a later one of its run is known.
func (r *runMetrics) store(event contract.Event) {
	if event.Report != nil {
		event.Metrics, event.Report = &event.Report.Metrics, nil // the report itself is not needed
	}
	if event.Metrics == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.runs, func(e contract.Event) bool { return e.RunID == event.RunID }); i >= 0 {
		if r.runs[i].At.After(event.At) {
			return
		}
		r.runs = slices.Delete(r.runs, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(r.runs, event, func(a, b contract.Event) int { return a.At.Compare(b.At) })
	r.runs = slices.Insert(r.runs, i, event)
	r.runs = slices.Delete(r.runs, 0, max(0, len(r.runs)-maxMetricRuns))
}

// Describe sends nothing: what Collect sends depends on the runs.
func (r *runMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *runMetrics) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	events := slices.Clone(r.runs)
	r.mu.Unlock()
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"run_id"}, nil)
	}
	for _, event := range events {
		m, run := event.Metrics, string(event.RunID)
		gauge := func(name, help string, value float64) {
			out <- prometheus.MustNewConstMetric(desc(name, help), prometheus.GaugeValue, value, run)
		}
		gauge("batch.run.duration_seconds", "time since the run was started, pauses included; its total time once it has ended",
			m.RunDurationSeconds)
		gauge("batch.job.retry_count", "attempts after the first of their job", float64(m.JobRetryCount))
		gauge("batch.run.failure_rate", "share of the numbers with an outcome that failed", m.RunFailureRate)
		jobs := m.JobDurationSeconds
		out <- prometheus.MustNewConstSummary(
			desc("batch.job.duration_seconds", "time of the attempts, from the first request to the classification"),
			uint64(max(0, jobs.Count)), jobs.Sum, nil, run)
	}
}
