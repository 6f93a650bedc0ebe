package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	x.ContentType = response.Header.Get("Content-Type")
	x.RetryAfter = response.Header.Get("Retry-After")
	// What the site says of the length is set aside at once, within reason.
	body := bytes.NewBuffer(make([]byte, 0, min(max(response.ContentLength, 0), expectedBody)+bytes.MinRead))
	_, err = body.ReadFrom(io.LimitReader(response.Body, c.MaxBody+1))
	if x.Body = body.Bytes(); err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	if int64(len(x.Body)) > c.MaxBody {
		x.Body = nil
		return fmt.Errorf("max_body: larger than %d bytes", c.MaxBody)
	}
	return nil
}

// expectedBody bounds what is set aside for an answer before it has come, in bytes.
const expectedBody = 256 << 10

// plainly is an error without the URL around it, which stands beside it.
func plainly(err error) string {
	if around, found := errors.AsType[*url.Error](err); found {
		err = around.Err
	}
	return fmt.Sprintf("%.300s", err.Error())
}
