package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrUnhealthy reports that a process is not ready or does not respond.
var ErrUnhealthy = errors.New("unhealthy")

const (
	// checkTimeout is how long a process may take to respond.
	checkTimeout = 3 * time.Second
	// maxReasonBytes bounds how much of its reason is read.
	maxReasonBytes = 4 << 10
)

// Check returns nil if the process at url responds with 200. Otherwise the error wraps ErrUnhealthy
// and has the response.
func Check(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("requesting %.200q: %w", url, err)
	}
	// A separate transport: no proxy to a process in the same container, and no idle connection.
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%w: requesting %s: %w", ErrUnhealthy, url, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, maxReasonBytes))
	if err != nil {
		return fmt.Errorf("%w: requesting %s: %w", ErrUnhealthy, url, err)
	}
	return fmt.Errorf("%w: %s returned %d: %.500q", ErrUnhealthy, url, response.StatusCode, strings.TrimSpace(string(reason)))
}

// URL is the address of the readiness page of a process on this machine that listens on addr; for a
// range of ports that of the first one.
func URL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if first, _, isRange := strings.Cut(port, "-"); isRange {
		port = first
		addr = net.JoinHostPort(host, port)
	}
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) { // every address: this machine's own is one
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + addr + ReadyPath
}
