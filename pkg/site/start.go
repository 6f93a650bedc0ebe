package site

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

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
