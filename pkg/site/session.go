package site

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// session is one visit at a site: its cookies, and the hidden inputs that belong to them. The two halves of a token are of
// one session, so that a session is given up whole.
type session struct {
	http   *http.Client
	inputs atomic.Pointer[[][2]string] // those of the last page; the ones before it stay good until they go stale
}

// newSession is one without cookies.
func (c *Client) newSession() *session {
	return &session{http: &http.Client{Transport: c.Transport, Jar: newJar(c.Origin), CheckRedirect: keepRedirect}}
}

// setInputs takes the hidden inputs of a page that came in this session; a page without any changes nothing.
func (s *session) setInputs(inputs [][2]string) {
	if len(inputs) > 0 {
		s.inputs.Store(&inputs)
	}
}

func (s *session) hiddenInputs() [][2]string {
	if inputs := s.inputs.Load(); inputs != nil {
		return *inputs
	}
	return nil
}

// sessions are a client's: one at a time, shared by all who ask, and one new one at a time.
type sessions struct {
	current  atomic.Pointer[session] // nil before the first
	creating chan struct{}
}

// currentUnless is the current session if it is not the one that has gone stale; else nil.
func (s *sessions) currentUnless(worn *session) *session {
	if current := s.current.Load(); current != worn {
		return current
	}
	return nil
}

// lock waits until nobody else begins a session.
func (s *sessions) lock(ctx context.Context) (end func(), err error) {
	select {
	case s.creating <- struct{}{}:
		return func() { <-s.creating }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Limits of what a site may have kept.
const (
	maxCookies = 32
	maxCookie  = 4 << 10 // bytes, of name, value and path together
)

// jar keeps the cookies of one origin, and gives them to it alone. It is used by many goroutines.
type jar struct {
	origin  string
	mu      sync.Mutex
	cookies []storedCookie
}

// storedCookie is a cookie with the path and the end that it was accepted with; the end is zero for one that lasts as long as
// the jar.
type storedCookie struct {
	cookie  http.Cookie
	path    string
	expires time.Time
}

func newJar(origin string) *jar { return &jar{origin: parseOrigin(origin)} }

// SetCookies keeps what the origin wants kept: at most 32 cookies of at most 4 KiB. What is larger is not kept, nor what
// comes after they are full, or from or for somewhere else.
func (j *jar) SetCookies(from *url.URL, cookies []*http.Cookie) {
	if canonicalOrigin(from) != j.origin {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	j.cookies = slices.DeleteFunc(j.cookies, func(k storedCookie) bool { return k.expired(now) })
	for _, c := range cookies {
		k := newStoredCookie(c, from, now)
		j.cookies = slices.DeleteFunc(j.cookies, func(old storedCookie) bool { return old.cookie.Name == c.Name && old.path == k.path })
		if matchesDomain(c.Domain, from.Hostname()) && !k.expired(now) && len(c.Name)+len(c.Value)+len(k.path) <= maxCookie && len(j.cookies) < maxCookies {
			j.cookies = append(j.cookies, k)
		}
	}
}

// Cookies are those for a URL of the origin, the ones with the longest path first.
func (j *jar) Cookies(to *url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.cookies) == 0 || canonicalOrigin(to) != j.origin {
		return nil
	}
	now := time.Now()
	var sent []storedCookie
	for _, k := range j.cookies {
		if !k.expired(now) && k.matchesPath(to.Path) && (!k.cookie.Secure || to.Scheme == "https") {
			sent = append(sent, k)
		}
	}
	slices.SortStableFunc(sent, func(a, b storedCookie) int { return len(b.path) - len(a.path) })
	cookies := make([]*http.Cookie, len(sent))
	for i := range sent {
		cookies[i] = &sent[i].cookie
	}
	return cookies
}

// newStoredCookie is a cookie as it is kept (RFC 6265, 5.2 and 5.3).
func newStoredCookie(c *http.Cookie, from *url.URL, now time.Time) storedCookie {
	k := storedCookie{cookie: *c, path: c.Path, expires: c.Expires}
	if !strings.HasPrefix(k.path, "/") {
		k.path = from.Path[:max(strings.LastIndexByte(from.Path, '/'), 0)]
		if k.path == "" {
			k.path = "/"
		}
	}
	const longest = 400 * 24 * time.Hour // as browsers have it; more seconds than that may not fit a duration
	switch {
	case c.MaxAge < 0:
		k.expires = now
	case c.MaxAge > 0:
		k.expires = now.Add(min(time.Duration(min(c.MaxAge, int(longest/time.Second)))*time.Second, longest))
	}
	return k
}

func (k storedCookie) expired(now time.Time) bool {
	return !k.expires.IsZero() && !k.expires.After(now)
}

func (k storedCookie) matchesPath(path string) bool {
	if path == "" {
		path = "/"
	}
	rest, below := strings.CutPrefix(path, k.path)
	return below && (rest == "" || rest[0] == '/' || strings.HasSuffix(k.path, "/"))
}

// matchesDomain says whether a cookie's domain is the host or one above it. It goes to the host alone even so.
func matchesDomain(domain, host string) bool {
	domain = strings.TrimPrefix(strings.ToLower(domain), ".")
	host = strings.ToLower(host)
	return domain == "" || domain == host || strings.HasSuffix(host, "."+domain)
}
