package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/runs"

	"golang.org/x/sync/errgroup"
)

// scrape returns what /metrics answers a scraper that does not accept dots in names.
func scrape(t *testing.T, m *metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// dashboard is what the test needs of a Grafana dashboard.
type dashboard struct {
	Title         string `json:"title"`
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Panels        []struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		Type    string `json:"type"`
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, RefID string } `json:"targets"`
	} `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

// metricNames returns the metrics that an expression of the dashboard names.
func metricNames(expression string) []string {
	return regexp.MustCompile(`\b(?:batch|site)_[a-z_]+\b`).FindAllString(expression, -1)
}

// The dashboard is a valid one, and every metric that it names is in /metrics of a real run.
func TestMetrics_Dashboard(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "grafana", "fct-scraper.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Panels) == 0 {
		t.Fatalf("not a dashboard: %.200s", data)
	}
	named := map[string]bool{}
	ids := map[int]bool{}
	covered := map[string]string{}
	for _, panel := range d.Panels {
		if panel.ID == 0 || ids[panel.ID] || panel.Title == "" || !slices.Contains([]string{"stat", "timeseries"}, panel.Type) ||
			len(panel.Targets) == 0 {
			t.Errorf("panel %+v", panel)
		}
		ids[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				place := fmt.Sprint(x, " ", y)
				if other := covered[place]; other != "" || x >= 24 {
					t.Fatalf("panel %q covers %q at %s", panel.Title, other, place)
				}
				covered[place] = panel.Title
			}
		}
		for _, target := range panel.Targets {
			names := metricNames(target.Expr)
			if len(names) == 0 || strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") {
				t.Errorf("panel %q: %s", panel.Title, target.Expr)
			}
			for _, name := range names {
				named[name] = true
			}
		}
	}
	for _, variable := range d.Templating.List {
		for _, name := range metricNames(variable.Definition) {
			named[name] = true
		}
	}

	p := newFixture(t, courtsim.Options{Seed: 3, Max: 60, Missing: 0.1, Latency: 30 * time.Millisecond},
		map[string]string{"end": "60", "probe": "false", "rest_every": "40", "rest_for": "8s"})
	a, closeApp := p.open(t.Context(), nil)
	defer closeApp()
	ctx, cancel := context.WithCancel(t.Context())
	group, working := errgroup.WithContext(ctx)
	if err := a.startServices(working, group, Services()); err != nil {
		t.Fatal(err)
	}
	run, err := a.startBatch(working)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ended := make(chan contract.State, 1)
	group.Go(func() error {
		state, err := runs.Await(working, a.broker.Bus, run.StateKey(),
			func(s contract.State) bool { return s.Status != contract.Running })
		ended <- state
		return err
	})
	look := func() string {
		text := scrape(t, a.status.metrics)
		for line := range strings.Lines(text) {
			if name, _, found := strings.Cut(line, "{"); found {
				seen[name] = true
			}
		}
		return text
	}
	var state contract.State
	for state.Status == "" {
		look()
		select {
		case state = <-ended:
		case <-time.After(200 * time.Millisecond):
		}
	}
	done := regexp.MustCompile(`batch_run_done\{outcome="success",run_id="` + string(run) + `"\} ` +
		fmt.Sprint(state.Report.Succeeded) + "\n")
	for deadline := time.Now().Add(time.Minute); !done.MatchString(look()) && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond) // the last event is on its way
	}
	final := look()
	for name := range named {
		if !seen[name] {
			t.Errorf("the dashboard names %s, which /metrics does not have", name)
		}
	}
	for _, want := range []string{
		"# TYPE batch_job_duration_seconds histogram\n",
		fmt.Sprintf("batch_job_duration_seconds_bucket{run_id=%q,le=\"+Inf\"} %d\n", run, state.Report.Metrics.JobDurationSeconds.Count),
		fmt.Sprintf("batch_run_planned{run_id=%q} 60\n", run), fmt.Sprintf("batch_run_left{run_id=%q} 0\n", run),
		fmt.Sprintf("batch_run_in_flight{run_id=%q} 0\n", run),
	} {
		if !strings.Contains(final, want) {
			t.Errorf("no %s in\n%s", want, final)
		}
	}
	if state.Status != contract.Completed || !done.MatchString(final) {
		t.Errorf("%s: no %s in\n%s", state.Status, done, final)
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// What a waiting event says is shown, with the reason as a label that cannot end it.
func TestMetrics_Waiting(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	left := 90.0
	event := contract.Event{RunID: "run", At: at, Status: contract.Running,
		Wait: &contract.Wait{Reason: "quiet \"hours\"\n", Until: at.Add(time.Hour)},
		Metrics: &contract.Metrics{Waiting: "quiet \"hours\"\n: dial tcp 127.0.0.1:53412", InFlight: 3, Planned: 10, Left: 4,
			Done:         map[contract.Outcome]int{contract.Success: 5, contract.Failed: 1},
			PauseSeconds: &contract.PauseBounds{Min: 1, Max: 3}}}
	event.LeftSeconds, event.RatePerMinute = &left, 12.5
	m.runs.store(event)
	text := scrape(t, m)
	for _, want := range []string{
		`batch_run_waiting{reason="quiet \"hours\"\\n",run_id="run"} 1`,
		`batch_run_in_flight{run_id="run"} 3`, `batch_run_planned{run_id="run"} 10`, `batch_run_left{run_id="run"} 4`,
		`batch_run_done{outcome="success",run_id="run"} 5`, `batch_run_done{outcome="no-record",run_id="run"} 0`,
		`batch_run_pause_seconds{bound="max",run_id="run"} 3`, `batch_run_left_seconds{run_id="run"} 90`,
		`batch_run_rate_per_minute{run_id="run"} 12.5`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	event.At, event.Wait, event.Metrics = at.Add(time.Second), nil, &contract.Metrics{}
	m.runs.store(event)
	if text := scrape(t, m); !strings.Contains(text, `batch_run_waiting{reason="",run_id="run"} 0`) ||
		strings.Contains(text, "waiting_until") || strings.Contains(text, "batch_run_planned") {
		t.Errorf("a run that does not wait:\n%s", text)
	}
}
