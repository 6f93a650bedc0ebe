package health_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"fct-scraper/pkg/health"
)

// TestGuard_ForeignHost: a foreign name that resolves to this machine is refused.
func TestGuard_ForeignHost(t *testing.T) {
	t.Parallel()
	local := serve(t, func(context.Context) error { return nil })
	everywhere, err := health.Start(health.Options{Addr: "0.0.0.0:0", Ready: func(context.Context) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := everywhere.Close(); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(everywhere.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{local.Addr(), "127.0.0.1:" + port} {
		for host, want := range map[string]int{
			at: http.StatusOK, "localhost": http.StatusOK, "LOCALHOST:8080": http.StatusOK, "127.0.0.1": http.StatusOK, "[::1]:9": http.StatusOK, "[::1]": http.StatusOK,
			"rebind.example.org": http.StatusMisdirectedRequest, "rebind.example.org:8080": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest,
			"localhost.example.org": http.StatusMisdirectedRequest, "127.0.0.1.example.org": http.StatusMisdirectedRequest, "0.0.0.0": http.StatusMisdirectedRequest,
		} {
			if host == "0.0.0.0" && at != local.Addr() {
				want = http.StatusOK // it listens there
			}
			for path, good := range map[string]int{health.LivePath: http.StatusOK, health.ReadyPath: http.StatusOK, "/nowhere": http.StatusNotFound} {
				status, header := requestAs(t, "http://"+at+path, host)
				if want != http.StatusOK {
					good = want
				}
				if status != good {
					t.Errorf("%s under %s: %d, want %d", path, host, status, good)
				}
				checkHeaders(t, header)
			}
		}
	}
}

// checkHeaders requires the headers that keep a browser from using the response.
func checkHeaders(t *testing.T, header http.Header) {
	t.Helper()
	policy := header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; frame-ancestors 'none'") || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", header)
	}
}

func requestAs(t *testing.T, url, host string) (int, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	return answer.StatusCode, answer.Header
}
