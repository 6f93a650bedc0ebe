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
	// askers ask at once, each so many times, with the limit that is the default.
	askers, askings = 16, 1
	defaultMaxBody  = 16 << 20
	// holders is how many hold an answer that is just within the limit: the default concurrency. They need three times
	// its size each while they read it, and no client can know when they let it go.
	holders = 4
	// ceiling is what the process that asks may take, in bytes.
	ceiling = 400 << 20
)

// largeHandlers answer with what is larger than it looks, or says.
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
		"huge and said to be": func(w http.ResponseWriter, _ *http.Request) {
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

// TestMemory: 16 answers at once that are huge, or become so, leave the process that asks under 400 MiB. It is a process of
// its own: what is counted is all that a process ever took from the system, and the court of the test takes some too.
func TestMemory(t *testing.T) {
	fcttest.SkipIfShort(t)
	if origin := os.Getenv("SITE_TEST_ORIGIN"); origin != "" {
		fetchConcurrently(t, origin)
		return
	}
	for name, answer := range largeHandlers(t) {
		server := startSite(t, map[string]http.HandlerFunc{"docket": answer})
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

// fetchConcurrently is the process that asks. It holds every answer as long as a case is under way.
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
