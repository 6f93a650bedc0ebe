package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// exchange makes one request and reads its answer whole.
func (c *Client) exchange(ctx context.Context, made *call, id contract.CaseID, gap time.Duration) contract.Exchange {
	x := contract.Exchange{Call: made.name, URL: c.Profile.url(c.Origin, made, id), GapSeconds: gap.Seconds()}
	started := time.Now()
	x.StartedAt = started.UTC()
	ctx, cancel := context.WithTimeout(ctx, c.RequestTimeout)
	defer cancel()
	err := c.fetch(ctx, &x, id)
	x.Seconds = time.Since(started).Seconds()
	switch {
	case err == nil:
	case errors.Is(context.Cause(ctx), errJob):
		x.Error = c.timedOut()
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		x.Error = fmt.Sprintf("request_timeout: longer than %s", c.RequestTimeout)
	default:
		x.Error = plainly(err)
	}
	return x
}

// fetch sends the request and fills in what came back. A body that breaks off is kept as far as it came.
func (c *Client) fetch(ctx context.Context, x *contract.Exchange, id contract.CaseID) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, x.URL, nil)
	if err != nil {
		return err
	}
	request.Body = once{} // see there
	for name, value := range c.Profile.headers {
		request.Header.Set(name, c.Profile.fill(value, c.Origin, id))
	}
	request.Header.Set("User-Agent", c.UserAgent)
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // the answer has been read, or is of no use
	x.Status = response.StatusCode
	x.ContentType = headerOf(response, "Content-Type")
	x.RetryAfter = headerOf(response, "Retry-After")
	x.Guard = c.Profile.guard(response.Header)
	x.Body, err = c.readBody(ctx, response.Body, response.ContentLength)
	return err
}

// headerOf is what a site says in a header, within reason: the whole of it is kept with every answer.
func headerOf(response *http.Response, name string) string {
	return printable(strings.Join(response.Header.Values(name), ", "), 200)
}

// plainly is an error without the URL around it, which stands beside it. Some hold what the site sent.
func plainly(err error) string {
	if around, found := errors.AsType[*url.Error](err); found {
		err = around.Err
	}
	return printable(err.Error(), 300)
}
