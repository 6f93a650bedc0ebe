package site

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of what a site may have kept.
const (
	maxCookies = 32
	maxCookie  = 4 << 10 // bytes, of name, value and path together
)

// jar keeps the cookies of one origin, and gives them to it alone. It is used by many goroutines.
type jar struct {
	origin  string
	mu      sync.Mutex
	cookies []kept
}

// kept is a cookie with the path and the end that it was accepted with; the end is zero for one that lasts as long as
// the jar.
type kept struct {
	cookie  http.Cookie
	path    string
	expires time.Time
}

func newJar(origin string) *jar { return &jar{origin: originOf(origin)} }

// SetCookies keeps what the origin wants kept: at most 32 cookies of at most 4 KiB. What is larger is not kept, nor what
// comes after they are full, or from or for somewhere else.
func (j *jar) SetCookies(from *url.URL, cookies []*http.Cookie) {
	if canonical(from) != j.origin {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	j.cookies = slices.DeleteFunc(j.cookies, func(k kept) bool { return k.over(now) })
	for _, c := range cookies {
		k := keep(c, from, now)
		j.cookies = slices.DeleteFunc(j.cookies, func(old kept) bool { return old.cookie.Name == c.Name && old.path == k.path })
		if own(c.Domain, from.Hostname()) && !k.over(now) && len(c.Name)+len(c.Value)+len(k.path) <= maxCookie && len(j.cookies) < maxCookies {
			j.cookies = append(j.cookies, k)
		}
	}
}

// Cookies are those for a URL of the origin, the ones with the longest path first.
func (j *jar) Cookies(to *url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.cookies) == 0 || canonical(to) != j.origin {
		return nil
	}
	now := time.Now()
	var sent []kept
	for _, k := range j.cookies {
		if !k.over(now) && k.covers(to.Path) && (!k.cookie.Secure || to.Scheme == "https") {
			sent = append(sent, k)
		}
	}
	slices.SortStableFunc(sent, func(a, b kept) int { return len(b.path) - len(a.path) })
	cookies := make([]*http.Cookie, len(sent))
	for i := range sent {
		cookies[i] = &sent[i].cookie
	}
	return cookies
}

// keep is a cookie as it is kept (RFC 6265, 5.2 and 5.3).
func keep(c *http.Cookie, from *url.URL, now time.Time) kept {
	k := kept{cookie: *c, path: c.Path, expires: c.Expires}
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

func (k kept) over(now time.Time) bool { return !k.expires.IsZero() && !k.expires.After(now) }

func (k kept) covers(path string) bool {
	if path == "" {
		path = "/"
	}
	rest, below := strings.CutPrefix(path, k.path)
	return below && (rest == "" || rest[0] == '/' || strings.HasSuffix(k.path, "/"))
}

// own says whether a cookie's domain is the host or one above it. It goes to the host alone even so.
func own(domain, host string) bool {
	domain = strings.TrimPrefix(strings.ToLower(domain), ".")
	host = strings.ToLower(host)
	return domain == "" || domain == host || strings.HasSuffix(host, "."+domain)
}
