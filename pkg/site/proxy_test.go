package site_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// TestFindProxy: the setting precedes the environment, variables are read as in Go, NO_PROXY
// applies to both, and a loopback host never uses a proxy from the environment.
func TestFindProxy(t *testing.T) {
	t.Parallel()
	const server = "https://www.court.invalid"
	for name, test := range map[string]struct {
		origin, setting string
		environ         map[string]string
		want            string
	}{
		"nothing": {server, "", nil, ""},
		"HTTPS_PROXY": {server, "", map[string]string{"HTTPS_PROXY": "http://p.invalid:3128"},
			"http://p.invalid:3128"},
		"https_proxy": {server, "", map[string]string{"https_proxy": "p.invalid:3128"},
			"http://p.invalid:3128"},
		"capitals first": {server, "", map[string]string{"https_proxy": "small.invalid", "HTTPS_PROXY": "capital.invalid"},
			"http://capital.invalid"},
		"HTTP_PROXY": {server, "", map[string]string{"HTTP_PROXY": "http://p.invalid:3128"}, ""},
		"socks": {server, "", map[string]string{"HTTPS_PROXY": "socks5h://u:p@p.invalid"},
			"socks5h://u:p@p.invalid"},
		"setting": {server, "s.invalid:1", map[string]string{"HTTPS_PROXY": "http://p.invalid:3128"},
			"http://s.invalid:1"},
		"none": {server, "none", map[string]string{"HTTPS_PROXY": "http://p.invalid:3128"}, ""},
		"NO_PROXY": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "a.invalid, www.court.invalid"},
			""},
		"no_proxy": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "no_proxy": ".court.invalid"},
			""},
		"no_proxy, domain": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "court.invalid"},
			""},
		"no_proxy, port": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "www.court.invalid:8443"},
			"http://p.invalid"},
		"no_proxy, own port": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "www.court.invalid:443"},
			""},
		"no_proxy, other": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "other.invalid"},
			"http://p.invalid"},
		"no_proxy, all": {server, "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "*"}, ""},
		"no_proxy, network": {"https://192.0.2.7", "", map[string]string{"HTTPS_PROXY": "p.invalid", "NO_PROXY": "192.0.2.0/24"},
			""},
		"NO_PROXY of a setting": {server, "s.invalid", map[string]string{"NO_PROXY": "court.invalid"}, ""},
		"loopback": {"http://127.0.0.1:8090", "", map[string]string{"HTTP_PROXY": "p.invalid", "HTTPS_PROXY": "p.invalid"},
			""},
		"loopback, https":   {"https://localhost:8090", "", map[string]string{"HTTPS_PROXY": "p.invalid"}, ""},
		"loopback, setting": {"http://127.0.0.1:8090", "s.invalid", nil, "http://s.invalid"},
		"loopback, excepted": {"http://127.0.0.1:8090", "s.invalid", map[string]string{"NO_PROXY": "10.0.0.1,127.0.0.0/8"},
			""},
		"loopback, all":   {"http://localhost:8090", "s.invalid", map[string]string{"NO_PROXY": "*"}, ""},
		"loopback, named": {"https://[::1]:8090", "s.invalid", map[string]string{"no_proxy": "[::1]"}, ""},
		"loopback, other": {"http://127.0.0.1:8090", "s.invalid", map[string]string{"NO_PROXY": "10.0.0.0/8,localhost"},
			"http://s.invalid"},
		"bad, not used": {"http://127.0.0.1:8090", "", map[string]string{"HTTP_PROXY": "ftp://p.invalid"},
			""},
	} {
		proxy, err := site.FindProxy(test.origin, test.setting, func(name string) string { return test.environ[name] })
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if err != nil || got != test.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, test.want)
		}
	}
}

// TestParseProxy_Invalid: an invalid proxy is rejected, without a password in the error; the error
// names the variable.
func TestParseProxy_Invalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"ftp://p.invalid", "socks4://p.invalid", "http://", "://p.invalid", "http://p.invalid:99999", "http://p.invalid:0", "http://p.invalid:", "http://p.invalid:x",
		"http://p.invalid/path", "http://p.invalid?q", "http://p.invalid#f", "http://a b", "p.invalid 3128", "http://u:geheim@p.invalid:99999", "http://u:ge heim@p.invalid",
		"ftp://u:geheim@p.invalid", "u:geheim@p.invalid:x", "http://p_.inv,alid", "http://[::1", "-://", " ", "http://p\n.invalid",
	} {
		if proxy, err := site.ParseProxy(text); err == nil {
			t.Errorf("%q is taken for %s", text, proxy)
		} else if strings.Contains(err.Error(), "heim") || !strings.Contains(err.Error(), "socks5h") {
			t.Errorf("%q: %v", text, err)
		}
		_, err := site.FindProxy("https://court.invalid", "", func(name string) string { return map[string]string{"https_proxy": text}[name] })
		if err == nil || !strings.Contains(err.Error(), "$https_proxy: ") || strings.Contains(err.Error(), "heim") {
			t.Errorf("%q as a variable: %v", text, err)
		}
	}
}

// proxyServer is a proxy on loopback that checks credentials and records its requests.
type proxyServer struct {
	*httptest.Server
	mu       sync.Mutex
	received []string
}

func startProxy(t *testing.T, credentials string) *proxyServer {
	t.Helper()
	r := &proxyServer{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.received = append(r.received, request.Method+" "+request.RequestURI+" "+request.UserAgent())
		r.mu.Unlock()
		switch {
		case request.Header.Get("Proxy-Authorization") != credentials:
			w.Header().Set("Proxy-Authenticate", `Basic realm="relay"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
		case request.Method == http.MethodConnect:
			connect(t, w, request.Host)
		default:
			forward(t, w, request)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *proxyServer) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.received)
}

// connect copies between two connections until one of them ends.
func connect(t *testing.T, w http.ResponseWriter, host string) {
	to, err := net.Dial("tcp", host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Errorf("taking the connection: %v", err)
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}

func forward(t *testing.T, w http.ResponseWriter, request *http.Request) {
	request.RequestURI = ""
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Errorf("handing on: %v", err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

// withProxy sets the proxy of a client.
func withProxy(proxy string) func(*site.Options) {
	return func(o *site.Options) {
		u, err := site.ParseProxy(proxy)
		if err != nil {
			panic(err)
		}
		o.Proxy = http.ProxyURL(u)
	}
}

// tlsSite is a fake site with https, and a profile that trusts it.
func tlsSite(t *testing.T) (*httptest.Server, *site.Profile) {
	t.Helper()
	own, authority := newCertificate(t, time.Now().Add(24*time.Hour))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if callOf(r) == "/robots.txt" {
			bodyHandler("User-agent: *\nDisallow: /private\n")(w, r)
		} else {
			bodyHandler(ownBody)(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, profileWithAuthority(t, authority)
}

// TestProxy_HTTPS: a case and robots.txt go through the proxy, with the program's User-Agent, and
// TLS up to the site.
func TestProxy_HTTPS(t *testing.T) {
	t.Parallel()
	server, profile := tlsSite(t)
	for name, test := range map[string]struct{ user, credentials string }{"open": {"", ""},
		"with credentials": {"u:p%40ss@", "Basic dTpwQHNz"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relay := startProxy(t, test.credentials)
			c := newClient(t, server.URL, func(o *site.Options) {
				o.Profile = profile
				withProxy("http://" + test.user + strings.TrimPrefix(relay.URL, "http://"))(o)
			})
			if rules, err := c.Robots(t.Context(), noPause); err != nil || len(rules.Requests) != 1 {
				t.Errorf("robots.txt: %v", err)
			}
			wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
			host := strings.TrimPrefix(server.URL, "https://")
			if diff := cmp.Diff([]string{"CONNECT " + host + " fct-scraper/test (+nobody@court.invalid)"}, relay.requests()); diff != "" {
				t.Errorf("requests to the proxy (-want +got):\n%s", diff)
			}
		})
	}
}

// TestProxy_HTTP: with http the proxy receives the request itself.
func TestProxy_HTTP(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(ownBody)})
	relay := startProxy(t, "")
	c := newClient(t, server.URL, withProxy(relay.URL))
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
	if requests := relay.requests(); len(requests) != 1 || !strings.HasPrefix(requests[0], "GET "+server.URL+"/CourtFilesAndDecisions/proceedingQueriesRE?") {
		t.Errorf("the proxy received %q", requests)
	}
	c = newClient(t, server.URL, withProxy(startProxy(t, "Basic x").URL))
	if _, err := c.Robots(t.Context(), noPause); !errors.Is(err, site.ErrRobotsUnreachable) || !strings.Contains(err.Error(), "the proxy asks for credentials") {
		t.Errorf("robots.txt by a proxy that refuses us: %v", err)
	}
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "status 407: the proxy asks for credentials")
}

// TestProxy_Failures: a failure of the proxy is transient and not a block of the site; the error
// names the proxy without its password.
func TestProxy_Failures(t *testing.T) {
	t.Parallel()
	server, profile := tlsSite(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	responses := func(text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("taking the connection: %v", err)
				return
			}
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for name, test := range map[string]struct{ proxy, complaint string }{
		"gone":        {gone.URL, "proxyconnect tcp: dial tcp"},
		"credentials": {startProxy(t, "Basic x").URL, "does not connect to the site: status 407 Proxy Authentication Required"},
		"forbidden":   {responses("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), "does not connect to the site: status 403 Forbidden"},
		"too many":    {responses("HTTP/1.1 429 Wait\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n"), "status 429 Too Many Requests"},
		"bad gateway": {responses("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"), "status 502 Bad Gateway"},
		"no HTTP":     {responses("banana\r\n\r\n"), "malformed HTTP"},
		"nothing":     {responses(""), "EOF"},
		"plain court": {responses("HTTP/1.1 200 OK\r\n\r\nbanana"), "docket call: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(test.proxy)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, server.URL, func(o *site.Options) {
				o.Profile = profile
				withProxy("http://user:geheim@" + u.Host)(o)
			})
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, contract.VerdictTransient, test.complaint)
			if text := exchanges[len(exchanges)-1].Error; strings.Contains(text, "geheim") {
				t.Errorf("a password in %q", text)
			}
			if _, _, blocked := c.Blocked(caseID(t, "IMM-13-25"), exchanges, exchangeStart); blocked {
				t.Error("it is taken for a block of the site")
			}
		})
	}
}
