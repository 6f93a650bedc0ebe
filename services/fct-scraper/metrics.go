package main

import (
	"net/http"
	"sync/atomic"

	"fct-scraper/services/fetcher"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// figures are what scrapers read. Names have dots: a scraper that does not ask for UTF-8 names gets underscores instead.
type figures struct {
	registry *prometheus.Registry
	runs     *runFigures
	fetcher  *fetcherFigures
}

func newFigures() *figures {
	f := &figures{registry: prometheus.NewRegistry(), runs: newRunFigures(), fetcher: newFetcherFigures()}
	f.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), f.runs, f.fetcher)
	return f
}

func (f *figures) handler() http.Handler {
	return promhttp.HandlerFor(f.registry, promhttp.HandlerOpts{})
}

// stated says how it stands with a fetcher.
type stated interface{ State() fetcher.State }

// fetcherFigures are those of the fetcher, if this process has one.
type fetcherFigures struct {
	now                                    atomic.Pointer[stated]
	inFlight, pause, hold, level, blocking *prometheus.Desc
}

func newFetcherFigures() *fetcherFigures {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"site"}, labels...), nil)
	}
	return &fetcherFigures{
		inFlight: desc("site.requests_in_flight", "cases that this process asks the site for"),
		pause:    desc("site.pause_seconds", "bounds of the pause between the starts of two requests", "bound"),
		hold:     desc("site.hold_seconds", "for how much longer nobody asks because the site is in trouble"),
		level:    desc("site.slowdown_level", "how often the pause was made longer because of trouble"),
		blocking: desc("site.blocked", "1 while the site tells us to go away"),
	}
}

func (f *fetcherFigures) watch(s stated) { f.now.Store(&s) }

// Describe names the figures.
func (f *fetcherFigures) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{f.inFlight, f.pause, f.hold, f.level, f.blocking} {
		out <- desc
	}
}

// Collect reads them; without a fetcher there are none.
func (f *fetcherFigures) Collect(out chan<- prometheus.Metric) {
	from := f.now.Load()
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
