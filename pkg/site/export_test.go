package site

import "net/http"

// What the tests look at from inside.
var (
	Day        = day
	RetryAfter = retryAfter
	Normalized = normalized
)

// MaxWait is the longest that a site is believed.
const MaxWait = maxWait

// NewJar is a client's jar of cookies.
func NewJar(origin string) http.CookieJar { return newJar(origin) }

// The limits of a jar.
const (
	MaxCookies = maxCookies
	MaxCookie  = maxCookie
)
