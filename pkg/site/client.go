package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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
	// RequestTimeout is for one exchange, body included; JobTimeout for a case, from its first request on. Both are
	// more than 0.
	RequestTimeout, JobTimeout time.Duration
	// MaxBody is how large an answer may be after decompression, in bytes; 1 and more.
	MaxBody int64
	// Cooldown is how long a block lasts at least whose Retry-After cannot be read, or not wholly; 0 and more.
	Cooldown time.Duration
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
	http *http.Client // keeps no cookies
	// largeBodies has room for the large answers that are read at the same time.
	largeBodies chan struct{}
	sessions    sessions
	// queryForms says by series in which form of a query the site has shown a docket.
	queryForms queryForms
}

// NewClient checks the options; the error of an origin wraps ErrProfile. A client that is no longer used is to be closed.
func NewClient(opts Options) (*Client, error) {
	if opts.Profile == nil {
		return nil, errors.New("making a site client: no profile")
	}
	if opts.RequestTimeout <= 0 || opts.JobTimeout <= 0 || opts.MaxBody < 1 || opts.MaxBody == math.MaxInt64 {
		return nil, fmt.Errorf("making a site client: request timeout %s, job timeout %s, largest body %d: allowed is more than 0",
			opts.RequestTimeout, opts.JobTimeout, opts.MaxBody)
	}
	if opts.Origin == "" {
		opts.Origin = opts.Profile.Origin
	}
	if err := CheckOrigin(opts.Origin); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrProfile, opts.Profile.Name, err)
	}
	opts.Origin = strings.TrimSuffix(opts.Origin, "/")
	if opts.Transport == nil {
		opts.Transport = newTransport(opts)
	}
	c := &Client{
		Options: opts, http: &http.Client{Transport: opts.Transport, CheckRedirect: keepRedirect},
		largeBodies: make(chan struct{}, maxLargeBodies), sessions: sessions{creating: make(chan struct{}, 1)},
	}
	if opts.Profile.tokens == nil {
		c.sessions.current.Store(c.newSession())
	}
	return c, nil
}

// Close closes the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// keepRedirect makes a redirect an answer like any other: following it in the transport would be a request that nobody's pace has
// seen.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Blocked is the profile's Blocked; wait is no less than Cooldown where a part of what the site said cannot be read.
func (c *Client) Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool) {
	return c.Profile.attemptBlocked(id, exchanges, now, c.Cooldown)
}

// RetryAfter is for how long an answer asks to be left alone; 0 when it does not, never more than a day.
func (c *Client) RetryAfter(exchange contract.Exchange, now time.Time) time.Duration {
	return retryAfter(exchange.RetryAfter, now, 0)
}

// timeouts are the time-outs of one context; 0 is that of the client.
type timeouts struct{ request, job time.Duration }

type timeoutsKey struct{}

// WithTimeouts returns a context for Fetch and Robots in which a request and a case may take this long, in place of RequestTimeout and
// JobTimeout of the client; 0 leaves the client's.
func WithTimeouts(ctx context.Context, request, job time.Duration) context.Context {
	return context.WithValue(ctx, timeoutsKey{}, timeouts{request, job})
}

// timeouts are those in force in ctx.
func (c *Client) timeouts(ctx context.Context) timeouts {
	given, _ := ctx.Value(timeoutsKey{}).(timeouts)
	return timeouts{request: cmp.Or(given.request, c.RequestTimeout), job: cmp.Or(given.job, c.JobTimeout)}
}
