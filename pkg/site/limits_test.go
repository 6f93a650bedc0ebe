package site_test

import (
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// soon is far longer than an attempt that ends at its limit, and shorter than one that does not.
const soon = 30 * time.Second

// timed runs a test in virtual time. The site returns this body for the docket at once, and hangs
// in all other calls.
func timed(t *testing.T, docket string, test func(t *testing.T, transport http.RoundTripper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, stuck{roundTrip(docket)}) })
}

// stuck responses only the docket call.
type stuck struct{ docket roundTrip }

func (s stuck) RoundTrip(r *http.Request) (*http.Response, error) {
	if callOf(r) == "docket" {
		return s.docket.RoundTrip(r)
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestRequestTimeout: the limit applies to the complete exchange, including the body.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{"hang": hangHandler, "drip": dripHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": handler})
			c := newClient(t, server.URL, func(o *site.Options) { o.RequestTimeout = 100 * time.Millisecond })
			began := time.Now()
			exchanges := fetchCase(t, c)
			if took := time.Since(began); took < 100*time.Millisecond || took > soon {
				t.Errorf("took %s, want 100ms and a little", took)
			}
			wantReading(t, c, exchanges, contract.VerdictTransient, "request_timeout: longer than 100ms")
		})
	}
}

// TestJobTimeout: the limit applies to all calls of a case, even if each is quick.
func TestJobTimeout(t *testing.T) {
	t.Parallel()
	timed(t, emptyBody, func(t *testing.T, transport http.RoundTripper) {
		const limit = 100 * time.Millisecond
		c := newClient(t, "https://court.invalid", func(o *site.Options) { o.JobTimeout, o.Transport = limit, transport })
		began := time.Now()
		exchanges := fetchCase(t, c)
		if took := time.Since(began); took != limit {
			t.Errorf("took %s, want %s", took, limit)
		}
		if len(exchanges) != 2 || exchanges[0].Error != "" {
			t.Fatalf("exchanges %+v, want a complete and an incomplete one", exchanges)
		}
		wantReading(t, c, exchanges, contract.VerdictTransient, "header call: job_timeout: longer than 100ms")
	})
}

// TestWithTimeouts: the timeouts of the context override the client's, for that call only.
func TestWithTimeouts(t *testing.T) {
	t.Parallel()
	const long, short = time.Hour, 100 * time.Millisecond
	for name, c := range map[string]struct {
		ownRequest, ownJob, request, job time.Duration
		want                             string
	}{
		"request":          {long, long, short, 0, "header call: request_timeout: longer than 100ms"},
		"job":              {long, long, 0, short, "header call: job_timeout: longer than 100ms"},
		"longer request":   {10 * time.Millisecond, long, short, 0, "header call: request_timeout: longer than 100ms"},
		"longer job":       {long, 10 * time.Millisecond, 0, short, "header call: job_timeout: longer than 100ms"},
		"the client's own": {short, long, 0, 0, "header call: request_timeout: longer than 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timed(t, emptyBody, func(t *testing.T, transport http.RoundTripper) {
				client := newClient(t, "https://court.invalid", func(o *site.Options) {
					o.RequestTimeout, o.JobTimeout, o.Transport = c.ownRequest, c.ownJob, transport
				})
				exchanges, err := client.Fetch(site.WithTimeouts(t.Context(), c.request, c.job), caseID(t, "IMM-13-25"), noPause)
				if err != nil {
					t.Fatal(err)
				}
				wantReading(t, client, exchanges, contract.VerdictTransient, c.want)
			})
		})
	}
}

// TestJobTimeout_WhileWaiting: the job timeout includes the wait before the second request. The
// attempt is incomplete, and the unsent request is not an exchange.
func TestJobTimeout_WhileWaiting(t *testing.T) {
	t.Parallel()
	timed(t, ownBody, func(t *testing.T, transport http.RoundTripper) {
		c := newClient(t, "https://court.invalid", func(o *site.Options) {
			o.JobTimeout, o.Parties, o.Transport = 100*time.Millisecond, true, transport
		})
		turns := 0
		exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(ctx context.Context) (time.Duration, error) {
			if turns++; turns == 1 {
				return 0, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if err != nil || len(exchanges) != 1 || turns != 2 {
			t.Fatalf("error %v, %d exchanges, %d turns; want one exchange and two turns", err, len(exchanges), turns)
		}
		wantReading(t, c, exchanges, contract.VerdictTransient, "job_timeout: longer than 100ms")
	})
}

// TestJobTimeout_StartsAtFirstRequest: the wait before the first request does not count.
func TestJobTimeout_StartsAtFirstRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "https://court.invalid", func(o *site.Options) { o.Transport = roundTrip(ownBody) })
		exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(ctx context.Context) (time.Duration, error) {
			patience := time.NewTimer(10 * c.JobTimeout)
			defer patience.Stop()
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-patience.C:
				return 0, nil
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		wantReading(t, c, exchanges, contract.VerdictSuccess, "")
	})
}

// TestMaxBody: the limit counts bytes after decompression. A body of exactly that size is read, a
// larger one is not stored.
func TestMaxBody(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	padded := func(size int) string { return ownBody + strings.Repeat(" ", size-len(ownBody)) }
	for name, test := range map[string]struct {
		body    string
		verdict contract.Verdict
		say     string
	}{
		"just":     {padded(limit), contract.VerdictSuccess, ""},
		"too much": {padded(limit + 1), contract.VerdictTransient, "max_body: larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(test.body)})
			c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = limit })
			wantReading(t, c, fetchCase(t, c), test.verdict, test.say)
		})
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Errorf("Accept-Encoding %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		gzipInto(w, ownBody)
	}})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
}

// TestGzipTwice: a response that was compressed twice is not usable.
func TestGzipTwice(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		var once strings.Builder
		gzipInto(&once, ownBody)
		gzipInto(w, once.String())
	}})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "not UTF-8")
}

// TestFetch_Canceled: canceling the context ends a wait for a response at once.
func TestFetch_Canceled(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{"hang": hangHandler, "drip": dripHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			over := errors.New("over")
			server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, r *http.Request) {
				cancel(over)
				handler(w, r)
			}})
			began := time.Now()
			_, err := newClient(t, server.URL, nil).Fetch(ctx, caseID(t, "IMM-13-25"), noPause)
			if took := time.Since(began); !errors.Is(err, over) || took > soon {
				t.Errorf("error %v after %s, want the cause of the end at once", err, took)
			}
		})
	}
}

func gzipInto(w interface{ Write([]byte) (int, error) }, text string) {
	z := gzip.NewWriter(w)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
}

// TestGzipBomb does not run in parallel, because it measures the memory of the process: 256 MiB
// compressed to 256 KiB may take no more than a few times the limit.
func TestGzipBomb(t *testing.T) {
	const limit, bomb = 4 << 20, 256 << 20
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		chunk := make([]byte, 1<<16)
		for sent := 0; sent < bomb; sent += len(chunk) {
			if _, err := z.Write(chunk); err != nil {
				return
			}
		}
		_ = z.Close()
	}})
	c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = limit })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	exchanges := fetchCase(t, c)
	runtime.ReadMemStats(&after)
	wantReading(t, c, exchanges, contract.VerdictTransient, "max_body: larger than 4194304 bytes")
	if len(exchanges[0].Body) != 0 {
		t.Errorf("%d bytes are stored", len(exchanges[0].Body))
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 10*limit {
		t.Errorf("%d MiB were taken for a limit of %d", grown>>20, limit>>20)
	}
}
