package site_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// TestNoSilentRepeat: a kept connection that is reset by the server is one failed request, not two. Go's transport
// would repeat a GET by itself.
func TestNoSilentRepeat(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			bodyHandler(ownBody)(w, r)
			return
		}
		resetConn(t, w)
	}})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "docket call: ")
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests reached the server for 2 that were made", n)
	}
}

// resetConn ends a connection without an answer.
func resetConn(t *testing.T, w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Errorf("taking the connection: %v", err)
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// TestWhatIsSent keeps the request as the server sees it, byte by byte where it matters.
func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	sent := make(chan *http.Request, 1)
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) != 0 {
			t.Errorf("a body: %q, %v", body, err)
		}
		sent <- r
		bodyHandler(ownBody)(w, r)
	}})
	c := newClient(t, server.URL+"/", nil)
	exchanges := fetchCase(t, c)
	r := <-sent
	want := http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip"},
		"Referer":         {server.URL + "/en/court-files-and-decisions/court-files"},
		"User-Agent":      {"fct-scraper/test (+nobody@court.invalid)"},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	const target = "/CourtFilesAndDecisions/proceedingQueriesRE?courtnumber=IMM-13-25&division=IMM-13-25"
	if r.Method != http.MethodGet || r.RequestURI != target || r.ContentLength != 0 || len(r.TransferEncoding) != 0 {
		t.Errorf("%s %s with length %d, encoding %q", r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding)
	}
	if exchanges[0].URL != server.URL+target || exchanges[0].StartedAt.IsZero() || exchanges[0].Seconds <= 0 {
		t.Errorf("exchange %+v", exchanges[0])
	}
}

// TestBlockedOnTheWire: status and Retry-After come through, and the client says what the profile says.
func TestBlockedOnTheWire(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": statusHandler(429, "slow down")})
	c := newClient(t, server.URL, nil)
	exchanges := fetchCase(t, c)
	rule, wait, blocked := c.Blocked(caseID(t, "IMM-13-25"), exchanges, exchangeStart)
	if rule != "status" || wait.Seconds() != 429 || !blocked {
		t.Errorf("blocked %t by %q for %s, want true by status for 429 s", blocked, rule, wait)
	}
}

// TestBrokenAnswers: what is no HTTP, and what breaks off, is trouble.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"banana":       "HTTP/1.1 banana\r\n\r\n",
		"nothing":      "",
		"short body":   "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + emptyBody,
		"broken chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"two lengths":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 21\r\n\r\n" + emptyBody,
		"large header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n" + emptyBody,
		"not gzip":     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 21\r\n\r\n" + emptyBody,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Errorf("taking the connection: %v", err)
					return
				}
				_, _ = io.WriteString(conn, raw)
				_ = conn.Close()
			}})
			c := newClient(t, server.URL, nil)
			wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "docket call: ")
			if n := len(server.madeCalls()); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
		})
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*site.Options){
		"profile":         func(o *site.Options) { o.Profile = nil },
		"origin":          func(o *site.Options) { o.Origin = "http://court.invalid" },
		"request timeout": func(o *site.Options) { o.RequestTimeout = 0 },
		"job timeout":     func(o *site.Options) { o.JobTimeout = -1 },
		"largest body":    func(o *site.Options) { o.MaxBody = 0 },
	} {
		opts := site.Options{Profile: load(t, "fct-cf"), RequestTimeout: 1, JobTimeout: 1, MaxBody: 1}
		if c, err := site.NewClient(opts); err != nil {
			t.Fatalf("good options are refused: %v", err)
		} else {
			c.Close()
		}
		change(&opts)
		if _, err := site.NewClient(opts); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}
