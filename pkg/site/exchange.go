package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// BeforeRequest waits until a request may be sent and returns the time since the previous request
// started. Its error ends the attempt.
type BeforeRequest func(ctx context.Context) (sincePrevious time.Duration, err error)

// request is an HTTP request, for a case or for robots.txt.
type request struct {
	call, method, url string
	// form is the body of a POST.
	form string
}

// exchange sends a request in a session and reads the complete response; location is the target of
// a redirect.
func (c *Client) exchange(
	ctx context.Context, r request, s *session, id contract.CaseID, gap time.Duration,
) (x contract.Exchange, location string) {
	x = contract.Exchange{Call: r.call, URL: r.url, GapSeconds: gap.Seconds()}
	started := time.Now()
	x.StartedAt = started.UTC()
	limit := c.timeouts(ctx).request
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var conn connTrace
	location, err := c.do(conn.trace(ctx), r, s, &x, id)
	x.Unsent = conn.failed() || x.Status == http.StatusProxyAuthRequired
	x.Seconds = time.Since(started).Seconds()
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errJobTimeout):
		x.Error = c.jobTimeoutText(ctx)
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		x.Error = fmt.Sprintf("request_timeout: longer than %s", limit)
	default:
		x.Error = errorText(err)
	}
	return x, location
}

// do sends the request and fills in the exchange. A body that breaks off is kept up to that point.
// A request for robots.txt needs none of the profile's headers.
func (c *Client) do(
	ctx context.Context, r request, s *session, x *contract.Exchange, id contract.CaseID,
) (location string, err error) {
	request, err := r.build(ctx)
	if err != nil {
		return "", err
	}
	readBody := readRobots
	if r.call != robotsCall {
		readBody = c.readBody
		for name, value := range c.Profile.headers {
			request.Header.Set(name, c.Profile.expand(value, c.Origin, id))
		}
	}
	request.Header.Set("User-Agent", c.UserAgent)
	request.Header.Set("Accept-Encoding", acceptEncoding)
	response, err := s.http.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // the body was read, or is not needed
	x.Status = response.StatusCode
	x.ContentType = headerText(response, "Content-Type")
	x.RetryAfter = headerText(response, "Retry-After")
	x.BlockHeader = c.Profile.blockHeader(response.Header)
	body, unknown := decodedBody(response)
	x.Body, err = readBody(ctx, body, response.ContentLength)
	if unknown != nil {
		err = unknown
	}
	return response.Header.Get("Location"), err
}

// build returns the HTTP request. The transport cannot repeat it, see unrepeatableBody: a form has
// no GetBody either.
func (r request) build(ctx context.Context) (*http.Request, error) {
	if r.method != http.MethodPost {
		req, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
		if err == nil {
			req.Body = unrepeatableBody{}
		}
		return req, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.form))
	if err == nil {
		req.GetBody = nil
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

// headerText returns a header's values joined and truncated, because they are stored with every
// response.
func headerText(response *http.Response, name string) string {
	return sanitize.Truncate(strings.Join(response.Header.Values(name), ", "), 200)
}

// errorText returns the text of an error without its URL, which the exchange has already. It is
// truncated, because some errors quote what the site sent.
func errorText(err error) string {
	if around, found := errors.AsType[*url.Error](err); found {
		err = around.Err
	}
	return sanitize.Truncate(err.Error(), 300)
}

type requestSentKey struct{}

// WithRequestSent returns a context for Fetch. It calls started each time a request was written or
// could not be written, from the goroutine that writes it, so started must be quick.
func WithRequestSent(ctx context.Context, started func()) context.Context {
	return context.WithValue(ctx, requestSentKey{}, started)
}

// connTrace records whether the transport obtained a connection for a request.
type connTrace struct{ requested, obtained atomic.Bool }

// trace returns the context of the request. It has one trace for both purposes: net/http combines
// several by reflection.
func (c *connTrace) trace(ctx context.Context) context.Context {
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { c.requested.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.obtained.Store(true) },
	}
	if started, ok := ctx.Value(requestSentKey{}).(func()); ok {
		trace.WroteRequest = func(httptrace.WroteRequestInfo) { started() }
	}
	return httptrace.WithClientTrace(ctx, trace)
}

// failed reports whether no connection could be made.
func (c *connTrace) failed() bool { return c.requested.Load() && !c.obtained.Load() }

// maxRedirects is how many redirects in a row are followed.
const maxRedirects = 3

// redirectTarget returns the request that a response redirects to. It stays within the origin and
// uses GET: a form is never posted again, although 307 and 308 ask for that.
func (c *Client) redirectTarget(r request, x contract.Exchange, location string) (request, bool) {
	if x.Error != "" || !isRedirect(x.Status) || r.method != http.MethodGet &&
		x.Status >= http.StatusTemporaryRedirect {
		return request{}, false
	}
	to, err := c.sameOriginTarget(x.URL, location)
	return request{call: r.call, method: http.MethodGet, url: to}, err == nil
}

// sameOriginTarget returns the target of a redirect, without its fragment, if it is at the site's
// origin.
func (c *Client) sameOriginTarget(from, location string) (string, error) {
	at, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	to, err := at.Parse(location)
	if err != nil || location == "" {
		return "", fmt.Errorf("a redirect to %.100q", location)
	}
	if to.User != nil || to.Opaque != "" || canonicalOrigin(to) != parseOrigin(c.Origin) {
		return "", fmt.Errorf("redirected to %.100q, which is not at the origin %s", to.Redacted(), c.Origin)
	}
	to.Fragment, to.RawFragment = "", ""
	return to.String(), nil
}

func isRedirect(status int) bool {
	return slices.Contains([]int{
		http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect,
	}, status)
}

// wasFollowed reports whether the next exchange is the target of this redirect.
func wasFollowed(exchanges []contract.Exchange, index int) bool {
	return isRedirect(exchanges[index].Status) && index+1 < len(exchanges) &&
		exchanges[index+1].Call == exchanges[index].Call
}

// canonicalOrigin returns scheme, host and port of a URL in a form that can be compared.
func canonicalOrigin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// parseOrigin returns the canonical form of a checked origin.
func parseOrigin(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return canonicalOrigin(u)
}
