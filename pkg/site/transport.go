package site

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

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
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20",
	} {
		all = append(all, netip.MustParsePrefix(prefix))
	}
	return all
}
