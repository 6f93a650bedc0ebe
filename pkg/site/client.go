package site

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/sanitize"

	"golang.org/x/net/http/httpproxy"
)

// Options of a Client.
type Options struct {
	Profile *Profile
	// Origin overrides the profile's origin.
	Origin    string
	UserAgent string
	// RequestTimeout limits one exchange including its body. JobTimeout limits a case, counted from
	// its first request. Both must be positive.
	RequestTimeout, JobTimeout time.Duration
	// MaxBody is the largest body after decompression, in bytes; at least 1.
	MaxBody int64
	// Cooldown is the minimum duration of a block whose Retry-After cannot be read completely; 0 or
	// more.
	Cooldown time.Duration
	// Parties fetches the parties of a case too, with one more call.
	Parties bool
	// Proxy returns the proxy of a request; nil uses none.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport replaces the client's own transport. It must not repeat requests by itself.
	Transport http.RoundTripper
}

// Client sends requests to one site. It is safe for concurrent use.
type Client struct {
	Options
	http *http.Client // has no cookie jar
	// largeBodies is a semaphore for reading large bodies.
	largeBodies chan struct{}
	// released are buffers of bodies that are no longer used.
	released   sync.Pool
	sessions   sessions
	queryForms queryForms
}

// NewClient returns a client. An error about the origin wraps ErrProfile. The caller must Close the
// client.
func NewClient(opts Options) (*Client, error) {
	if opts.Profile == nil {
		return nil, errors.New("creating a site client: no profile")
	}
	if opts.RequestTimeout <= 0 || opts.JobTimeout <= 0 || opts.MaxBody < 1 || opts.MaxBody == math.MaxInt64 {
		return nil, fmt.Errorf("creating a site client: request timeout %s, job timeout %s, largest body %d: allowed is more than 0",
			opts.RequestTimeout, opts.JobTimeout, opts.MaxBody)
	}
	if opts.Origin == "" {
		opts.Origin = opts.Profile.Origin
	}
	if err := CheckOrigin(opts.Origin); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProfile, opts.Profile.Name, err)
	}
	opts.Origin = strings.TrimSuffix(opts.Origin, "/")
	if opts.Transport == nil {
		opts.Transport = newTransport(opts)
	}
	c := &Client{
		Options: opts, http: &http.Client{Transport: opts.Transport, CheckRedirect: keepRedirect},
		largeBodies: make(chan struct{}, maxLargeBodies), sessions: sessions{creating: make(chan struct{}, 1)},
	}
	if opts.Profile.tokens == nil {
		c.sessions.current.Store(c.newSession())
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// keepRedirect returns redirects to the caller. If net/http followed them, those requests would
// ignore the pause.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Blocked is Profile.Blocked, except that wait is at least Cooldown if a part of the site's
// Retry-After cannot be read.
func (c *Client) Blocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time,
) (rule string, wait time.Duration, blocked bool) {
	return c.Profile.attemptBlocked(id, exchanges, now, c.Cooldown)
}

// RetryAfter returns the wait that a response requests; 0 if none, at most a day.
func (c *Client) RetryAfter(exchange contract.Exchange, now time.Time) time.Duration {
	return retryAfter(exchange.RetryAfter, now, 0)
}

// timeouts are the timeouts set on a context; 0 means the client's.
type timeouts struct{ request, job time.Duration }

type timeoutsKey struct{}

// WithTimeouts returns a context for Fetch and Robots with other timeouts than the client's
// RequestTimeout and JobTimeout; 0 keeps the client's.
func WithTimeouts(ctx context.Context, request, job time.Duration) context.Context {
	return context.WithValue(ctx, timeoutsKey{}, timeouts{request, job})
}

type headerKey struct{}

// WithHeader returns a context for Fetch that makes the call for the header of a case also if
// another call has shown the case.
func WithHeader(ctx context.Context) context.Context {
	return context.WithValue(ctx, headerKey{}, true)
}

// timeouts returns the timeouts in force for ctx.
func (c *Client) timeouts(ctx context.Context) timeouts {
	given, _ := ctx.Value(timeoutsKey{}).(timeouts)
	return timeouts{request: cmp.Or(given.request, c.RequestTimeout), job: cmp.Or(given.job, c.JobTimeout)}
}

// CheckOrigin reports whether text is a valid origin of a site: https, or http for a loopback host,
// with nothing after host and port.
func CheckOrigin(text string) error {
	const allowed = "allowed is https://host[:port], or http:// to this machine alone, " +
		"without path, query or fragment, the port from 1 to 65535"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error repeats the text, which may hold a password.
		return fmt.Errorf("origin: %s: not a URL", allowed)
	case u.User != nil:
		return fmt.Errorf("origin %q: %s, without credentials", u.Redacted(), allowed)
	case !isOrigin(u) || u.Scheme != "https" && (u.Scheme != "http" || !loopback.IsHost(u.Hostname())):
		return fmt.Errorf("origin %.100q: %s", text, allowed)
	default:
		return nil
	}
}

// isOrigin reports whether a URL consists of scheme, valid host and optional port only.
func isOrigin(u *url.URL) bool {
	return isHost(u.Hostname()) && (u.Port() == "" || isPort(u.Port())) && !strings.HasSuffix(u.Host, ":") &&
		u.Opaque == "" && strings.TrimSuffix(u.Path, "/") == "" &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// isHost reports whether text is an IP address or can be a host name.
func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	outside := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_", r)
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	return text != "" && len(text) <= 253 && !strings.ContainsFunc(text, outside) && !slices.Contains(labels, "")
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// Loopback is the name that NameOf returns for every loopback origin.
const Loopback = "loopback"

// NameOf returns the name of the site behind an origin: scheme, host and port in lower case,
// without the scheme's default port. All loopback origins are one site, Loopback, because a
// simulator gets a new port with each start. A text that is not an origin is returned unchanged.
func NameOf(origin string) string {
	u, err := url.Parse(strings.ToLower(strings.TrimSuffix(origin, "/")))
	if err != nil || u.Host == "" {
		return origin
	}
	host, port := strings.TrimSuffix(u.Hostname(), "."), u.Port()
	if loopback.IsHost(host) {
		return Loopback
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

// unrepeatableBody is an empty request body that stops Go's transport from repeating a GET. The
// transport does so when a reused connection is reset: 0.2 ms later, ignoring the pause. It repeats
// only requests whose body it can send again. The body is read as empty and not sent.
type unrepeatableBody struct{}

func (unrepeatableBody) Read([]byte) (int, error) { return 0, io.EOF }
func (unrepeatableBody) Close() error             { return nil }

// maxHeader is the largest response header, in bytes.
const maxHeader = 1 << 20

// newTransport returns a transport with keep-alive connections and HTTP/1.1 only, because HTTP/2
// has its own automatic repeats. TLS is always verified, against the system's authorities and those
// of the profile.
func newTransport(opts Options) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  opts.Proxy,
		ProxyConnectHeader:     http.Header{"User-Agent": {opts.UserAgent}},
		OnProxyConnectResponse: proxyConnectError,
		Protocols:              protocols,
		DialContext:            newDialer(opts).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.Profile.authorities},
		TLSHandshakeTimeout:    15 * time.Second,
		DisableCompression:     true, // see decodedBody
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// newDialer returns a dialer restricted by dialControl. With a proxy it is unrestricted: it dials
// the proxy, which may have any address and resolves the site's name itself.
func newDialer(opts Options) *net.Dialer {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	if opts.Proxy == nil {
		dialer.Control = dialControl(opts.Origin)
	}
	return dialer
}

// dialControl returns a net.Dialer.Control that allows public addresses and the address that the
// origin names. It checks the address actually dialled, after DNS: whoever controls the name could
// let it resolve to an address of the local network, and change it between two lookups.
func dialControl(origin string) func(network, address string, _ syscall.RawConn) error {
	names := originAddresses(origin)
	inner := specialPrefixes()
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dialling %.60q: not an address", address)
		}
		ip := to.Addr().Unmap().WithZone("")
		if names(ip) || isPublic(ip, inner) {
			return nil
		}
		return fmt.Errorf("dialling %s: not a public address, and not the address in the base URL", ip)
	}
}

// originAddresses returns a function that matches the origin's own address, or any loopback address
// for localhost.
func originAddresses(origin string) func(netip.Addr) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return func(netip.Addr) bool { return false }
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return netip.Addr.IsLoopback
	}
	own, err := netip.ParseAddr(u.Hostname())
	own = own.Unmap().WithZone("")
	return func(ip netip.Addr) bool { return err == nil && ip == own }
}

// isPublic reports whether an address is globally routable. An address that embeds an IPv4 address
// is as public as that one.
func isPublic(ip netip.Addr, inner []netip.Prefix) bool {
	if slices.ContainsFunc(inner, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return false
	}
	bytes := ip.As16()
	switch {
	case ip.Is4():
		return true
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip): // NAT64
		return isPublic(netip.AddrFrom4([4]byte(bytes[12:])), inner)
	case netip.MustParsePrefix("2002::/16").Contains(ip): // 6to4
		return isPublic(netip.AddrFrom4([4]byte(bytes[2:6])), inner)
	default:
		return netip.MustParsePrefix("2000::/3").Contains(ip)
	}
}

// specialPrefixes returns the special-purpose ranges (RFC 6890 and its registry) within those that
// isPublic would accept, and one public address of a cloud metadata service; the other such
// services use link-local, shared or private addresses.
func specialPrefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, prefix := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
		"240.0.0.0/4",
		"168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20",
	} {
		all = append(all, netip.MustParsePrefix(prefix))
	}
	return all
}

// NoProxy is the setting that disables proxies, including those from the environment.
const NoProxy = "none"

const proxyFormats = "allowed is [scheme://][user:password@]host[:port], the scheme http, https, socks5 or socks5h"

// FindProxy returns the proxy for requests to an origin, nil for none. The setting takes precedence
// over HTTPS_PROXY and HTTP_PROXY, which are read in upper and lower case as Go does. NO_PROXY
// lists hosts to reach directly. A proxy from the environment is never used for a loopback host.
// The error may name the variable but contains no password.
func FindProxy(origin, setting string, variable func(name string) string) (*url.URL, error) {
	target, err := url.Parse(origin)
	if err != nil || setting == NoProxy {
		return nil, nil //nolint:nilerr // an origin is checked by NewClient
	}
	either := func(name string) (value, from string) {
		if value := variable(name); value != "" {
			return value, name
		}
		return variable(strings.ToLower(name)), strings.ToLower(name)
	}
	except, _ := either("NO_PROXY")
	if setting != "" {
		if isExcepted(target, except) {
			return nil, nil
		}
		return ParseProxy(setting)
	}
	text, from := either(strings.ToUpper(target.Scheme) + "_PROXY")
	if text == "" || loopback.IsHost(target.Hostname()) || isExcepted(target, except) {
		return nil, nil
	}
	proxy, err := ParseProxy(text)
	if err != nil {
		return nil, fmt.Errorf("$%s: %w", from, err)
	}
	return proxy, nil
}

// isExcepted reports whether NO_PROXY covers the host of a URL. The library never uses a proxy for
// loopback hosts, so those are matched here, for a proxy that was set explicitly.
func isExcepted(target *url.URL, except string) bool {
	config := httpproxy.Config{HTTPProxy: "http://proxy.invalid", HTTPSProxy: "http://proxy.invalid", NoProxy: except}
	if !loopback.IsHost(target.Hostname()) {
		proxy, err := config.ProxyFunc()(target)
		return err == nil && proxy == nil
	}
	return slices.ContainsFunc(strings.Split(except, ","), func(entry string) bool {
		entry = strings.Trim(strings.ToLower(strings.TrimSpace(entry)), "[]")
		host := strings.ToLower(target.Hostname())
		address, err := netip.ParseAddr(host)
		network, notNetwork := netip.ParsePrefix(entry)
		return entry == "*" || entry == host || entry == strings.ToLower(target.Host) ||
			err == nil && notNetwork == nil && network.Contains(address)
	})
}

// ParseProxy parses the address of a proxy; the default scheme is http. Its error contains no
// password.
func ParseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	proxy, err := url.Parse(text)
	if err != nil { // its text may hold the password
		return nil, fmt.Errorf("proxy: not a URL: %s", proxyFormats)
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) || !isOrigin(proxy) {
		shown := *proxy
		shown.User = nil
		return nil, fmt.Errorf("proxy %s: %s", sanitize.Truncate(shown.String(), 100), proxyFormats)
	}
	return proxy, nil
}

// proxyConnectError describes a proxy's refusal to connect; the transport's own error is a bare
// status.
func proxyConnectError(_ context.Context, proxy *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s does not connect to the site: status %d %s",
		proxy.Host, response.StatusCode, http.StatusText(response.StatusCode))
}

// BeforeRequest waits until a request may be sent and returns the time since the previous request
// started. Its error ends the attempt.
type BeforeRequest func(ctx context.Context) (sincePrevious time.Duration, err error)

// request is an HTTP request, for a case or for robots.txt.
type request struct {
	call, method, url string
	// form is the body of a POST.
	form string
}

// exchange sends a request in a session and reads the complete response; location is the target of
// a redirect.
func (c *Client) exchange(
	ctx context.Context, r request, s *session, id contract.CaseID, gap time.Duration,
) (x contract.Exchange, location string) {
	x = contract.Exchange{Call: r.call, URL: r.url, GapSeconds: gap.Seconds()}
	started := time.Now()
	x.StartedAt = started.UTC()
	limit := c.timeouts(ctx).request
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var conn connTrace
	location, err := c.do(conn.trace(ctx), r, s, &x, id)
	x.Unsent = conn.failed() || x.Status == http.StatusProxyAuthRequired
	x.Seconds = time.Since(started).Seconds()
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errJobTimeout):
		x.Error = c.jobTimeoutText(ctx)
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		x.Error = fmt.Sprintf("request_timeout: longer than %s", limit)
	default:
		x.Error = errorText(err)
	}
	return x, location
}

// do sends the request and fills in the exchange. A body that breaks off is kept up to that point.
// A request for robots.txt needs none of the profile's headers.
func (c *Client) do(
	ctx context.Context, r request, s *session, x *contract.Exchange, id contract.CaseID,
) (location string, err error) {
	request, err := r.build(ctx)
	if err != nil {
		return "", err
	}
	readBody := readRobots
	if r.call != robotsCall {
		readBody = c.readBody
		for name, value := range c.Profile.headers {
			request.Header.Set(name, c.Profile.expand(value, c.Origin, id))
		}
	}
	request.Header.Set("User-Agent", c.UserAgent)
	request.Header.Set("Accept-Encoding", acceptEncoding)
	response, err := s.http.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // the body was read, or is not needed
	x.Status = response.StatusCode
	x.ContentType = headerText(response, "Content-Type")
	x.RetryAfter = headerText(response, "Retry-After")
	x.BlockHeader = c.Profile.blockHeader(response.Header)
	body, unknown := decodedBody(response)
	x.Body, err = readBody(ctx, body, response.ContentLength)
	if unknown != nil {
		err = unknown
	}
	return response.Header.Get("Location"), err
}

// build returns the HTTP request. The transport cannot repeat it, see unrepeatableBody: a form has
// no GetBody either.
func (r request) build(ctx context.Context) (*http.Request, error) {
	if r.method != http.MethodPost {
		req, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
		if err == nil {
			req.Body = unrepeatableBody{}
		}
		return req, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.form))
	if err == nil {
		req.GetBody = nil
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

// headerText returns a header's values joined and truncated, because they are stored with every
// response.
func headerText(response *http.Response, name string) string {
	return sanitize.Truncate(strings.Join(response.Header.Values(name), ", "), 200)
}

// errorText returns the text of an error without its URL, which the exchange has already. It is
// truncated, because some errors quote what the site sent.
func errorText(err error) string {
	if around, found := errors.AsType[*url.Error](err); found {
		err = around.Err
	}
	return sanitize.Truncate(err.Error(), 300)
}

type requestSentKey struct{}

// WithRequestSent returns a context for Fetch. It calls started each time a request was written or
// could not be written, from the goroutine that writes it, so started must be quick.
func WithRequestSent(ctx context.Context, started func()) context.Context {
	return context.WithValue(ctx, requestSentKey{}, started)
}

// RequestSent calls the function of WithRequestSent, if ctx has one. A site that is no Client calls it
// when it has written a request.
func RequestSent(ctx context.Context) {
	if started, ok := ctx.Value(requestSentKey{}).(func()); ok {
		started()
	}
}

// connTrace records whether the transport obtained a connection for a request.
type connTrace struct{ requested, obtained atomic.Bool }

// trace returns the context of the request. It has one trace for both purposes: net/http combines
// several by reflection.
func (c *connTrace) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { c.requested.Store(true) },
		GotConn:      func(httptrace.GotConnInfo) { c.obtained.Store(true) },
		WroteRequest: func(httptrace.WroteRequestInfo) { RequestSent(ctx) },
	})
}

// failed reports whether no connection could be made.
func (c *connTrace) failed() bool { return c.requested.Load() && !c.obtained.Load() }

// maxRedirects is how many redirects in a row are followed.
const maxRedirects = 3

// redirectTarget returns the request that a response redirects to. It stays within the origin and
// uses GET: a form is never posted again, although 307 and 308 ask for that.
func (c *Client) redirectTarget(r request, x contract.Exchange, location string) (request, bool) {
	if x.Error != "" || !isRedirect(x.Status) || r.method != http.MethodGet &&
		x.Status >= http.StatusTemporaryRedirect {
		return request{}, false
	}
	to, err := c.sameOriginTarget(x.URL, location)
	return request{call: r.call, method: http.MethodGet, url: to}, err == nil
}

// sameOriginTarget returns the target of a redirect, without its fragment, if it is at the site's
// origin.
func (c *Client) sameOriginTarget(from, location string) (string, error) {
	at, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	to, err := at.Parse(location)
	if err != nil || location == "" {
		return "", fmt.Errorf("a redirect to %.100q", location)
	}
	if to.User != nil || to.Opaque != "" || canonicalOrigin(to) != parseOrigin(c.Origin) {
		return "", fmt.Errorf("redirected to %.100q, which is not at the origin %s", to.Redacted(), c.Origin)
	}
	to.Fragment, to.RawFragment = "", ""
	return to.String(), nil
}

func isRedirect(status int) bool {
	return slices.Contains([]int{
		http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect,
	}, status)
}

// wasFollowed reports whether the next exchange is the target of this redirect.
func wasFollowed(exchanges []contract.Exchange, index int) bool {
	return isRedirect(exchanges[index].Status) && index+1 < len(exchanges) &&
		exchanges[index+1].Call == exchanges[index].Call
}

// canonicalOrigin returns scheme, host and port of a URL in a form that can be compared.
func canonicalOrigin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// parseOrigin returns the canonical form of a checked origin.
func parseOrigin(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return canonicalOrigin(u)
}
