// Package dashboard serves the page of a process and its API on the status server: the runs, their
// progress and waits, the map of all numbers, the history of a case, and the commands that steer a
// run.
package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/numbermap"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/explain"
)

//go:embed assets
var assets embed.FS

const (
	// requestTimeout bounds a request that is no stream of events: a store with a full year is read
	// in seconds.
	requestTimeout = 25 * time.Second
	// heartbeatInterval is how often a stream without events gets a comment, so that proxies keep it,
	// and writeTimeout how long a client may take to receive one message.
	heartbeatInterval, writeTimeout = 15 * time.Second, 10 * time.Second
	// maxStreams is how many streams of events are served at once.
	maxStreams = 64
	// maxBodyBytes bounds the body of a request.
	maxBodyBytes = 4 << 10
	// maxErrorText is how many characters of an error are shown.
	maxErrorText = 500
)

// Options are the options of a Dashboard.
type Options struct {
	Live runtime.Live
	// Token is what clients must know; empty if every client of this machine may use the page.
	Token string
	// CaseText returns the history of a case as the command explain prints it.
	CaseText func(explain.History) string
}

// Dashboard is the handler of the page and its API.
type Dashboard struct {
	Options
	runs    *liveRuns
	streams chan struct{}
	closed  chan struct{}
	handler http.Handler
}

// New returns a dashboard. It must be closed before the broker is.
func New(options Options) *Dashboard {
	d := &Dashboard{
		Options: options,
		runs:    &liveRuns{live: options.Live, runs: make(map[contract.RunID]*liveRun)},
		streams: make(chan struct{}, maxStreams),
		closed:  make(chan struct{}),
	}
	mux := http.NewServeMux()
	for _, route := range d.routes() {
		mux.HandleFunc(route.method+" "+route.path, route.handle)
	}
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusForbidden, "the request comes from a page of another origin")
	}))
	d.handler = withHeaders(origins.Handler(d.requireToken(withJSONErrors(mux))))
	return d
}

// ServeHTTP serves the page and the API.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }

// Close ends all streams of events, and waits until nothing uses the broker any more.
func (d *Dashboard) Close() {
	d.runs.finish()
	close(d.closed)
	d.runs.close()
}

// route is one operation. Those below /api/ are in assets/openapi.json.
type route struct {
	method, path string
	handle       http.HandlerFunc
}

func (d *Dashboard) routes() []route {
	return []route{
		{http.MethodGet, "/{$}", file("page.html", "text/html; charset=utf-8")},
		{http.MethodGet, cssPath, styles},
		{http.MethodGet, iconPath, file("icon.svg", "image/svg+xml")},
		{http.MethodGet, "/page.js", file("page.js", "text/javascript; charset=utf-8")},
		{http.MethodGet, loginPath, file("login.html", "text/html; charset=utf-8")},
		{http.MethodPost, loginPath, d.logIn},
		{http.MethodPost, "/logout", d.logOut},
		{http.MethodGet, "/api/openapi.json", file("openapi.json", "application/json")},
		{http.MethodGet, "/api/runs", limited(d.listRuns)},
		{http.MethodGet, "/api/runs/{id}", limited(d.showRun)},
		{http.MethodGet, "/api/runs/{id}/map", limited(d.showMap)},
		{http.MethodGet, "/api/runs/{id}/events", d.events},
		{http.MethodPost, "/api/runs/{id}/stop", limited(d.command(contract.SubjectStop))},
		{http.MethodPost, "/api/runs/{id}/pause", limited(d.command(contract.SubjectPause))},
		{http.MethodPost, "/api/runs/{id}/resume", limited(d.command(contract.SubjectResume))},
		{http.MethodGet, "/api/cases/{id}", limited(d.showCase)},
	}
}

// file serves a file of the program.
func file(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			writeError(w, http.StatusInternalServerError, "the program lacks the file "+name)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(data) // the client may have gone
	}
}

// cssPath and iconPath are what the login needs too.
const cssPath, iconPath = "/page.css", "/icon.svg"

// styles serves the rules of the map, and those of the page.
func styles(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = io.WriteString(w, numbermap.CSS) // the client may have gone
	file("page.css", "text/css; charset=utf-8")(w, r)
}

// withHeaders adds the headers of the page: only its own files are loaded, no script can be made out
// of text, and no other page may frame it. The status server adds those that all its responses have.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
			"connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "+
			"require-trusted-types-for 'script'; trusted-types 'none'")
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		next.ServeHTTP(w, r)
	})
}

// limited bounds the time that a request may take.
func limited(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		if err := handle(w, r.WithContext(ctx)); err != nil {
			writeFailure(w, err)
		}
	}
}

func (d *Dashboard) listRuns(w http.ResponseWriter, r *http.Request) error {
	all, err := d.Live.All(r.Context())
	if err != nil {
		return err
	}
	for i := range all {
		all[i] = safeStatus(all[i])
	}
	return writeJSON(w, http.StatusOK, all)
}

// runID returns the run that a request names. One whose form is wrong does not exist.
func runID(r *http.Request) (contract.RunID, error) {
	id, err := contract.ParseRunID(r.PathValue("id"))
	if err != nil {
		return "", runtime.ErrNoRun
	}
	return id, nil
}

func (d *Dashboard) showRun(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	run, err := readRun(r.Context(), d.Live, id)
	if err == nil && run.Errors == nil { // a run without a report: its ledger has the errors
		var live *liveRun
		var release func()
		if live, release, err = d.runs.acquire(r.Context(), id); err == nil {
			defer release()
			live.mu.Lock()
			run.Errors = safeSamples(live.tally.ErrorSamples())
			live.mu.Unlock()
		}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, run)
}

// readRun reads the status of a run. Errors is nil unless the run has a report.
func readRun(ctx context.Context, live runtime.Live, id contract.RunID) (Run, error) {
	status, err := live.Status(ctx, id)
	if err != nil {
		return Run{}, err
	}
	state, err := live.State(ctx, id)
	if err != nil {
		return Run{}, err
	}
	run := Run{RunStatus: safeStatus(status)}
	if state.Report != nil && status.Status != contract.Running {
		run.Errors = safeSamples(state.Report.Errors)
	}
	return run, nil
}

func (d *Dashboard) showMap(w http.ResponseWriter, r *http.Request) error {
	id, err := runID(r)
	if err != nil {
		return err
	}
	run, release, err := d.runs.acquire(r.Context(), id)
	if err != nil {
		return err
	}
	defer release()
	_, shown, err := run.current()
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, json.RawMessage(shown))
}

// caseHistory is the history of a case, with the lines that the command explain prints.
type caseHistory struct {
	explain.History
	Text string `json:"text"`
}

// requestError is a request that cannot be fulfilled as it is.
type requestError struct {
	status  int
	message string
}

// Error returns the message.
func (e requestError) Error() string { return e.message }

func (d *Dashboard) showCase(w http.ResponseWriter, r *http.Request) error {
	id, err := contract.ParseCaseID(r.PathValue("id"))
	if err != nil {
		return requestError{http.StatusBadRequest, sanitize.Truncate(err.Error(), maxErrorText)}
	}
	history, err := d.Live.Explain(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, caseHistory{history, d.CaseText(history)})
}

// command returns a handler that sends a command of a running run and responds with its status.
func (d *Dashboard) command(subject string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := runID(r)
		if err == nil {
			err = checkBody(w, r)
		}
		if err != nil {
			return err
		}
		status, err := d.Live.Status(r.Context(), id)
		if err != nil {
			return err
		}
		if status.Status != contract.Running {
			return requestError{http.StatusConflict, fmt.Sprintf("the run is not running: it is %s", status.Status)}
		}
		if err := d.Live.Command(r.Context(), subject, status); err != nil {
			return err
		}
		run, err := readRun(r.Context(), d.Live, id)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusAccepted, safeStatus(run.RunStatus))
	}
}

// checkBody requires an empty JSON object, or no body, of the content type JSON: a form of another
// origin cannot send that type without being asked for permission.
func checkBody(w http.ResponseWriter, r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return requestError{http.StatusUnsupportedMediaType, "Content-Type: allowed is application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return requestError{http.StatusRequestEntityTooLarge, fmt.Sprintf("body: allowed are %d bytes", maxBodyBytes)}
	}
	if err != nil {
		return requestError{http.StatusBadRequest, "body: it is not complete, or not encoded as its header says"}
	}
	var fields map[string]any // nil after null
	if len(body) > 0 && (json.Unmarshal(body, &fields) != nil || fields == nil || len(fields) > 0) {
		return requestError{http.StatusBadRequest, "body: allowed is {} or nothing"}
	}
	return nil
}

// eventStream is the content type of events.
const eventStream = "text/event-stream"

// events serves the events of a run until the client leaves or is too slow.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	id, err := runID(r)
	if err != nil {
		writeFailure(w, err)
		return
	}
	if r.Method == http.MethodHead { // its response has no body that could have an end
		if _, err := d.Live.Manifest(r.Context(), id); err != nil {
			writeFailure(w, err)
			return
		}
		w.Header().Set("Content-Type", eventStream)
		return
	}
	select {
	case d.streams <- struct{}{}:
		defer func() { <-d.streams }()
	default:
		writeError(w, http.StatusServiceUnavailable, "too many streams of events: close a page")
		return
	}
	control := http.NewResponseController(w)
	// The limits of the server are for short requests.
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		writeFailure(w, err)
		return
	}
	run, release, err := d.runs.acquire(r.Context(), id)
	if err != nil {
		writeFailure(w, err)
		return
	}
	defer release()
	c := run.subscribe(r.Header.Get("Last-Event-ID"))
	defer run.unsubscribe(c)
	w.Header().Set("Content-Type", eventStream)
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	text := "retry: 1000\n\n"
	for {
		if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := io.WriteString(w, text); err != nil || control.Flush() != nil {
			return
		}
		text = ""
		select {
		case <-r.Context().Done():
			return
		case <-d.closed:
			if len(c.messages) == 0 { // what is queued is sent even when the process ends
				return
			}
		case <-c.dropped:
			if len(c.messages) == 0 {
				return
			}
		case m := <-c.messages:
			text = m.text()
		case <-heartbeat.C:
			text = ": heartbeat\n\n"
		}
	}
}

// text returns the message in the form of text/event-stream. Its data is JSON of one line.
func (m message) text() string {
	text := "event: " + m.event + "\n"
	if m.id != "" {
		text += "id: " + m.id + "\n"
	}
	return text + "data: " + strings.NewReplacer("\n", " ", "\r", " ").Replace(string(m.data)) + "\n\n"
}

// safeStatus escapes the foreign texts of a status.
func safeStatus(s runtime.RunStatus) runtime.RunStatus {
	s.Reason = sanitize.Line(s.Reason)
	if s.Wait != nil {
		wait := *s.Wait
		wait.Reason = sanitize.Line(wait.Reason)
		s.Wait = &wait
	}
	return s
}

// safeSamples escapes and shortens the foreign texts of errors. It returns no nil slice.
func safeSamples(samples []contract.ErrorSample) []contract.ErrorSample {
	samples = append([]contract.ErrorSample{}, samples...)
	for i := range samples {
		samples[i].Error = sanitize.Truncate(samples[i].Error, maxErrorText)
	}
	return samples
}

// safeJSON escapes control characters in a JSON document and masks secrets.
func safeJSON(document []byte) []byte { return []byte(sanitize.Mask(string(sanitize.JSON(document)))) }

func writeJSON(w http.ResponseWriter, status int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("writing the response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(safeJSON(data), '\n')) // the client may have gone
	return nil
}

// failure is the body of every response that is an error.
type failure struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// writeError responds with an error. Its code is the text of the status with underscores.
func writeError(w http.ResponseWriter, status int, text string) {
	var f failure
	f.Error.Code = strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
	f.Error.Message = sanitize.Truncate(text, maxErrorText)
	_ = writeJSON(w, status, f) // two texts
}

// writeFailure responds with an error of a handler.
func writeFailure(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if wrong, is := errors.AsType[requestError](err); is {
		writeError(w, wrong.status, wrong.message)
		return
	}
	switch {
	case errors.Is(err, runtime.ErrNoRun):
		status = http.StatusNotFound
	case runtime.IsUsageError(err):
		status = http.StatusConflict
	case errors.Is(err, runtime.ErrUnavailable), runtime.IsBrokerError(err):
		status = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	}
	writeError(w, status, err.Error())
}

// Misdirected responds to a request under a foreign host name.
func (d *Dashboard) Misdirected(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusMisdirectedRequest, "wrong Host for this server: use its address")
}

// withJSONErrors replaces the texts of a mux for unknown paths and methods below /api/ by JSON.
func withJSONErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" || !strings.HasPrefix(r.URL.Path+"/", "/api/") {
			mux.ServeHTTP(w, r)
			return
		}
		refused := &refusal{ResponseWriter: w}
		mux.ServeHTTP(refused, r)
		switch refused.status {
		case http.StatusMethodNotAllowed:
			writeError(w, refused.status, "method: allowed is "+w.Header().Get("Allow"))
		default:
			writeError(w, http.StatusNotFound, "there is no such path; /api/openapi.json lists all")
		}
	})
}

// refusal remembers the status of a response and drops its text.
type refusal struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status.
func (r *refusal) WriteHeader(status int) { r.status = status }

// Write drops the text.
func (r *refusal) Write(data []byte) (int, error) { return len(data), nil }

// paths returns the operations of the API, such as "GET /api/runs/{id}", sorted.
func (d *Dashboard) paths() (list []string) {
	for _, route := range d.routes() {
		if strings.HasPrefix(route.path, "/api/") {
			list = append(list, route.method+" "+route.path)
		}
	}
	slices.Sort(list)
	return list
}
