package runtime

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/site"
	"fct-scraper/pkg/store"

	"github.com/nats-io/nats.go"
)

// memory is the simulator without a network, so that it can be asked in virtual time. It notes when it was asked.
type memory struct {
	court http.Handler
	mu    sync.Mutex
	times []time.Time
	// reached is called by the request of that number.
	number  int
	reached func()
}

// atRequest has a function called by the request of that number.
func (m *memory) atRequest(number int, call func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number, m.reached = number, call
}

func (m *memory) RoundTrip(request *http.Request) (*http.Response, error) {
	m.mu.Lock()
	m.times = append(m.times, time.Now())
	if m.reached != nil && len(m.times) >= m.number {
		m.reached()
	}
	m.mu.Unlock()
	if trace := httptrace.ContextClientTrace(request.Context()); trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	answer := httptest.NewRecorder()
	if aborted := m.serve(answer, request); aborted {
		return nil, errors.Join(request.Context().Err(), io.ErrUnexpectedEOF)
	}
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	return answer.Result(), nil
}

// serve says whether the court ended the connection without an answer.
func (m *memory) serve(answer http.ResponseWriter, request *http.Request) (aborted bool) {
	defer func() {
		if cause := recover(); cause != nil {
			if err, isError := cause.(error); !isError || !errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			aborted = true
		}
	}()
	m.court.ServeHTTP(answer, request)
	return false
}

func (m *memory) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.times)
}

// never is a request to stop that never arrives.
type never struct{}

func (never) Requested() <-chan struct{} { return nil }
func (never) Name() string               { return "" }

// unseen shows no progress.
func unseen(*nats.Conn, contract.RunID) (stop func(), err error) { return func() {}, nil }

// fixture is a place to run batches in: folders that stay, and a court.
type fixture struct {
	t        testing.TB
	settings map[string]string
	memory   *memory
	// transport is used instead of memory when it is set.
	transport http.RoundTripper
	sim       *courtsim.Simulator
	wanted    BatchOptions
	// follow gets the events of the runs when it is set.
	follow func(nc *nats.Conn, run contract.RunID) (stop func(), err error)
	// ids are the list of the batch, if it has one.
	ids contract.CaseList
}

// newFixture returns a fixture with these settings, without pauses unless they set them.
func newFixture(t testing.TB, options courtsim.Options, settings map[string]string) *fixture {
	t.Helper()
	sim, err := courtsim.New(options)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	all := map[string]string{
		"site": "sim", "base_url": "http://127.0.0.1:1", "year": "25", "probe": "false", "robots": "false", "delay_min": "0", "delay_max": "0",
		"output": filepath.Join(dir, "output"), "data_dir": filepath.Join(dir, "data"), "progress": "none",
	}
	maps.Copy(all, settings)
	return &fixture{t: t, settings: all, memory: &memory{court: sim}, sim: sim}
}

// with is the settings with some changed.
func (p *fixture) with(changes map[string]string) *config.Settings {
	p.t.Helper()
	all := maps.Clone(p.settings)
	maps.Copy(all, changes)
	settings, err := config.Load(config.Sources{Flags: all, Now: time.Now(), Version: "test"})
	if err != nil {
		p.t.Fatal(err)
	}
	if !p.ids.IsZero() {
		settings.Batch = settings.WithIDs(p.ids)
	}
	return settings
}

// run runs a batch to its end, or until ctx ends.
func (p *fixture) run(ctx context.Context, changes map[string]string) (RunResult, error) {
	p.t.Helper()
	a, closeApp := p.open(ctx, changes)
	state, err := a.runToEnd(ctx)
	closeApp()
	return state, err
}

// open opens what a batch needs.
func (p *fixture) open(ctx context.Context, changes map[string]string) (a *app, closeApp func()) {
	p.t.Helper()
	settings := p.with(changes)
	log := slog.New(slog.DiscardHandler)
	broker, err := openBroker(ctx, settings.Config, connectOptions{exclusive: true}, log)
	if err != nil {
		p.t.Fatal(err)
	}
	output, err := store.Open(settings.Output)
	if err != nil {
		p.t.Fatal(err)
	}
	profile, err := loadProfile(settings.Site)
	if err != nil {
		p.t.Fatal(err)
	}
	client, err := site.NewClient(site.Options{
		Profile: profile, Origin: settings.BaseURL, UserAgent: "test", Parties: settings.Parties, MaxBody: int64(settings.MaxBody),
		RequestTimeout: settings.RequestTimeout, JobTimeout: settings.JobTimeout, Transport: cmp.Or[http.RoundTripper](p.transport, p.memory),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	options := p.wanted
	options.Stop, options.Follow = never{}, p.follow
	if p.follow == nil {
		options.Follow = unseen
	}
	return &app{
			settings: settings, broker: broker, site: &siteClient{Client: client}, output: output, log: log,
			version: "test", status: newStatusServer(), fetcherID: "test", options: options,
		}, func() {
			if err := output.Close(); err != nil {
				p.t.Error(err)
			}
			if err := broker.close(); err != nil {
				p.t.Error(err)
			}
		}
}

// process is a process that works on the store of the fixture.
func (p *fixture) process(changes map[string]string) Process {
	p.t.Helper()
	getenv := func(string) string { return "" }
	return Process{Settings: p.with(changes), Log: slog.New(slog.DiscardHandler), Version: "test", Getenv: getenv}
}

// report is the report of a batch that runs to its end.
func (p *fixture) report(changes map[string]string) contract.Report {
	p.t.Helper()
	state, err := p.run(p.t.Context(), changes)
	if err != nil {
		p.t.Fatal(err)
	}
	if state.Report == nil {
		p.t.Fatalf("%s without a report: %s", state.Status, state.Reason)
	}
	return *state.Report
}
