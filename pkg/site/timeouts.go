package site

import (
	"cmp"
	"context"
	"time"
)

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
