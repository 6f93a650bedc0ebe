package site

import (
	"context"
	"net/http/httptrace"
)

// OnStart returns a context for Ask in which started is called each time a request has left this machine, or could not. It
// is called by whoever writes the request, so it must not take long.
func OnStart(ctx context.Context, started func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { started() },
	})
}
