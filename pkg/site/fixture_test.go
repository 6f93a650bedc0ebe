package site_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// The bodies that fake sites return.
const (
	emptyBody     = `{"Count":0,"data":[]}`
	ownBody       = `{"Count":1,"data":[{"COURT_NO":"IMM-13-25","RE_NO":1,"RECORDED_ENTRY":"Application filed"}]}`
	otherBody     = `{"Count":1,"data":[{"COURT_NO":"IMM-130-25","RE_NO":1,"RECORDED_ENTRY":"Application filed"}]}`
	unrelatedBody = `{"Count":1,"data":[{"COURT_NO":"IMM-77-25","RE_NO":1,"RECORDED_ENTRY":"Application filed"}]}`
	partiesBody   = `{"Count":1,"data":[{"PARTY_NAME":"QUILL, ODETTE"}]}`
	blockBody     = `<html><title>Request Rejected</title></html>`
)

// fakeSite is a server on loopback that has a handler for each call and records the calls.
type fakeSite struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
}

func callOf(r *http.Request) string {
	switch {
	case strings.HasSuffix(r.URL.Path, "/proceedingQueriesRE"):
		return "docket"
	case strings.HasSuffix(r.URL.Path, "/proceedingQueriesCourtNumberList"):
		return "header"
	case strings.HasSuffix(r.URL.Path, "/PublicPartiesListInfo"):
		return "parties"
	default:
		return r.URL.Path
	}
}

// startSite starts a fake site. A call without a handler gets 404.
func startSite(t *testing.T, responses map[string]http.HandlerFunc) *fakeSite {
	t.Helper()
	c := &fakeSite{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := callOf(r)
		c.mu.Lock()
		c.calls = append(c.calls, name)
		c.mu.Unlock()
		if response := responses[name]; response != nil {
			response(w, r)
		} else {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *fakeSite) madeCalls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

func bodyHandler(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

// hangHandler never responses; it returns when the client disconnects.
func hangHandler(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// dripHandler sends the header, then one byte at a time until the client disconnects.
func dripHandler(w http.ResponseWriter, r *http.Request) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// newClient returns a client of a fake site; change alters the options.
func newClient(t testing.TB, origin string, change func(*site.Options)) *site.Client {
	t.Helper()
	opts := site.Options{
		Profile: load(t, "fct-cf"), Origin: origin, UserAgent: "fct-scraper/test (+nobody@court.invalid)",
		RequestTimeout: time.Minute, JobTimeout: 2 * time.Minute, MaxBody: 1 << 20,
	}
	if change != nil {
		change(&opts)
	}
	c, err := site.NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// noPause allows every request at once.
func noPause(context.Context) (time.Duration, error) { return 0, nil }

// fetchCase makes one attempt at IMM-13-25, which must not fail.
func fetchCase(t *testing.T, c *site.Client) []contract.Exchange {
	t.Helper()
	exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), noPause)
	if err != nil {
		t.Fatal(err)
	}
	return exchanges
}

// wantReading checks the verdict of an attempt and its error text.
func wantReading(
	t *testing.T, c *site.Client, exchanges []contract.Exchange, verdict contract.Verdict, complaint string,
) {
	t.Helper()
	reading := c.Profile.Read(caseID(t, "IMM-13-25"), exchanges)
	if reading.Verdict != verdict || !strings.Contains(reading.Error, complaint) {
		t.Errorf("read %s, %q; want %s, %q", reading.Verdict, reading.Error, verdict, complaint)
	}
	checkReading(t, c.Profile, caseID(t, "IMM-13-25"), exchanges)
}

func statusHandler(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", fmt.Sprint(code))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// roundTrip is a transport without a network that responses each request with this body.
type roundTrip string

func (body roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body))), Request: r,
	}, nil
}
