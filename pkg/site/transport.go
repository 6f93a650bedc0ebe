package site

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
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
