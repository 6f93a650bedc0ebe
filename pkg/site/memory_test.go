package site_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"
)

const (
	// askers is the number of concurrent attempts, each repeated, with the default limit.
	askers, askings = 16, 1
	defaultMaxBody  = 16 << 20
	// holders is how many attempts hold a body just under the limit: the default concurrency.
	// Reading a body takes three times its size, and the garbage collector decides when that is
	// released.
	holders = 4
	// ceiling is the memory limit of the child process, in bytes.
	ceiling = 400 << 20
)

// largeHandlers return responses that are larger than they look or announce.
func largeHandlers(t *testing.T) map[string]http.HandlerFunc {
	t.Helper()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	chunk := make([]byte, 1<<20)
	for range 64 { // more is never looked at
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	blank := bytes.Repeat([]byte(" "), 1<<20)
	return map[string]http.HandlerFunc{
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			for range 256 {
				if _, err := w.Write(blank); err != nil {
					return
				}
			}
		},
		"huge Content-Length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(256<<20))
			for range 256 {
				if _, err := w.Write(blank); err != nil {
					return
				}
			}
		},
		"just allowed": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(emptyBody))
			for range 15 {
				_, _ = w.Write(blank)
			}
		},
	}
}

// TestMemory: 16 concurrent responses that are huge, or expand to be, keep the client under 400
// MiB. The client is a separate process, because the measured value is the peak of a process, and
// the fake site uses memory too.
func TestMemory(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	if origin := os.Getenv("SITE_TEST_ORIGIN"); origin != "" {
		fetchConcurrently(t, origin)
		return
	}
	for name, response := range largeHandlers(t) {
		server := startSite(t, map[string]http.HandlerFunc{"docket": response})
		peak := filepath.Join(t.TempDir(), "peak")
		many := askers
		if name == "just allowed" {
			many = holders
		}
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
		child.Env = append(os.Environ(), "SITE_TEST_ORIGIN="+server.URL, "SITE_TEST_PEAK="+peak, "SITE_TEST_MANY="+strconv.Itoa(many))
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%.2000s", name, err, out)
		}
		written, err := os.ReadFile(peak)
		if err != nil {
			t.Fatal(err)
		}
		taken, err := strconv.Atoi(string(written))
		if err != nil || taken > ceiling {
			t.Errorf("%s: %d MiB at the peak, %v; want %d at most", name, taken>>20, err, ceiling>>20)
		}
		if made := len(server.madeCalls()); made < many*askings {
			t.Errorf("%s: %d requests, want %d at least", name, made, many*askings)
		}
		t.Logf("%s: %d MiB at the peak", name, taken>>20)
		server.Close()
	}
}

// fetchConcurrently is the client process. It holds every response for as long as a case takes.
func fetchConcurrently(t *testing.T, origin string) {
	t.Helper()
	c := newClient(t, origin, func(o *site.Options) {
		o.MaxBody, o.RequestTimeout, o.JobTimeout = defaultMaxBody, time.Minute, 2*time.Minute
	})
	id := caseID(t, "IMM-13-25")
	many, err := strconv.Atoi(os.Getenv("SITE_TEST_MANY"))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range many {
		wait.Go(func() {
			for range askings {
				exchanges, err := c.Fetch(context.Background(), id, noPause)
				if reading := c.Profile.Read(id, exchanges); err != nil || reading.Verdict != contract.VerdictTransient {
					t.Errorf("read %s by %q, %s, %v", reading.Verdict, reading.Rule, reading.Error, err)
				}
				runtime.KeepAlive(exchanges)
			}
		})
	}
	wait.Wait()
	var taken runtime.MemStats
	runtime.ReadMemStats(&taken)
	if err := os.WriteFile(os.Getenv("SITE_TEST_PEAK"), []byte(strconv.FormatUint(taken.Sys, 10)), 0o600); err != nil {
		t.Fatal(err)
	}
}
