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
	// Origin overrides the profile's origin.
	Origin    string
	UserAgent string
	// RequestTimeout limits one exchange including its body. JobTimeout limits a case, counted from
	// its first request. Both must be positive.
	RequestTimeout, JobTimeout time.Duration
	// MaxBody is the largest body after decompression, in bytes; at least 1.
	MaxBody int64
	// Cooldown is the minimum duration of a block whose Retry-After cannot be read completely; 0 or
	// more.
	Cooldown time.Duration
	// Parties fetches the parties of a case too, with one more call.
	Parties bool
	// Proxy returns the proxy of a request; nil uses none.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport replaces the client's own transport. It must not repeat requests by itself.
	Transport http.RoundTripper
}

// Client sends requests to one site. It is safe for concurrent use.
type Client struct {
	Options
	http *http.Client // has no cookie jar
	// largeBodies is a semaphore for reading large bodies.
	largeBodies chan struct{}
	sessions    sessions
	queryForms  queryForms
}

// NewClient returns a client. An error about the origin wraps ErrProfile. The caller must Close the
// client.
func NewClient(opts Options) (*Client, error) {
	if opts.Profile == nil {
		return nil, errors.New("creating a site client: no profile")
	}
	if opts.RequestTimeout <= 0 || opts.JobTimeout <= 0 || opts.MaxBody < 1 || opts.MaxBody == math.MaxInt64 {
		return nil, fmt.Errorf("creating a site client: request timeout %s, job timeout %s, largest body %d: allowed is more than 0",
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

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// keepRedirect returns redirects to the caller. If net/http followed them, those requests would
// ignore the pause.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Blocked is Profile.Blocked, except that wait is at least Cooldown if a part of the site's
// Retry-After cannot be read.
func (c *Client) Blocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time,
) (rule string, wait time.Duration, blocked bool) {
	return c.Profile.attemptBlocked(id, exchanges, now, c.Cooldown)
}

// RetryAfter returns the wait that a response requests; 0 if none, at most a day.
func (c *Client) RetryAfter(exchange contract.Exchange, now time.Time) time.Duration {
	return retryAfter(exchange.RetryAfter, now, 0)
}

// timeouts are the timeouts set on a context; 0 means the client's.
type timeouts struct{ request, job time.Duration }

type timeoutsKey struct{}

// WithTimeouts returns a context for Fetch and Robots with other timeouts than the client's
// RequestTimeout and JobTimeout; 0 keeps the client's.
func WithTimeouts(ctx context.Context, request, job time.Duration) context.Context {
	return context.WithValue(ctx, timeoutsKey{}, timeouts{request, job})
}

// timeouts returns the timeouts in force for ctx.
func (c *Client) timeouts(ctx context.Context) timeouts {
	given, _ := ctx.Value(timeoutsKey{}).(timeouts)
	return timeouts{request: cmp.Or(given.request, c.RequestTimeout), job: cmp.Or(given.job, c.JobTimeout)}
}
