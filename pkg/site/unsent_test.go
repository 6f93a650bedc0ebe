package site_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// closedPort returns a loopback address without a listener.
func closedPort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// silentListener accepts connections and sends nothing; with closes it closes them at once.
func silentListener(t *testing.T, closes bool) string {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if closes { // after the greeting, so that it is no reset
				_, _ = conn.Read(make([]byte, 1<<16))
				_ = conn.Close()
			} else {
				defer func() { _ = conn.Close() }()
			}
		}
	}()
	return l.Addr().String()
}

// proxyWithStatus responses every request with a status.
func proxyWithStatus(t *testing.T, status int) func(*http.Request) (*url.URL, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return proxyAt(t, server.URL)
}

func TestExchange_Unsent(t *testing.T) {
	t.Parallel()
	expired, _ := newCertificate(t, time.Now().Add(-time.Hour))
	foreign, _ := newCertificate(t, time.Now().Add(time.Hour))
	secure := func(t *testing.T, c tls.Certificate) string {
		t.Helper()
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
	plainly := func(t *testing.T, handler http.HandlerFunc) string {
		t.Helper()
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.URL
	}
	type proxy = func(*http.Request) (*url.URL, error)
	for name, test := range map[string]struct {
		origin func(t *testing.T) string
		proxy  func(t *testing.T) proxy
		unsent bool
		says   string
	}{
		"no such name": {
			func(*testing.T) string { return "https://court.invalid" },
			nil, true, "court.invalid",
		},
		"refused": {
			func(t *testing.T) string { return "http://" + closedPort(t) },
			nil, true, "refused",
		},
		"expired": {
			func(t *testing.T) string { return secure(t, expired) },
			nil, true, "certificate",
		},
		"unknown authority": {
			func(t *testing.T) string { return secure(t, foreign) },
			nil, true, "certificate",
		},
		"no TLS": {
			func(t *testing.T) string { return strings.Replace(plainly(t, http.NotFound), "http:", "https:", 1) },
			nil, true, "HTTP",
		},
		"TLS hangs": {
			func(t *testing.T) string { return "https://" + silentListener(t, false) },
			nil, true, "request_timeout: longer than 2s",
		},
		"TLS ends": {
			func(t *testing.T) string { return "https://" + silentListener(t, true) },
			nil, true, "EOF",
		},
		"no proxy there": {
			func(*testing.T) string { return "https://court.invalid" },
			func(t *testing.T) proxy { return proxyAt(t, "http://"+closedPort(t)) }, true, "proxyconnect",
		},
		"proxy refuses": {
			func(*testing.T) string { return "https://court.invalid" },
			func(t *testing.T) proxy { return proxyWithStatus(t, 403) }, true, "status 403",
		},
		"proxy, credentials": {
			func(*testing.T) string { return "http://127.0.0.1:1" },
			func(t *testing.T) proxy { return proxyWithStatus(t, 407) }, true, "",
		},
		"response ends": {func(t *testing.T) string {
			return plainly(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}, nil, false, "EOF"},
		"response hangs": {func(t *testing.T) string {
			return plainly(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, nil, false, "request_timeout: longer than 2s"},
		"status 500": {func(t *testing.T) string {
			return plainly(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		}, nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			profile, err := site.Load("fct-cf")
			if err != nil {
				t.Fatal(err)
			}
			opts := site.Options{
				Profile: profile, Origin: test.origin(t), UserAgent: "test", MaxBody: 1 << 20, JobTimeout: time.Minute,
				RequestTimeout: 20 * time.Second,
			}
			if test.proxy != nil {
				opts.Proxy = test.proxy(t)
			}
			if strings.HasSuffix(name, "hangs") {
				opts.RequestTimeout = 2 * time.Second
			}
			client, err := site.NewClient(opts)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			before := func(context.Context) (time.Duration, error) { return 0, nil }
			asked, err := client.Fetch(t.Context(), contract.CaseID{Series: "IMM", Year: "25", Number: 1}, before)
			if err != nil {
				t.Fatal(err)
			}
			rules, _ := client.Robots(t.Context(), before) // its error is that of the exchange
			for what, made := range map[string][]contract.Exchange{"case": asked, "robots.txt": rules.Requests} {
				if len(made) == 0 {
					t.Fatalf("%s: no exchange", what)
				}
				last := made[len(made)-1]
				silent := test.says == "" && last.Error != ""
				if last.Unsent != test.unsent || !strings.Contains(last.Error, test.says) || silent {
					t.Errorf("%s: unsent %t, %q; want %t, %q", what, last.Unsent, last.Error, test.unsent, test.says)
				}
			}
		})
	}
}
