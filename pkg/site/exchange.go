package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// request is one that is to be made for a case.
type request struct {
	call, method, url string
	// form is the body of a POST.
	form string
}

// exchange makes one request in a session and reads its answer whole. Location is where the answer points to, if it does.
func (c *Client) exchange(ctx context.Context, r request, s *session, id contract.CaseID, gap time.Duration) (x contract.Exchange, location string) {
	x = contract.Exchange{Call: r.call, URL: r.url, GapSeconds: gap.Seconds()}
	started := time.Now()
	x.StartedAt = started.UTC()
	limit := c.timeouts(ctx).request
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var made connTrace
	location, err := c.do(made.trace(ctx), r, s, &x, id)
	x.Unsent = made.failed() || x.Status == http.StatusProxyAuthRequired
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

// do sends the request and fills in what came back. A body that breaks off is kept as far as it came.
func (c *Client) do(ctx context.Context, r request, s *session, x *contract.Exchange, id contract.CaseID) (location string, err error) {
	request, err := r.build(ctx)
	if err != nil {
		return "", err
	}
	for name, value := range c.Profile.headers {
		request.Header.Set(name, c.Profile.expand(value, c.Origin, id))
	}
	request.Header.Set("User-Agent", c.UserAgent)
	request.Header.Set("Accept-Encoding", acceptEncoding)
	response, err := s.http.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // the answer has been read, or is of no use
	x.Status = response.StatusCode
	x.ContentType = headerText(response, "Content-Type")
	x.RetryAfter = headerText(response, "Retry-After")
	x.Guard = c.Profile.blockHeader(response.Header)
	body, unknown := decodedBody(response)
	x.Body, err = c.readBody(ctx, body, response.ContentLength)
	if unknown != nil {
		err = unknown
	}
	return response.Header.Get("Location"), err
}

// build is the request as it leaves; it leaves once, see there. A form has a body that cannot be sent again either.
func (r request) build(ctx context.Context) (*http.Request, error) {
	if r.method != http.MethodPost {
		made, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
		if err == nil {
			made.Body = unrepeatableBody{}
		}
		return made, err
	}
	made, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.form))
	if err == nil {
		made.GetBody = nil
		made.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return made, err
}

// headerText is what a site says in a header, within reason: the whole of it is kept with every answer.
func headerText(response *http.Response, name string) string {
	return sanitize.Truncate(strings.Join(response.Header.Values(name), ", "), 200)
}

// errorText is an error without the URL around it, which stands beside it. Some hold what the site sent.
func errorText(err error) string {
	if around, found := errors.AsType[*url.Error](err); found {
		err = around.Err
	}
	return sanitize.Truncate(err.Error(), 300)
}

// WithRequestSent returns a context for Fetch in which started is called each time a request has left this machine, or could not. It
// is called by whoever writes the request, so it must not take long.
func WithRequestSent(ctx context.Context, started func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { started() },
	})
}

// connTrace is the connection of one request, as the transport reports it.
type connTrace struct{ requested, obtained atomic.Bool }

// trace returns a context for the request.
func (c *connTrace) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.requested.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.obtained.Store(true) },
	})
}

// failed says that no connection was made.
func (c *connTrace) failed() bool { return c.requested.Load() && !c.obtained.Load() }
