// Package health serves over HTTP whether a process works, and checks another process.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/loopback"
)

// The paths that supervisors request.
const (
	LivePath  = "/livez"  // 200 as long as the process answers at all
	ReadyPath = "/readyz" // 200 when the process can work, else 503 and why not
)

// MetricsPath is the path that Prometheus requests.
const MetricsPath = "/metrics"

const (
	// readyTimeout is how long the check of readiness may take; supervisors wait for two or three
	// seconds.
	readyTimeout = 2 * time.Second
	// closeTimeout is how long responses may take when the server closes.
	closeTimeout = time.Second
	// The limits for slow clients.
	readTimeout, writeTimeout, idleTimeout = 5 * time.Second, 30 * time.Second, time.Minute
	// maxHeaderBytes bounds a request's header; supervisors send little.
	maxHeaderBytes = 16 << 10
)

// Options of a Server.
type Options struct {
	// Addr is host:port, where port 0 takes a free one, or host:first-last, of which the first free
	// port is taken.
	Addr string
	// Ready returns why the process cannot work, nil if it can. It is called for each request, with
	// its context.
	Ready func(context.Context) error
	// Note is text that /readyz adds to "ok"; nil or empty for none.
	Note func() string
	// Metrics serves MetricsPath, and Page every path that this package does not; nil for none.
	Metrics, Page http.Handler
	// AnyHost accepts requests under every host name: the page requires a secret of its own, and
	// what this package serves shows no content.
	AnyHost bool
	// Misdirected responds to a request whose Host does not name the server; nil responds in plain
	// text.
	Misdirected http.HandlerFunc
}

// Server serves /livez, /readyz, /metrics and a page until it is closed.
type Server struct {
	server *http.Server
	addr   string
	ended  chan error
}

// ErrTaken reports that no port of a range is free.
var ErrTaken = errors.New("no port of the range is free")

// Start listens; an address that is taken is an error, ErrTaken if it is a range of ports.
func Start(o Options) (*Server, error) {
	listener, err := listen(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on http_addr %s: %w", o.Addr, err)
	}
	mux := http.NewServeMux()
	get := func(path string, handle http.Handler) {
		mux.Handle("GET "+path, handle)
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", "GET, HEAD")
			respond(w, http.StatusMethodNotAllowed, "method: allowed is GET, HEAD")
		})
	}
	get(LivePath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "ok") }))
	get(ReadyPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := o.Ready(ctx); err != nil {
			respond(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		text := "ok"
		if o.Note != nil {
			if note := o.Note(); note != "" {
				text += "\n" + note
			}
		}
		respond(w, http.StatusOK, text)
	}))
	if o.Metrics != nil {
		get(MetricsPath, o.Metrics)
	}
	if o.Page != nil {
		mux.Handle("/", o.Page)
	}
	s := &Server{addr: listener.Addr().String(), ended: make(chan error, 1), server: &http.Server{
		Handler: guard(o, mux), ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

// listen takes the first free port of those that addr names.
func listen(addr string) (net.Listener, error) {
	host, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	first, last, isRange := strings.Cut(ports, "-")
	if !isRange {
		return net.Listen("tcp", addr)
	}
	from, low := strconv.ParseUint(first, 10, 16)
	to, high := strconv.ParseUint(last, 10, 16)
	if err := errors.Join(low, high); err != nil {
		return nil, err
	}
	for port := from; port <= to; port++ {
		listener, failed := net.Listen("tcp", net.JoinHostPort(host, strconv.FormatUint(port, 10)))
		if failed == nil {
			return listener, nil
		}
		err = failed
	}
	return nil, errors.Join(ErrTaken, err)
}

// respond writes a response in plain text; it ignores a client that does not receive it.
func respond(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.addr }

// Close waits for up to a second until running responses end, and closes the server.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // a slow client, or a page without an end
		err = s.server.Close()
	}
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("closing the server of http_addr: %w", err)
	}
	return nil
}

// guard passes only requests that name this server to next, and adds headers to every response that
// forbid a browser to use it. Otherwise a page under a foreign name could read it (DNS rebinding).
func guard(o Options, next http.Handler) http.Handler {
	configured, _, _ := net.SplitHostPort(o.Addr) // the server listens there
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		if !o.AnyHost && !namesServer(r, configured) {
			if o.Misdirected != nil {
				o.Misdirected(w, r)
			} else {
				respond(w, http.StatusMisdirectedRequest, "wrong Host for this server: use its address")
			}
			return
		}
		next.ServeHTTP(w, r)
	})
}

// namesServer reports whether the Host of a request is this machine, the configured address, or the
// address of the connection.
func namesServer(r *http.Request, configured string) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if loopback.IsHost(host) || configured != "" && strings.EqualFold(host, configured) {
		return true
	}
	at, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	ip := net.ParseIP(host)
	return isTCP && ip != nil && ip.Equal(at.IP)
}
