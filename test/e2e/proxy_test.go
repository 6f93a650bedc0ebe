package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/contract"
)

// startForwarder is a proxy on loopback that counts the requests that it hands on.
func startForwarder(t *testing.T) (address string, handed *atomic.Int64) {
	t.Helper()
	handed = &atomic.Int64{}
	by := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.IsAbs() {
			t.Errorf("%s is no request to a proxy", r.RequestURI)
		}
		handed.Add(1)
		by.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), handed
}

// TestProxy_Batch: every request of a run goes by the proxy of the setting, also to this machine;
// by one of the environment none does, and NO_PROXY counts for both.
func TestProxy_Batch(t *testing.T) {
	t.Parallel()
	sim := startSim(t, "--max", "30", "--missing", "0.1")
	for name, test := range map[string]struct {
		environ func(proxy string) []string
		setting func(proxy string) string
		by      bool
	}{
		"setting":             {func(string) []string { return nil }, func(p string) string { return "http://user:geheim@" + p }, true},
		"setting before":      {func(string) []string { return []string{"HTTP_PROXY=http://127.0.0.1:1"} }, func(p string) string { return p }, true},
		"environment":         {func(p string) []string { return []string{"HTTP_PROXY=" + p, "http_proxy=" + p} }, func(string) string { return "" }, false},
		"variable of setting": {func(p string) []string { return []string{"FCT_PROXY=http://user:geheim@" + p} }, func(string) string { return "" }, true},
		"NO_PROXY":            {func(string) []string { return []string{"NO_PROXY=127.0.0.1"} }, func(p string) string { return p }, false},
		"none":                {func(p string) []string { return []string{"HTTP_PROXY=" + p} }, func(string) string { return "none" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, handed := startForwarder(t)
			dir := t.TempDir()
			args := []string{
				"batch", "2025", "--json", "--site", "fct-cf", "--base-url", sim.url, "--end", "8", "--delay-min", "0", "--delay-max", "0", "--log-format", "json",
				"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"),
			}
			if setting := test.setting(proxy); setting != "" {
				args = append(args, "--proxy", setting)
			}
			ran := didIn(t, test.environ(proxy), codeCompleted, args...)
			var report contract.Report
			if err := json.Unmarshal([]byte(ran.stdout), &report); err != nil {
				t.Fatal(err)
			}
			want := 0
			if test.by {
				want = report.Requests
			}
			if report.Requests == 0 || int(handed.Load()) != want {
				t.Errorf("%d requests, %d of them by the proxy, want %d", report.Requests, handed.Load(), want)
			}
			if strings.Contains(ran.stdout+ran.stderr, "geheim") {
				t.Error("a password is shown")
			}
			if test.by != strings.Contains(ran.stderr, `"msg":"site.proxy","proxy":"http://`+proxy+`"`) {
				t.Errorf("the proxy in the log: %s", ran.stderr)
			}
		})
	}
}
