package site_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// rawHandler sends raw bytes, and continues with more until the client disconnects.
func rawHandler(t *testing.T, head, more string, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("taking the connection: %v", err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, err = io.WriteString(conn, head)
		for err == nil && more != "" && waitConn(conn, pause) {
			_, err = io.WriteString(conn, more)
		}
	}
}

// waitConn pauses and reports whether the client is still connected.
func waitConn(conn net.Conn, pause time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(pause))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// TestCatalogueOverHTTP checks responses with transport faults: all of them are transient, within
// the time limit.
func TestCatalogueOverHTTP(t *testing.T) {
	t.Parallel()
	const head, drop = "HTTP/1.1 200 OK\r\n", 5 * time.Millisecond
	gone := func(_ http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	cases := []struct {
		row, title string
		response   http.HandlerFunc
		say        string
	}{
		{"61", "reset before the header", func(w http.ResponseWriter, _ *http.Request) { resetConn(t, w) }, ""},
		{"61", "closed before the header", gone, "EOF"},
		{"61", "closed in the header", rawHandler(t, head+"Content-Ty", "", 0), "malformed"},
		{"61", "closed in the body", rawHandler(t, head+"Content-Length: 500\r\n\r\n"+emptyBody, "", 0), "reading the body"},
		{"61", "closed between two chunks", rawHandler(t, head+"Transfer-Encoding: chunked\r\n\r\n15\r\n"+emptyBody+"\r\n", "", 0), "reading the body"},
		{"61", "a chunk that is none", rawHandler(t, head+"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "", 0), "reading the body"},
		{"61", "a status that is none", rawHandler(t, "HTTP/1.1 banana\r\n\r\n", "", 0), "malformed"},
		{"61", "not HTTP", rawHandler(t, "SSH-2.0-OpenSSH_9.9\r\n", "", 0), "malformed"},
		{"61", "two lengths", rawHandler(t, head+"Content-Length: 1\r\nContent-Length: 21\r\n\r\n"+emptyBody, "", 0), "Content-Length"},
		{"61", "a length below nothing", rawHandler(t, head+"Content-Length: -1\r\n\r\n"+emptyBody, "", 0), "Content-Length"},
		{"61", "a header without a name", rawHandler(t, head+": x\r\n\r\n"+emptyBody, "", 0), "malformed"},
		{"63", "nothing at all", hangHandler, "request_timeout"},
		{"63", "the status line, then nothing", rawHandler(t, head, "\x00", time.Hour), "request_timeout"},
		{"63", "the header a byte at a time", rawHandler(t, head+"X: ", "x", drop), "request_timeout"},
		{"63", "one header after another", rawHandler(t, head, "X: y\r\n", drop), "request_timeout"},
		{"63", "the body a byte at a time", dripHandler, "request_timeout"},
		{"63", "one \"processing\" after another", rawHandler(t, "", "HTTP/1.1 102 Processing\r\n\r\n", drop), ""},
		{"63", "one hint after another at full speed", rawHandler(t, "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0), ""},
		{"64", "a header without an end", rawHandler(t, head, "X: "+strings.Repeat("x", 1<<16)+"\r\n", 0), "header"},
		{"64", "one line of a header without an end", rawHandler(t, head+"X: ", strings.Repeat("x", 1<<16), 0), "header"},
		{"64", "impossible Content-Length", rawHandler(t, head+"Content-Length: 9223372036854775807\r\n\r\n"+emptyBody, "", 0), "reading the body"},
		{"64", "without an end", rawHandler(t, head+"\r\n", strings.Repeat(" ", 1<<16), 0), "max_body"},
		{"64", "unrequested brotli", rawHandler(t, head+"Content-Encoding: br\r\nContent-Length: 4\r\n\r\n\x8b\x00\x80\x03", "", 0), ""},
		{"64", "gzip that is none", rawHandler(t, head+"Content-Encoding: gzip\r\nContent-Length: 21\r\n\r\n"+emptyBody, "", 0), "gzip"},
	}
	for _, test := range cases {
		t.Run(test.title, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": test.response})
			c := newClient(t, server.URL, func(o *site.Options) {
				if test.row == "63" {
					o.RequestTimeout = 200 * time.Millisecond
				}
			})
			began := time.Now()
			exchanges := fetchCase(t, c)
			if took := time.Since(began); took > soon {
				t.Errorf("took %s", took)
			}
			wantReading(t, c, exchanges, contract.VerdictTransient, test.say)
			// With a short timeout, connecting alone may take all of it.
			made := server.madeCalls()
			if len(made) > 1 || len(made) == 0 && test.row != "63" || len(exchanges) != 1 || len(exchanges[0].Error) > 400 {
				t.Errorf("%d requests, exchanges %+v", len(made), exchanges)
			}
		})
	}
	t.Logf("%d cases", len(cases))
}

// TestBlocked_ByHeader: a block may be marked by a header alone, with an empty body.
func TestBlocked_ByHeader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cf-mitigated", "x-amzn-waf-action"} {
		for _, code := range []int{200, 202, 405, 503} {
			for _, body := range []string{"", emptyBody, ownBody, "<html></html>"} {
				response := func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set(name, "challenge")
					textHandler(code, body)(w, nil)
				}
				server := startSite(t, map[string]http.HandlerFunc{"docket": response, "/robots.txt": response})
				c := newClient(t, server.URL, func(o *site.Options) { o.Parties = true })
				exchanges := fetchCase(t, c)
				if made := server.madeCalls(); len(made) != 1 {
					t.Errorf("%s, status %d, %q: requests %q, want none behind the block", name, code, body, made)
				}
				if reading := c.Profile.Read(caseID(t, "IMM-13-25"), exchanges); reading.Rule != "challenge" {
					t.Errorf("%s, status %d, %q: read %s by %q: %s", name, code, body, reading.Verdict, reading.Rule, reading.Error)
				}
				if want := name + ": challenge"; exchanges[0].BlockHeader != want {
					t.Errorf("header in the exchange %q, want %q", exchanges[0].BlockHeader, want)
				}
				if _, err := c.Robots(t.Context(), noPause); !strings.Contains(fmt.Sprint(err), "blocked: challenge") {
					t.Errorf("robots.txt: %v", err)
				}
			}
		}
	}
}

// TestManyCookies: any number of cookies does not affect the response.
func TestManyCookies(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
		for i := range 200 {
			w.Header().Add("Set-Cookie", fmt.Sprintf("c%d=%s", i, strings.Repeat("x", 500)))
		}
		bodyHandler(ownBody)(w, r)
	}})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
}

// TestRedirects_OutsideOrigin: no redirect causes a request outside of the origin (row 65 of the
// catalogue).
func TestRedirects_OutsideOrigin(t *testing.T) {
	t.Parallel()
	elsewhere := startSite(t, nil)
	other, err := url.Parse(elsewhere.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, to := range map[string]string{
			"another port": elsewhere.URL, "its own host by another name": "http://localhost:" + other.Port(), "no scheme": "//" + other.Host + "/x",
			"another scheme": "https://" + other.Host, "user": "http://court@" + other.Host, "metadata": "http://169.254.169.254/latest/meta-data",
			"a file": "file:///etc/passwd", "back slashes": `\\` + other.Host, "nothing": "", "nonsense": "http://[", "a script": "javascript:alert(1)",
		} {
			t.Run(fmt.Sprintf("%d %s", status, name), func(t *testing.T) {
				t.Parallel()
				server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
					w.Header()["Location"] = []string{to}
					w.WriteHeader(status)
				}})
				c := newClient(t, server.URL, nil)
				wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "")
				if made := elsewhere.madeCalls(); len(made) != 0 {
					t.Errorf("the other origin received %q", made)
				}
			})
		}
	}
}
