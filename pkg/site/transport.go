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

// unrepeatableBody is the empty body of a request that is to leave the machine once. Go's transport repeats a GET by itself when a
// connection that it kept is reset, 0.2 ms later and unseen by any pace; it does so only for requests that it can send
// again, and one with a body of its own it cannot. The body is found empty and not sent.
type unrepeatableBody struct{}

func (unrepeatableBody) Read([]byte) (int, error) { return 0, io.EOF }
func (unrepeatableBody) Close() error             { return nil }

// maxHeader is how large the header of an answer may be.
const maxHeader = 1 << 20

// newTransport makes connections that are kept, HTTP/1.1 only: HTTP/2 repeats requests too, in ways of its own. TLS is
// always verified, by the system's authorities and those that the profile adds.
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

// newDialer dials what guard allows. By a proxy it is the proxy that is dialled, at whatever address it has, and the proxy
// that looks the site up: nothing is left to be checked here.
func newDialer(opts Options) *net.Dialer {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	if opts.Proxy == nil {
		dialer.Control = dialControl(opts.Origin)
	}
	return dialer
}

// dialControl is a dialer's Control that lets a connection go to public addresses and to what the origin itself names. It looks
// at the address that is really dialled, after all look-ups: whoever answers those can make a public name point into this
// machine's own network, and change it between two of them.
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
		return fmt.Errorf("dialling %s: it is no public address, and the base URL does not name it", ip)
	}
}

// originAddresses says which addresses an origin names: the one that it is, or this machine's when it is localhost.
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

// isPublic says whether an address is one of the internet at large. One that carries an IPv4 address is as public as that.
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

// specialPrefixes are the addresses of special use (RFC 6890 and its registry) inside those that would count as public, and one
// public address at which a cloud keeps its machines' secrets; the other such places are link-local, shared or private.
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
