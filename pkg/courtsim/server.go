package courtsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"fct-scraper/pkg/loopback"
)

// Server is a court that listens on an address of this machine.
type Server struct {
	// URL is its origin.
	URL    string
	http   *http.Server
	served chan error
	end    context.CancelFunc
}

// Start listens on a loopback address such as 127.0.0.1:0; any other one is refused with ErrOptions.
func (c *Simulator) Start(addr string) (*Server, error) {
	if !loopback.IsListenAddr(addr) {
		return nil, fmt.Errorf("%w: addr %.60q: allowed is an address of this machine alone, such as 127.0.0.1:8090", ErrOptions, addr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting the court: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	s := &Server{
		URL: "http://" + listener.Addr().String(), served: make(chan error, 1), end: end,
		http: &http.Server{
			Handler: c, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
			// The server forgets connections that were taken from it; what they wait for ends with this.
			BaseContext: func(net.Listener) context.Context { return ctx },
		},
	}
	go func() { s.served <- s.http.Serve(listener) }()
	return s, nil
}

// Close ends the server and every connection at once.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("ending the court: %w", err)
	}
	return nil
}
