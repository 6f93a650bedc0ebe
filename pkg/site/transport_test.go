package site_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// TestGetIsNotRepeated: a reset of a reused connection is one failed request. Go's transport would
// repeat a GET by itself.
func TestGetIsNotRepeated(t *testing.T) {
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

// resetConn ends a connection without a response.
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

// TestSentRequest checks the request that the server receives, byte by byte where it matters.
func TestSentRequest(t *testing.T) {
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

// TestBlocked_OverHTTP: Client.Blocked agrees with the profile about status and Retry-After.
func TestBlocked_OverHTTP(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": statusHandler(429, "slow down")})
	c := newClient(t, server.URL, nil)
	exchanges := fetchCase(t, c)
	rule, wait, blocked := c.Blocked(caseID(t, "IMM-13-25"), exchanges, exchangeStart)
	if rule != "status" || wait.Seconds() != 429 || !blocked {
		t.Errorf("blocked %t by %q for %s, want true by status for 429 s", blocked, rule, wait)
	}
}

// TestBrokenResponses: malformed and truncated HTTP responses are transient.
func TestBrokenResponses(t *testing.T) {
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

func TestNewClient_InvalidOptions(t *testing.T) {
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

// TestDialControl: public addresses are allowed, and otherwise only the address that the origin
// names.
func TestDialControl(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		origin, address string
		allowed         bool
	}{
		{"https://court.invalid", "142.250.1.1:443", true}, {"https://court.invalid", "[2607:f8b0::1]:443", true}, {"https://court.invalid", "[2002:8efa:101::]:443", true},
		{"https://court.invalid", "[64:ff9b::8efa:101]:443", true},
		{"https://court.invalid", "127.0.0.1:443", false}, {"https://court.invalid", "127.9.9.9:443", false}, {"https://court.invalid", "0.0.0.0:443", false},
		{"https://court.invalid", "10.1.2.3:443", false}, {"https://court.invalid", "172.16.0.1:443", false}, {"https://court.invalid", "172.31.255.255:443", false},
		{"https://court.invalid", "192.168.1.1:443", false}, {"https://court.invalid", "169.254.169.254:443", false}, {"https://court.invalid", "100.64.0.1:443", false},
		{"https://court.invalid", "100.100.100.200:443", false}, {"https://court.invalid", "192.0.0.192:443", false}, {"https://court.invalid", "168.63.129.16:443", false},
		{"https://court.invalid", "198.18.0.1:443", false}, {"https://court.invalid", "224.0.0.1:443", false}, {"https://court.invalid", "255.255.255.255:443", false},
		{"https://court.invalid", "[::1]:443", false}, {"https://court.invalid", "[::]:443", false}, {"https://court.invalid", "[::ffff:127.0.0.1]:443", false},
		{"https://court.invalid", "[fe80::1%1]:443", false}, {"https://court.invalid", "[fd00:ec2::254]:443", false}, {"https://court.invalid", "[fec0::1]:443", false},
		{"https://court.invalid", "[64:ff9b::7f00:1]:443", false}, {"https://court.invalid", "[64:ff9b:1::1]:443", false}, {"https://court.invalid", "[2002:a01:203::1]:443", false},
		{"https://court.invalid", "[2001::1]:443", false}, {"https://court.invalid", "[ff02::1]:443", false}, {"https://court.invalid", "[::127.0.0.1]:443", false},
		{"https://court.invalid", "/var/run/docker.sock", false}, {"https://court.invalid", "", false},
		{"http://localhost:8080", "127.0.0.1:8080", true}, {"http://localhost:8080", "[::1]:8080", true}, {"http://localhost:8080", "10.0.0.1:8080", false},
		{"https://10.1.2.3", "10.1.2.3:443", true}, {"https://10.1.2.3", "10.1.2.4:443", false}, {"https://10.1.2.3", "127.0.0.1:443", false},
		{"https://[::1]:8443", "[::1]:8443", true}, {"https://[::ffff:10.1.2.3]", "10.1.2.3:443", true}, {"https://169.254.169.254", "169.254.169.254:443", true},
		{"https://127.1", "127.0.0.1:443", false}, {"https://2130706433", "127.0.0.1:443", false}, {"https://0x7f000001", "127.0.0.1:443", false},
		{"https://localhost.court.invalid", "127.0.0.1:443", false},
	} {
		err := site.DialControl(test.origin)("tcp", test.address, nil)
		if (err == nil) != test.allowed {
			t.Errorf("%s to %s: error %v, want none: %t", test.origin, test.address, err, test.allowed)
		}
	}
}

// TestDialControl_DNSRebinding: a name that resolves to a local address gets no request, whatever
// it resolved to before.
func TestDialControl_DNSRebinding(t *testing.T) {
	t.Parallel()
	for name, responses := range map[string][]string{
		"this machine": {"127.0.0.1"}, "metadata": {"169.254.169.254"}, "several": {"10.0.0.1", "192.168.0.1", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			victim := startSite(t, nil)
			_, port, err := net.SplitHostPort(victim.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			resolver := newResolver(t, responses)
			opts := site.Options{Profile: load(t, "fct-cf"), Origin: "https://court.test:" + port}
			transport := site.NewTransportWithResolver(opts, resolver)
			t.Cleanup(transport.CloseIdleConnections)
			c := newClient(t, opts.Origin, func(o *site.Options) { o.Transport = transport })
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, contract.VerdictTransient, "not a public address, and not the address in the base URL")
			if n := len(victim.madeCalls()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// newResolver resolves every name to these addresses.
func newResolver(t *testing.T, addresses []string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			if response, err := dnsResponse(query[:n], addresses); err == nil {
				_, _ = server.WriteTo(response, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsResponse returns the response to a DNS query for IPv4 addresses; the response to other queries
// is empty.
func dnsResponse(query []byte, addresses []string) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	message.Response, message.Additionals = true, nil
	for _, address := range addresses {
		if message.Questions[0].Type != dnsmessage.TypeA {
			break
		}
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		})
	}
	return message.Pack()
}

// TestDialControl_Proxy: with a proxy only the proxy is dialled, at any address.
func TestDialControl_Proxy(t *testing.T) {
	t.Parallel()
	proxy := startSite(t, nil)
	c := newClient(t, "https://court.invalid", func(o *site.Options) { o.Proxy = proxyAt(t, proxy.URL) })
	if exchanges := fetchCase(t, c); strings.Contains(exchanges[0].Error, "no public address") {
		t.Errorf("error %q", exchanges[0].Error)
	}
	if made := proxy.madeCalls(); len(made) != 1 {
		t.Errorf("the proxy received %q, want one request to connect", made)
	}
}
