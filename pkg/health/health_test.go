package health_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fct-scraper/pkg/health"
)

// serve is a server whose process is ready or not, as the test says.
func serve(t *testing.T, ready func(context.Context) error) *health.Server {
	t.Helper()
	server, err := health.Start(health.Options{
		Addr: "127.0.0.1:0", Ready: ready,
		Metrics: http.NotFoundHandler(), Page: http.NotFoundHandler(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// request returns status and text.
func request(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestServer_ReadyOrReason(t *testing.T) {
	t.Parallel()
	var reason error
	server := serve(t, func(ctx context.Context) error {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("a question without a limit")
		}
		return reason
	})
	url := health.URL(server.Addr())
	if status, text := request(t, http.MethodGet, url); status != http.StatusOK || text != "ok\n" {
		t.Errorf("ready: %d %q", status, text)
	}
	if err := health.Check(t.Context(), url); err != nil {
		t.Error(err)
	}
	reason = errors.New("no connection to nats_url")
	if status, text := request(t, http.MethodGet, url); status != http.StatusServiceUnavailable || text != "no connection to nats_url\n" {
		t.Errorf("not ready: %d %q", status, text)
	}
	if err := health.Check(t.Context(), url); !errors.Is(err, health.ErrUnhealthy) || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("%v, want the reason", err)
	}
	if status, _ := request(t, http.MethodGet, "http://"+server.Addr()+health.LivePath); status != http.StatusOK {
		t.Errorf("not ready and not alive either: %d", status)
	}
	for _, path := range []string{health.LivePath, health.ReadyPath, health.MetricsPath} {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodOptions} { // not a page's answer
			if status, _ := request(t, method, "http://"+server.Addr()+path); status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, status)
			}
		}
	}
	if status, _ := request(t, http.MethodGet, "http://"+server.Addr()+"/more"); status != http.StatusNotFound {
		t.Errorf("a further page: %d", status)
	}
}

func TestServer_AddressTakenThenFree(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if _, err := health.Start(health.Options{Addr: addr}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("%v, want an error that names the address", err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := health.Check(t.Context(), health.URL(addr)); !errors.Is(err, health.ErrUnhealthy) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestStart_RangeOfPorts: several processes share a range, each on its own port, until all are
// taken.
func TestStart_RangeOfPorts(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	first := taken.Addr().(*net.TCPAddr).Port
	options := health.Options{Addr: fmt.Sprintf("127.0.0.1:%d-%d", first, min(first+20, 65535)), Ready: func(context.Context) error { return nil }}
	found := map[string]bool{taken.Addr().String(): true}
	for range 2 {
		server, err := health.Start(options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		})
		if found[server.Addr()] {
			t.Errorf("%s was taken", server.Addr())
		}
		found[server.Addr()] = true
		if err := health.Check(t.Context(), health.URL(server.Addr())); err != nil {
			t.Error(err)
		}
	}
	options.Addr = fmt.Sprintf("127.0.0.1:%d-%d", first, first)
	if _, err := health.Start(options); !errors.Is(err, health.ErrTaken) {
		t.Errorf("a range that is taken: %v", err)
	}
}

func TestURL_UnspecifiedAddress(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":80": "http://127.0.0.1:80/readyz", "0.0.0.0:80": "http://127.0.0.1:80/readyz", "[::]:80": "http://127.0.0.1:80/readyz",
		"0.0.0.0:80-89": "http://127.0.0.1:80/readyz",
		"10.0.0.1:80":   "http://10.0.0.1:80/readyz", "localhost:80": "http://localhost:80/readyz",
	} {
		if got := health.URL(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
