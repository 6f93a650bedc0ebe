package site

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// once is the empty body of a request that is to leave the machine once. Go's transport repeats a GET by itself when a
// connection that it kept is reset, 0.2 ms later and unseen by any pace; it does so only for requests that it can send
// again, and one with a body of its own it cannot. The body is found empty and not sent.
type once struct{}

func (once) Read([]byte) (int, error) { return 0, io.EOF }
func (once) Close() error             { return nil }

// maxHeader is how large the header of an answer may be.
const maxHeader = 1 << 20

// newTransport makes connections that are kept, HTTP/1.1 only: HTTP/2 repeats requests too, in ways of its own.
func newTransport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  proxy,
		Protocols:              protocols,
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    15 * time.Second,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}
