package site

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// OnStart returns a context for Ask in which started is called each time a request has left this machine, or could not. It
// is called by whoever writes the request, so it must not take long.
func OnStart(ctx context.Context, started func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { started() },
	})
}

// connection is the connection of one request, as the transport reports it.
type connection struct{ wanted, got atomic.Bool }

// trace returns a context for the request.
func (c *connection) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.got.Store(true) },
	})
}

// failed says that no connection was made.
func (c *connection) failed() bool { return c.wanted.Load() && !c.got.Load() }
