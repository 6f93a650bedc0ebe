package runtime

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
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
	recent := last - min(last, recentProgress)
	group, ctx := errgroup.WithContext(ctx)
	for event, after := range map[string]uint64{"finished": 0, "progress": recent, "waiting": recent} {
		group.Go(func() error { return b.Tail(ctx, contract.StreamEvents, "batch.event.*."+event, after, take) })
	}
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
	for _, event := range events {
		collectRun(out, event)
	}
}

// collectRun sends the metrics of one run. Those that are not known are left out.
func collectRun(out chan<- prometheus.Metric, event contract.Event) {
	m, run := event.Metrics, string(event.RunID)
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"run_id"}, labels...), nil)
	}
	gauge := func(name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(desc(name, help), prometheus.GaugeValue, value, run)
	}
	labelled := func(name, help, label, labelValue string, value float64) {
		out <- prometheus.MustNewConstMetric(desc(name, help, label), prometheus.GaugeValue, value, run, labelValue)
	}
	gauge("batch.run.duration_seconds", "time since the run was started, pauses included; its total time once it has ended",
		m.RunDurationSeconds)
	gauge("batch.job.retry_count", "attempts after the first of their job", float64(m.JobRetryCount))
	gauge("batch.run.failure_rate", "share of the numbers with an outcome that failed", m.RunFailureRate)
	if m.Planned > 0 {
		gauge("batch.run.planned", "numbers of the range to fetch", float64(m.Planned))
		gauge("batch.run.left", "planned numbers without an outcome", float64(m.Left))
	}
	for _, outcome := range []contract.Outcome{contract.Success, contract.NoRecord, contract.Failed} {
		labelled("batch.run.done", "numbers of the range with an outcome", "outcome", string(outcome),
			float64(m.Done[outcome]))
	}
	gauge("batch.run.in_flight", "cases in flight, over all processes", float64(m.InFlight))
	if m.PauseSeconds != nil {
		const pause = "bounds of the pause between the starts of two requests of the run, slowdown included"
		labelled("batch.run.pause_seconds", pause, "bound", "min", m.PauseSeconds.Min)
		labelled("batch.run.pause_seconds", pause, "bound", "max", m.PauseSeconds.Max)
	}
	waiting := 0.0
	if m.Waiting != "" {
		waiting = 1
	}
	// What follows a colon is an error's text, which may differ each time: a label must have few values.
	reason, _, _ := strings.Cut(m.Waiting, ":")
	labelled("batch.run.waiting", "1 while the run sends no request, with the reason", "reason", sanitize.Line(reason),
		waiting)
	if event.Wait != nil && !event.Wait.Until.IsZero() {
		gauge("batch.run.waiting_until_seconds", "when the wait ends, in seconds since 1970",
			float64(event.Wait.Until.Unix()))
	}
	if left := event.LeftSeconds; left != nil {
		gauge("batch.run.left_seconds", "forecast of the time until the run ends, when its last event was sent", *left)
	}
	gauge("batch.run.rate_per_minute", "outcomes a minute over about the last minute", event.RatePerMinute)
	jobs := m.JobDurationSeconds
	buckets := map[float64]uint64{}
	for i, bound := range contract.DurationBounds() {
		buckets[bound] = uint64(max(0, jobs.Buckets[i]))
	}
	out <- prometheus.MustNewConstHistogram(
		desc("batch.job.duration_seconds", "time of the attempts, from the first request to the classification"),
		uint64(max(0, jobs.Count)), jobs.Sum, buckets, run)
}
