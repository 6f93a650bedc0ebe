package site

import (
	"net"
	"net/http"
	"time"
)

// What the tests look at from inside.
var (
	ParseDay        = parseDay
	RetryAfter      = retryAfter
	NormalizeCaseID = normalizeCaseID
)

// MaxLargeBodies is how many large answers a client reads at a time.
const MaxLargeBodies = maxLargeBodies

// MaxWait is the longest that a site is believed.
const MaxWait = maxWait

// NewJar is a client's jar of cookies.
func NewJar(origin string) http.CookieJar { return newJar(origin) }

// The limits of a jar.
const (
	MaxCookies = maxCookies
	MaxCookie  = maxCookie
)

// BlockTexts are the texts of a profile's blocks, in small letters.
func BlockTexts(p *Profile) []string {
	var texts []string
	for _, rule := range p.blocks {
		for _, text := range rule.texts {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// DialControl is what a dialer is held by.
var DialControl = dialControl

// NewTransportWithResolver is a client's own transport that looks names up by another resolver.
func NewTransportWithResolver(opts Options, resolver *net.Resolver) *http.Transport {
	transport, dialer := newTransport(opts), newDialer(opts)
	dialer.Resolver = resolver
	transport.DialContext = dialer.DialContext
	return transport
}

// ParseRobots says what a robots.txt says of a path, and how long to wait between requests.
func ParseRobots(text []byte, path string) (bool, time.Duration) {
	rules := parseRobots(text)
	return rules.allows(path), rules.delay
}
