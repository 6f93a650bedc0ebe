package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// Options of a Client.
type Options struct {
	Profile *Profile
	// Origin overrides the profile's.
	Origin    string
	UserAgent string
	// RequestTimeout is for one exchange, body included; JobTimeout for a case, from its first request on.
	RequestTimeout, JobTimeout time.Duration
	// MaxBody is how large an answer may be after decompression, in bytes.
	MaxBody int64
	// Parties asks for the parties of a case too, by one more call.
	Parties bool
	// Proxy says by which proxy a request goes; nil is none.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport is used instead of the client's own; it must not repeat requests by itself.
	Transport http.RoundTripper
}

// Client asks one court. It is used by many goroutines.
type Client struct {
	Options
	http *http.Client
}

// NewClient checks the options. A client that is no longer used is to be closed.
func NewClient(opts Options) (*Client, error) {
	if opts.Origin == "" {
		opts.Origin = opts.Profile.Origin
	}
	if err := CheckOrigin(opts.Origin); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProfile, opts.Profile.Name, err)
	}
	opts.Origin = strings.TrimSuffix(opts.Origin, "/")
	if opts.Transport == nil {
		opts.Transport = newTransport(opts.Proxy)
	}
	return &Client{Options: opts, http: &http.Client{
		Transport: opts.Transport,
		// A redirect is an answer like any other: following it would be a request that nobody's pace has seen.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// errJob says that a case took too long.
var errJob = errors.New("job_timeout")

// Ask makes the requests of one attempt, as far as they are needed, and calls before ahead of each of them; before says
// how long ago the last request started. Trouble with the site is an exchange with an error. The error of Ask is that of
// before or of ctx.
func (c *Client) Ask(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	var exchanges []contract.Exchange
	job, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for next := c.next(id, exchanges); next != nil; next = c.next(id, exchanges) {
		gap, err := before(job)
		if err == nil && len(exchanges) == 0 {
			timer := time.AfterFunc(c.JobTimeout, func() { cancel(errJob) })
			defer timer.Stop()
		}
		if err != nil && errors.Is(context.Cause(job), errJob) {
			exchanges = append(exchanges, contract.Exchange{
				Call: next.name, URL: c.Profile.url(c.Origin, next, id), StartedAt: time.Now().UTC(), Error: c.timedOut(),
			})
			break
		}
		if err != nil {
			return exchanges, err
		}
		exchanges = append(exchanges, c.exchange(job, next, id, gap))
		if ctx.Err() != nil {
			return exchanges, context.Cause(ctx)
		}
	}
	return exchanges, nil
}

func (c *Client) timedOut() string { return fmt.Sprintf("%s: longer than %s", errJob, c.JobTimeout) }

// next is the call that is to be made after those that were made; nil when the answers say all there is to say.
func (c *Client) next(id contract.CaseID, exchanges []contract.Exchange) *call {
	seen := false
	for _, exchange := range exchanges {
		if exchange.Error != "" || exchange.Status != http.StatusOK {
			return nil
		}
		shown, usable := c.shows(id, exchange)
		if !usable {
			return nil
		}
		seen = seen || shown
	}
	for i := range c.Profile.calls {
		next := &c.Profile.calls[i]
		made := false
		for _, exchange := range exchanges {
			made = made || exchange.Call == next.name
		}
		if !made && (next.when == always || next.when == unseen && !seen || next.when == parties && seen && c.Parties) {
			return next
		}
	}
	return nil
}

// shows says whether an answer shows the case, and whether it is usable at all. An answer that holds the very case id as
// a value shows it without being parsed: if it turns out not to, the attempt ends as transient, never as no-record.
func (c *Client) shows(id contract.CaseID, exchange contract.Exchange) (shown, usable bool) {
	made := c.Profile.callNamed(exchange.Call)
	if made.number != nil && bytes.Contains(exchange.Body, []byte(`"`+id.String()+`"`)) {
		return true, true
	}
	t, err := made.read(id, exchange)
	if err != nil {
		return false, false
	}
	return made.number != nil && len(t.own) > 0, !t.strangers || len(t.own) > 0
}

// exchange makes one request and reads its answer whole.
func (c *Client) exchange(ctx context.Context, made *call, id contract.CaseID, gap time.Duration) contract.Exchange {
	x := contract.Exchange{Call: made.name, URL: c.Profile.url(c.Origin, made, id), GapSeconds: gap.Seconds()}
	started := time.Now()
	x.StartedAt = started.UTC()
	ctx, cancel := context.WithTimeout(ctx, c.RequestTimeout)
	defer cancel()
	err := c.fill(ctx, &x, id)
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

func (c *Client) fill(ctx context.Context, x *contract.Exchange, id contract.CaseID) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, x.URL, nil)
	if err != nil {
		return err
	}
	request.Body = once{} // see there
	fill := c.Profile.placeholders(c.Origin, id)
	for name, value := range c.Profile.headers {
		request.Header.Set(name, fill.Replace(value))
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
	if x.Body, err = io.ReadAll(io.LimitReader(response.Body, c.MaxBody+1)); err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	if int64(len(x.Body)) > c.MaxBody {
		x.Body = x.Body[:0]
		return fmt.Errorf("max_body: larger than %d bytes", c.MaxBody)
	}
	return nil
}

// plainly is an error without the URL around it, which stands beside it.
func plainly(err error) string {
	var around *url.Error
	if errors.As(err, &around) {
		err = around.Err
	}
	return fmt.Sprintf("%.300s", err.Error())
}
