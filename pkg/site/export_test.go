package site

import (
	"net"
	"net/http"
	"time"
)

// Internals that the tests need.
var (
	ParseDay        = parseDay
	RetryAfter      = retryAfter
	NormalizeCaseID = normalizeCaseID
)

// MaxLargeBodies is how many large bodies a client reads at a time.
const MaxLargeBodies = maxLargeBodies

// MaxWait limits the wait that a site can request.
const MaxWait = maxWait

// NewJar returns a client's cookie jar.
func NewJar(origin string) http.CookieJar { return newJar(origin) }

// The limits of a jar.
const (
	MaxCookies = maxCookies
	MaxCookie  = maxCookie
)

// BlockTexts returns the block texts of a profile, in lower case.
func BlockTexts(p *Profile) []string {
	var texts []string
	for _, rule := range p.blocks {
		for _, text := range rule.texts {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// DialControl returns the Control function of a client's dialer.
var DialControl = dialControl

// NewTransportWithResolver returns a client's own transport with another DNS resolver.
func NewTransportWithResolver(opts Options, resolver *net.Resolver) *http.Transport {
	transport, dialer := newTransport(opts), newDialer(opts)
	dialer.Resolver = resolver
	transport.DialContext = dialer.DialContext
	return transport
}

// ParseRobots reports whether a robots.txt allows a path, and returns its crawl delay.
func ParseRobots(text []byte, path string) (bool, time.Duration) {
	rules := parseRobots(text)
	return rules.allows(path), rules.delay
}
