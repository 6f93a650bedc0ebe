package dashboard

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/numbermap"
	"fct-scraper/services/fct-scraper/runtime"

	"github.com/nats-io/nats.go"
)

// TestAPI_RunToItsEnd reads everything about a run that has ended.
func TestAPI_RunToItsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 60, Missing: 0.3,
		Faults: []courtsim.Fault{{Kind: "500", Share: 0.2, Times: -1}}}, map[string]string{"max_retries": "0"})
	var all []runtime.RunStatus
	if status := f.get("/api/runs", &all); status != http.StatusOK || all == nil || len(all) != 0 {
		t.Errorf("%d, %v", status, all)
	}
	run := f.start(batch(1, 60, ""))
	r := f.await(run, ended)
	if r.Status != contract.Completed || r.Done != 60 || r.Failed == 0 || len(r.Errors) == 0 || r.Errors[0].Count == 0 {
		t.Errorf("%+v", r)
	}
	if status := f.get("/api/runs", &all); status != http.StatusOK || len(all) != 1 || all[0].RunID != run {
		t.Errorf("%d, %v", status, all)
	}
	var m numbermap.Map
	if status := f.get("/api/runs/"+string(run)+"/map", &m); status != http.StatusOK {
		t.Fatal(status)
	}
	counts := m.Counts()
	if m.Numbers() != (contract.Range{Start: 1, End: 60}) || counts[numbermap.Success] != r.Succeeded ||
		counts[numbermap.NoRecord]+counts[numbermap.Unconfirmed] != r.NoRecord || counts[numbermap.Failed] != r.Failed {
		t.Errorf("%v of %+v", counts, r)
	}
	for number := 1; number <= 60; number++ {
		exists := f.sim.Exists(contract.CaseID{Series: "IMM", Year: "25", Number: number})
		if state := m.Get(number); state != numbermap.Failed && (state == numbermap.Success) != exists {
			t.Errorf("number %d is %s", number, state)
		}
	}
	var history map[string]any
	if status := f.get("/api/cases/IMM-7-25", &history); status != http.StatusOK || history["case_id"] != "IMM-7-25" ||
		history["asked"] != true || !strings.HasPrefix(history["text"].(string), "text of IMM-7-25") {
		t.Errorf("%d, %v", status, history)
	}
}

// TestAPI_SecondRunSkips: what an earlier run collected is skipped in the map of the next one.
func TestAPI_SecondRunSkips(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 60}, nil)
	f.await(f.start(batch(1, 20, "")), ended)
	run := f.start(batch(11, 40, ""))
	f.await(run, ended)
	var m numbermap.Map
	f.get("/api/runs/"+string(run)+"/map", &m)
	if counts := m.Counts(); counts[numbermap.Skipped] != 10 || counts[numbermap.Success] != 20 {
		t.Errorf("%v", counts)
	}
}

// TestAPI_Errors: every refused request gets the documented form.
func TestAPI_Errors(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 20}, nil)
	run := string(f.start(batch(1, 5, "")))
	f.await(contract.RunID(run), ended)
	asJSON := map[string]string{"Content-Type": "application/json"}
	with := func(name, value string) map[string]string {
		header := maps.Clone(asJSON)
		header[name] = value
		return header
	}
	for _, c := range []struct {
		method, path, body string
		header             map[string]string
		status             int
	}{
		{"GET", "/api/runs/nowhere", "", nil, 404}, {"GET", "/api/runs/nowhere/map", "", nil, 404},
		{"GET", "/api/runs/nowhere/events", "", nil, 404}, {"GET", "/api/runs/UPPER", "", nil, 404},
		{"GET", "/api/runs/..%2f..%2fetc", "", nil, 404}, {"POST", "/api/runs/nowhere/stop", "{}", asJSON, 404},
		{"GET", "/api/nothing", "", nil, 404}, {"GET", "/api", "", nil, 404}, {"GET", "/api/", "", nil, 404},
		{"GET", "/api/cases/IMM-0-25", "", nil, 400}, {"GET", "/api/cases/<script>", "", nil, 400},
		{"DELETE", "/api/runs/" + run, "", nil, 405}, {"POST", "/api/runs", "{}", asJSON, 405},
		{"GET", "/api/runs/" + run + "/stop", "", nil, 405},
		{"POST", "/api/runs/" + run + "/stop", "{}", asJSON, 409},
		{"POST", "/api/runs/" + run + "/stop", "", nil, 415},
		{"POST", "/api/runs/" + run + "/stop", "a=b", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415},
		{"POST", "/api/runs/" + run + "/stop", `{"run_id":"x"}`, asJSON, 400},
		{"POST", "/api/runs/" + run + "/stop", `{`, asJSON, 400}, {"POST", "/api/runs/" + run + "/stop", "null", asJSON, 400},
		{"POST", "/api/runs/" + run + "/stop", strings.Repeat(" ", maxBodyBytes+1), asJSON, 413},
		{"POST", "/api/runs/" + run + "/stop", "{}", with("Origin", "http://evil.example"), 403},
		{"POST", "/api/runs/" + run + "/stop", "{}", with("Sec-Fetch-Site", "cross-site"), 403},
		{"POST", "/api/runs/" + run + "/stop", "{}", with("Sec-Fetch-Site", "same-site"), 403},
		{"GET", "/api/runs", "", map[string]string{"Host": "rebind.example"}, 421},
		{"POST", "/api/runs/" + run + "/stop", "{}", with("Host", "rebind.example:80"), 421},
	} {
		status, header, body := f.request(c.method, c.path, c.body, c.header)
		var said failure
		if err := json.Unmarshal(body, &said); err != nil || status != c.status || said.Error.Code == "" || said.Error.Message == "" ||
			header.Get("Content-Type") != "application/json" || strings.Contains(string(body), "<script>") {
			t.Errorf("%s %s %v: %d %s, want %d", c.method, c.path, c.header, status, body, c.status)
		}
		if status == 405 && header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
}

// TestAPI_BrokenBody: a body that is not complete is not one that is too large.
func TestAPI_BrokenBody(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]io.Reader{"broken": iotest.ErrReader(io.ErrUnexpectedEOF), "slow": iotest.TimeoutReader(strings.NewReader("{}"))} {
		request := httptest.NewRequest(http.MethodPost, "/api/runs/x/stop", iotest.OneByteReader(body))
		request.Header.Set("Content-Type", "application/json")
		if err, is := errors.AsType[requestError](checkBody(httptest.NewRecorder(), request)); !is || err.status != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEvents_Head: the response to HEAD ends and takes no stream.
func TestEvents_Head(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 20}, nil)
	run := f.start(batch(1, 5, ""))
	status, header, _ := f.request(http.MethodHead, "/api/runs/"+string(run)+"/events", "", nil)
	if status != http.StatusOK || header.Get("Content-Type") != "text/event-stream" || len(f.page.streams) != 0 {
		t.Errorf("%d %v, %d streams", status, header, len(f.page.streams))
	}
	if status, _, _ = f.request(http.MethodHead, "/api/runs/nowhere/events", "", nil); status != http.StatusNotFound {
		t.Errorf("no run: %d", status)
	}
}

// TestAPI_StopRun stops a run in the middle.
func TestAPI_StopRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 5000}, map[string]string{"delay_min": "20ms", "delay_max": "20ms"})
	run := f.start(batch(1, 5000, ""))
	f.await(run, func(r Run) bool { return r.Done > 3 })
	status, _, body := f.request("POST", "/api/runs/"+string(run)+"/stop", "{}",
		map[string]string{"Content-Type": "application/json", "Origin": f.url, "Sec-Fetch-Site": "same-origin"})
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	r := f.await(run, ended)
	if r.Status != contract.Stopped || r.Done > 1000 || r.Planned != 5000 {
		t.Errorf("%+v", r)
	}
	if told := endedBy(Run{}, contract.Report{Total: 3, Metrics: contract.Metrics{Planned: 9}}); told.Done != 3 || told.Planned != 9 {
		t.Errorf("%+v", told)
	}
	if _, _, text := f.request("GET", "/metrics", "", nil); !strings.Contains(string(text), `batch_run_planned{run_id="`+string(run)+`"} 5000`) {
		t.Errorf("%s", text)
	}
}

// TestAPI_PauseAndResume: a paused run sends no request, tells so, and goes on.
func TestAPI_PauseAndResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 5000}, map[string]string{"delay_min": "20ms", "delay_max": "20ms"})
	run := f.start(batch(1, 200, ""))
	f.await(run, func(r Run) bool { return r.Done > 3 })
	post := func(command string, want int) {
		t.Helper()
		status, _, body := f.request("POST", "/api/runs/"+string(run)+"/"+command, "{}", map[string]string{"Content-Type": "application/json"})
		if status != want {
			t.Fatalf("%s: %d %s", command, status, body)
		}
	}
	post("pause", http.StatusAccepted)
	paused := f.await(run, func(r Run) bool { return r.Phase == contract.PhasePaused && r.InFlight == 0 })
	requests := f.sim.Stats().Requests
	post("pause", http.StatusAccepted)
	if paused.Done >= 200 || f.sim.Stats().Requests != requests {
		t.Errorf("%+v, %d requests, %d before", paused, f.sim.Stats().Requests, requests)
	}
	post("resume", http.StatusAccepted)
	if r := f.await(run, ended); r.Status != contract.Completed || r.Done != 200 {
		t.Errorf("%+v", r)
	}
	post("resume", http.StatusConflict)
}

// TestMap_InFlight: a number that is being fetched is in flight, and no longer once it has an outcome.
func TestMap_InFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 50, Latency: 400 * time.Millisecond}, nil)
	run := f.start(batch(1, 6, ""))
	events, leave := f.listen(run, "")
	defer leave()
	var m numbermap.Map
	if err := json.Unmarshal(next(t, events, "map").data, &m); err != nil {
		t.Fatal(err)
	}
	for inFlight := m.Counts()[numbermap.InFlight]; inFlight == 0; {
		if e := next(t, events, "map-changed"); strings.Contains(string(e.data), `"I"`) {
			inFlight++
		}
	}
	f.await(run, ended)
	f.get("/api/runs/"+string(run)+"/map", &m)
	if counts := m.Counts(); counts[numbermap.InFlight] != 0 || counts[numbermap.Success] != 6 {
		t.Errorf("%v", counts)
	}
}

// follow applies the events of a stream to a map until the run has ended. It returns the map and the
// id of its last change.
func follow(t *testing.T, events <-chan event) (m numbermap.Map, lastID string) {
	t.Helper()
	if err := json.Unmarshal(next(t, events, "map").data, &m); err != nil {
		t.Fatal(err)
	}
	letters := map[string]numbermap.State{}
	for _, s := range numbermap.States() {
		letters[s.Letter()] = s
	}
	over := time.After(time.Minute)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatal("the stream ended")
			}
			if e.id != "" {
				lastID = e.id
			}
			switch e.name {
			case "map-changed":
				var c struct{ Changed [][2]any }
				if err := json.Unmarshal(e.data, &c); err != nil {
					t.Fatal(err)
				}
				for _, pair := range c.Changed {
					m.Set(int(pair[0].(float64)), letters[pair[1].(string)])
				}
			case "status":
				var r Run
				if err := json.Unmarshal(e.data, &r); err != nil {
					t.Fatal(err)
				}
				if ended(r) {
					return m, lastID
				}
			}
		case <-over:
			t.Fatal("the run did not end")
		}
	}
}

// TestEvents_MapFollowsRun: the events keep the map of a client equal to that of the server, and a
// client that reconnects gets a map only if its own is old.
func TestEvents_MapFollowsRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 200, Missing: 0.2, Latency: 5 * time.Millisecond}, map[string]string{"delay_min": "2ms", "delay_max": "2ms"})
	run := f.start(batch(1, 200, ""))
	events, leave := f.listen(run, "")
	followed, lastID := follow(t, events)
	leave()
	var m numbermap.Map
	f.get("/api/runs/"+string(run)+"/map", &m)
	if !slices.Equal(slices.Collect(followed.Runs()), slices.Collect(m.Runs())) || m.Counts()[numbermap.Success] == 0 {
		t.Errorf("%v, the server has %v", followed.Counts(), m.Counts())
	}
	again, leave := f.listen(run, lastID)
	if e := <-again; e.name != "status" {
		t.Errorf("reconnected with the newest id: %s", e.name)
	}
	leave()
	again, leave = f.listen(run, "of-an-earlier-process")
	if e := <-again; e.name != "map" {
		t.Errorf("reconnected with an unknown id: %s", e.name)
	}
	leave()
}

// TestEvents_BatchEnds: a client learns how a batch ended before its process does.
func TestEvents_BatchEnds(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(fcttest.Site(t, courtsim.Options{Seed: 3, Max: 40}))
	defer site.Close()
	dir := t.TempDir()
	settings, err := config.Load(config.Sources{Flags: map[string]string{
		"site": "sim", "base_url": site.URL, "year": "25", "end": "40", "probe": "false", "robots": "false", "delay_min": "20ms", "delay_max": "20ms",
		"output": filepath.Join(dir, "output"), "data_dir": filepath.Join(dir, "data"), "http_addr": "127.0.0.1:0",
	}, Now: time.Now(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t}
	started, over := make(chan contract.RunID, 1), make(chan error, 1)
	process := runtime.Process{
		Settings: settings, Log: slog.New(slog.DiscardHandler), Version: "test", Getenv: func(string) string { return "" },
		Page:      func(live runtime.Live) runtime.Page { return New(Options{Live: live}) },
		Listening: func(addr string) { f.url = "http://" + addr },
	}
	go func() {
		_, err := process.Batch(t.Context(), runtime.BatchOptions{
			Stop: never{}, ResumeCommand: func(int) string { return "" },
			Follow: func(_ *nats.Conn, run contract.RunID) (func(), error) {
				started <- run
				return func() {}, nil
			},
		})
		over <- err
	}()
	events, leave := f.listen(<-started, "")
	defer leave()
	var last Run
	for e := range events {
		if e.name == "status" {
			last = Run{}
			if err := json.Unmarshal(e.data, &last); err != nil {
				t.Error(err)
			}
		}
	}
	if last.Status != contract.Completed || last.Done != 40 || last.Phase != "" {
		t.Errorf("%+v", last)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// never is a request to stop that never arrives.
type never struct{}

func (never) Requested() <-chan struct{} { return nil }
func (never) Name() string               { return "" }

// TestEvents_SlowClientDropped: a client that does not receive is dropped, others are not.
func TestEvents_SlowClientDropped(t *testing.T) {
	t.Parallel()
	r := &liveRun{clients: make(map[*client]bool), shown: numbermap.New(contract.Range{Start: 1, End: 3})}
	slow, quick := r.subscribe(""), r.subscribe("")
	for range maxQueued + 1 {
		r.mu.Lock()
		r.broadcast(message{event: "progress", data: []byte("{}")})
		r.mu.Unlock()
		for len(quick.messages) > 0 {
			<-quick.messages
		}
	}
	select {
	case <-slow.dropped:
	default:
		t.Error("the slow client stays")
	}
	if !r.clients[quick] || len(r.clients) != 1 {
		t.Error("the quick client was dropped")
	}
}

// TestToken_Required: with http_token nothing but the login is served without it.
func TestToken_Required(t *testing.T) {
	t.Parallel()
	const token = "correct-horse-battery"
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 20}, map[string]string{"http_token": token, "http_addr": "0.0.0.0:0"})
	f.url = "http://127.0.0.1" + f.url[strings.LastIndexByte(f.url, ':'):]
	f.token = ""
	for path, want := range map[string]int{
		"/": 303, "/page.js": 401, "/page.css": 200, "/login": 200, "/api/runs": 401, "/api/openapi.json": 401, "/api/nothing": 401,
		"/livez": 200, "/metrics": 200,
	} {
		if status, _, _ := f.request("GET", path, "", map[string]string{"Host": "any.example"}); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	for header, want := range map[string]int{
		"Bearer " + token: 200, "Bearer " + token + "x": 401, "Bearer": 401, "bearer " + token: 200, "Bearer  " + token: 401, token: 401, "Basic " + token: 401,
	} {
		if status, _, _ := f.request("GET", "/api/runs", "", map[string]string{"Authorization": header}); status != want {
			t.Errorf("%s: %d, want %d", header, status, want)
		}
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if status, header, _ := f.request("POST", "/login", "token=wrong", form); status != 303 || header.Get("Location") != "/login#wrong" || header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: %d %v", status, header)
	}
	form["Origin"] = "http://evil.example"
	if status, header, _ := f.request("POST", "/login", "token="+token, form); status != 403 || header.Get("Set-Cookie") != "" {
		t.Errorf("a login from another origin: %d %v", status, header)
	}
	delete(form, "Origin")
	status, header, _ := f.request("POST", "/login", "token="+token, form)
	cookie := header.Get("Set-Cookie")
	if status != 303 || header.Get("Location") != "/" || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Strict") || strings.Contains(cookie, token) {
		t.Errorf("the login: %d %v", status, header)
	}
	value, _, _ := strings.Cut(cookie, ";")
	for cookie, want := range map[string]int{value: 200, value + "0": 401, "fct_session=": 401, "fct_session=" + token: 401} {
		if status, _, _ := f.request("GET", "/api/runs", "", map[string]string{"Cookie": cookie}); status != want {
			t.Errorf("%s: %d, want %d", cookie, status, want)
		}
	}
}

// TestPage_Headers: the policy of every page forbids all but its own files.
func TestPage_Headers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 20}, nil)
	for _, path := range []string{"/", "/page.js", "/page.css", "/login", "/api/runs", "/api/nothing"} {
		_, header, body := f.request("GET", path, "", nil)
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %q", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
			if header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, header.Get(name))
			}
		}
		for _, bad := range []string{"style=", "onclick=", "<script>", "innerHTML", "http://", "https://"} {
			if !strings.HasPrefix(path, "/api") && strings.Contains(string(body), bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
}

// TestOpenAPI_AgreesWithRoutes: the document has exactly the operations that are served.
func TestOpenAPI_AgreesWithRoutes(t *testing.T) {
	t.Parallel()
	data, err := assets.ReadFile("assets/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
			Responses  map[string]any
		}
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, operations := range document.Paths {
		for method, operation := range operations {
			described = append(described, strings.ToUpper(method)+" "+path)
			inPath := 0
			for _, p := range operation.Parameters {
				if p.In == "path" {
					inPath++
				}
			}
			if inPath != strings.Count(path, "{") || len(operation.Responses) < 3 {
				t.Errorf("%s %s: %+v", method, path, operation)
			}
		}
	}
	slices.Sort(described)
	if served := New(Options{}).paths(); !slices.Equal(described, served) {
		t.Errorf("described %v\nserved    %v", described, served)
	}
}
