package site_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// TestLargeBodies: an answer of any size up to the limit arrives whole, and one that breaks off never passes for a whole one.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	const limit, mib = 6 << 20, 1 << 20
	for _, size := range []int{2*mib - 1, 2 * mib, 2*mib + 1, 3 * mib, 3*mib + 1, 3*mib + 2, 5*mib + 12345, limit - 1, limit, limit + 1} {
		for _, whole := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, whole %t", size, whole), func(t *testing.T) {
				t.Parallel()
				body := ownBody + strings.Repeat(" ", size-len(ownBody)-1) + "\n"
				server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, body)
					if !whole {
						panic(http.ErrAbortHandler)
					}
				}})
				c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = limit })
				exchanges := fetchCase(t, c)
				switch {
				case size > limit && whole:
					wantReading(t, c, exchanges, contract.VerdictTransient, "max_body: larger than 6291456 bytes")
				case !whole: // one byte too much may be seen before the end is
					wantReading(t, c, exchanges, contract.VerdictTransient, "docket call: ")
				default:
					wantReading(t, c, exchanges, contract.VerdictSuccess, "")
					if string(exchanges[0].Body) != body {
						t.Errorf("another body of %d bytes", len(exchanges[0].Body))
					}
				}
			})
		}
	}
}

// TestLargeBodiesWait: only so many large answers are read at a time; the others come to their turn, and small ones do not
// wait at all.
func TestLargeBodiesWait(t *testing.T) {
	t.Parallel()
	large := ownBody + strings.Repeat(" ", 3<<20)
	begun, goOn := make(chan struct{}, site.MaxLargeBodies), make(chan struct{})
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-goOn
	}})
	quick := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(ownBody)})
	c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = 4 << 20 })
	results := make(chan contract.Verdict)
	const askers = 2*site.MaxLargeBodies + 1
	for range askers {
		go func() {
			exchanges, _ := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), noPause)
			results <- c.Profile.Read(caseID(t, "IMM-13-25"), exchanges).Verdict
		}()
	}
	for range site.MaxLargeBodies {
		<-begun
	}
	small := newClient(t, quick.URL, nil)
	wantReading(t, small, fetchCase(t, small), contract.VerdictSuccess, "")
	close(goOn)
	for range askers - site.MaxLargeBodies {
		<-begun
	}
	for range askers {
		if verdict := <-results; verdict != contract.VerdictSuccess {
			t.Errorf("read %s", verdict)
		}
	}
}
