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

// session holds the cookies of a site and the hidden inputs that belong to them. A verification
// token has one half in each, so both are replaced together.
type session struct {
	http   *http.Client
	inputs atomic.Pointer[[][2]string] // of the last page
}

// newSession returns a session without cookies.
func (c *Client) newSession() *session {
	return &session{http: &http.Client{Transport: c.Transport, Jar: newJar(c.Origin), CheckRedirect: keepRedirect}}
}

// setInputs replaces the hidden inputs by those of a newer page; without any it changes nothing.
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

// sessions holds the client's current session, shared by all attempts, and allows one attempt at a
// time to create a new one.
type sessions struct {
	current  atomic.Pointer[session] // nil at first
	creating chan struct{}
}

// currentUnless returns the current session, or nil if it is the stale one.
func (s *sessions) currentUnless(stale *session) *session {
	if current := s.current.Load(); current != stale {
		return current
	}
	return nil
}

// lock waits until no other attempt creates a session.
func (s *sessions) lock(ctx context.Context) (end func(), err error) {
	select {
	case s.creating <- struct{}{}:
		return func() { <-s.creating }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Limits of the cookies that a site may set.
const (
	maxCookies = 32
	maxCookie  = 4 << 10 // bytes, of name, value and path together
)

// jar stores the cookies of one origin and sends them to that origin only. It is safe for
// concurrent use.
type jar struct {
	origin  string
	mu      sync.Mutex
	cookies []storedCookie
}

// storedCookie is a cookie with its path and expiry; a zero expiry means a session cookie.
type storedCookie struct {
	cookie  http.Cookie
	path    string
	expires time.Time
}

func newJar(origin string) *jar { return &jar{origin: parseOrigin(origin)} }

// SetCookies stores the origin's cookies: at most 32, of at most 4 KiB each. It drops larger ones,
// those over the limit, and those of another origin or domain.
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

// Cookies returns the cookies for a URL of the origin, longest path first.
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

// newStoredCookie applies the storage rules of RFC 6265, sections 5.2 and 5.3.
func newStoredCookie(c *http.Cookie, from *url.URL, now time.Time) storedCookie {
	k := storedCookie{cookie: *c, path: c.Path, expires: c.Expires}
	if !strings.HasPrefix(k.path, "/") {
		k.path = from.Path[:max(strings.LastIndexByte(from.Path, '/'), 0)]
		if k.path == "" {
			k.path = "/"
		}
	}
	const longest = 400 * 24 * time.Hour // as in browsers; avoids overflow
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

// matchesDomain reports whether a cookie's domain is the host or a parent of it. Even then the
// cookie is sent to the host only.
func matchesDomain(domain, host string) bool {
	domain = strings.TrimPrefix(strings.ToLower(domain), ".")
	host = strings.ToLower(host)
	return domain == "" || domain == host || strings.HasSuffix(host, "."+domain)
}
