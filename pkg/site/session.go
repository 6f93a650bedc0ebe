package site

import (
	"context"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path"
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
	// maxCookieAge is the longest Max-Age, in seconds: 400 days, as in browsers. The library adds
	// it to the time without a check for an overflow.
	maxCookieAge = 400 * 24 * 60 * 60
)

// jar stores the cookies of one origin and sends them to that origin only, also those for a parent
// domain. It is safe for concurrent use.
type jar struct {
	origin string
	mu     sync.Mutex
	stored *cookiejar.Jar
	// expires is the expiry of each stored cookie, by name and path; zero for a session cookie.
	expires map[string]time.Time
}

func newJar(origin string) *jar {
	stored, _ := cookiejar.New(nil) // New returns no error
	return &jar{origin: parseOrigin(origin), stored: stored, expires: make(map[string]time.Time)}
}

// SetCookies stores the origin's cookies: at most 32, of at most 4 KiB each. It drops larger ones,
// those over the limit, and those of another origin or domain.
func (j *jar) SetCookies(from *url.URL, cookies []*http.Cookie) {
	if canonicalOrigin(from) != j.origin {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(j.expires, func(_ string, at time.Time) bool { return !at.IsZero() && !at.After(now) })
	for _, c := range cookies {
		limited := *c //nolint:gosec // a site's cookie, not one that this program sets
		limited.MaxAge = min(c.MaxAge, maxCookieAge)
		if !strings.HasPrefix(c.Path, "/") { // the default of RFC 6265, section 5.1.4
			limited.Path = path.Dir("/" + from.Path)
		}
		key := c.Name + ";" + limited.Path
		if _, known := j.expires[key]; !known && len(j.expires) >= maxCookies || len(c.Value)+len(key) > maxCookie+1 {
			continue
		}
		j.stored.SetCookies(from, []*http.Cookie{&limited})
		switch j.expires[key] = c.Expires; {
		case c.MaxAge < 0:
			delete(j.expires, key)
		case c.MaxAge > 0:
			j.expires[key] = now.Add(time.Duration(limited.MaxAge) * time.Second)
		}
	}
}

// Cookies returns the cookies for a URL of the origin, longest path first.
func (j *jar) Cookies(to *url.URL) []*http.Cookie {
	if canonicalOrigin(to) != j.origin {
		return nil
	}
	return j.stored.Cookies(to)
}
