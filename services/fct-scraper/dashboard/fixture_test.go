package dashboard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/reporter/explain"

	"github.com/nats-io/nats.go"
)

// fixture is a process that serves its runs: the services, their broker and a simulator.
type fixture struct {
	t    testing.TB
	url  string
	live runtime.Live
	page *Dashboard
	sim  *courtsim.Simulator
	// token is sent with every request; empty for none.
	token string
	ended chan error
	nats  *nats.Conn
}

// newFixture serves all services on an embedded server until the test ends. Without other settings
// it keeps no pauses.
func newFixture(t testing.TB, court courtsim.Options, settings map[string]string) *fixture {
	t.Helper()
	sim := fcttest.Site(t, court)
	site := httptest.NewServer(sim)
	t.Cleanup(site.Close)
	dir := t.TempDir()
	all := map[string]string{
		"site": "sim", "base_url": site.URL, "year": "25", "robots": "false", "delay_min": "0", "delay_max": "0",
		"output": filepath.Join(dir, "output"), "data_dir": filepath.Join(dir, "data"), "http_addr": "127.0.0.1:0",
	}
	maps.Copy(all, settings)
	loaded, err := config.Load(config.Sources{Flags: all, Now: time.Now(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, sim: sim, token: loaded.HTTPToken, ended: make(chan error, 1)}
	listening, ready := make(chan string, 1), make(chan string, 1)
	var page atomic.Pointer[Dashboard]
	process := runtime.Process{
		Settings: loaded, Log: slog.New(slog.DiscardHandler), Version: "test", Getenv: func(string) string { return "" },
		Page: func(live runtime.Live) runtime.Page {
			f.live = live
			page.Store(New(Options{Live: live, Token: loaded.HTTPToken, CaseText: func(h explain.History) string {
				all, _ := json.MarshalIndent(h, "", "  ")
				return "text of " + h.CaseID.String() + "\n" + sanitize.Lines(string(all))
			}}))
			return page.Load()
		},
		Listening: func(addr string) { listening <- "http://" + addr },
	}
	ctx, stop := context.WithCancel(context.Background())
	var key string
	go func() {
		f.ended <- process.Serve(ctx, runtime.ServeOptions{
			Services: runtime.Services(), Embedded: true, Addr: "127.0.0.1:0",
			Ready: func(url, keyFile string) error { key = keyFile; ready <- url; return nil },
		})
	}()
	t.Cleanup(func() {
		if f.nats != nil {
			f.nats.Close()
		}
		stop()
		if err := <-f.ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case f.url = <-listening:
	case err := <-f.ended:
		f.ended <- err
		t.Fatal(err)
	}
	f.page = page.Load()
	url := <-ready
	seed, err := nats.NkeyOptionFromSeed(key)
	if err != nil {
		t.Fatal(err)
	}
	if f.nats, err = nats.Connect(url, seed); err != nil {
		t.Fatal(err)
	}
	for status := 0; status != http.StatusOK; {
		if status, _, _ = f.request(http.MethodGet, "/readyz", "", nil); status != http.StatusOK {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return f
}

// start starts a batch and returns its run.
func (f *fixture) start(batch string) contract.RunID {
	f.t.Helper()
	msg, err := f.nats.Request(contract.SubjectStart, []byte(batch), time.Minute)
	if err != nil {
		f.t.Fatal(err)
	}
	var reply contract.CommandReply
	if err := json.Unmarshal(msg.Data, &reply); err != nil || reply.RunID == "" {
		f.t.Fatalf("%s: %v", msg.Data, err)
	}
	return reply.RunID
}

// await waits until the run of that id fulfils a condition.
func (f *fixture) await(run contract.RunID, good func(Run) bool) Run {
	f.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var r Run
		if status := f.get("/api/runs/"+string(run), &r); status == http.StatusOK && good(r) {
			return r
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("after a minute: %+v", r)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func ended(r Run) bool { return r.Status != contract.Running }

// request sends a request and returns status, header and body.
func (f *fixture) request(method, path, body string, header map[string]string) (int, http.Header, []byte) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if f.token != "" {
		request.Header.Set("Authorization", "Bearer "+f.token)
	}
	for name, value := range header {
		if name == "Host" {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, response.Header, data
}

// get requests a path and decodes the response into value.
func (f *fixture) get(path string, value any) (status int) {
	f.t.Helper()
	status, _, body := f.request(http.MethodGet, path, "", nil)
	if status == http.StatusOK {
		if err := json.Unmarshal(body, value); err != nil {
			f.t.Fatalf("%s: %v: %.300s", path, err, body)
		}
	}
	return status
}

// event is one event of a stream.
type event struct {
	id, name string
	data     []byte
}

// listen opens the stream of events of a run. The channel is closed at its end.
func (f *fixture) listen(run contract.RunID, lastID string) (events <-chan event, leave func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/api/runs/"+string(run)+"/events", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Last-Event-ID", lastID)
	if f.token != "" {
		request.Header.Set("Authorization", "Bearer "+f.token)
	}
	//nolint:bodyclose // the goroutine below closes it
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		f.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("%s: %v", response.Status, response.Header)
	}
	received := make(chan event)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(received)
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 4<<20)
		var e event
		for lines.Scan() {
			name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
			switch string(name) {
			case "event":
				e.name = string(value)
			case "id":
				e.id = string(value)
			case "data":
				e.data = bytes.Clone(value)
			case "":
				if e.name == "" {
					continue
				}
				select {
				case received <- e:
				case <-ctx.Done():
					return
				}
				e = event{}
			}
		}
	}()
	return received, func() { cancel(); <-done }
}

// next returns the next event of that name.
func next(t testing.TB, events <-chan event, name string) event {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e, open := <-events:
			if !open {
				t.Fatalf("the stream ended before %s", name)
			}
			if e.name == name {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %s", name)
		}
	}
}

func batch(first, last int, more string) string {
	return fmt.Sprintf(`{"year":"25","start":%d,"end":%d,"probe":false%s}`, first, last, more)
}
