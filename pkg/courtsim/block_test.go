package courtsim_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fct-scraper/pkg/courtsim"
)

func TestStats_AfterBlock(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 8, Max: 30, Faults: []courtsim.Fault{{Kind: "403", Share: 1, Times: 1}}})
	for range 3 {
		get(sim, callPath("proceedingQueriesRE", 7))
	}
	if s := sim.Stats(); s.AfterBlock != 2 || s.FirstBlock == "" || s.Faults["403"] != 1 || s.AfterBlockLastSeconds <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestBlockAfter: from the n-th request on every response is the block, for JSON, HTML and
// robots.txt. The stats tell when the first one was sent and when the last request started.
func TestBlockAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range courtsim.BlockKinds() {
			sim := newSimulator(t, courtsim.Options{Seed: 8, Max: 30, Robots: "User-agent: *", BlockAfter: courtsim.Block{After: 3, Kind: kind}})
			begun := time.Now()
			targets := []string{callPath("proceedingQueriesRE", 1), "/robots.txt", callPath("proceedingQueriesRE", 2), callPath("proceedingQueriesRE", 3), callPath("PublicPartiesListInfo", 1), "/robots.txt", englishPage}
			var blocked []bool
			for _, target := range targets {
				response := get(sim, target)
				blocked = append(blocked, response.Code >= 400 || strings.Contains(response.Body.String(), "<title>Request Rejected") || strings.Contains(response.Body.String(), "captcha"))
				time.Sleep(time.Second) // virtual: the stats are to tell seconds
			}
			if want := []bool{false, false, false, true, true, true, true}; !slices.Equal(blocked, want) {
				t.Errorf("%s: blocked %v, want %v", kind, blocked, want)
			}
			s := sim.Stats()
			if s.Requests != 5 || s.Robots != 2 || s.Pages != 1 || s.AfterBlock != 3 || s.AfterBlockLastSeconds != 3 || *s.MinGapSeconds != 1 || s.Faults[kind] != 4 {
				t.Errorf("%s: %+v, gap %v", kind, s, *s.MinGapSeconds)
			}
			if first, last := timeAfter(begun, 3), timeAfter(begun, 6); s.FirstBlock != first || s.LastAfterBlock != last {
				t.Errorf("%s: first block %s, last request %s; want %s, %s", kind, s.FirstBlock, s.LastAfterBlock, first, last)
			}
		}
	})
}

func timeAfter(begun time.Time, seconds int) string {
	return begun.Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339Nano)
}

// TestSoftBlockAfter: a soft block returns well-formed responses in which no case exists.
func TestSoftBlockAfter(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 8, Max: 30, SoftBlockAfter: 3})
	bodies := make([]string, 0, 3)
	for n := 1; n <= 3; n++ {
		bodies = append(bodies, get(sim, callPath("proceedingQueriesCourtNumberList", n)).Body.String())
	}
	none := get(newSimulator(t, courtsim.Options{Seed: 8, Max: 30}), callPath("proceedingQueriesCourtNumberList", 31)).Body.String()
	if bodies[0] == none || bodies[1] == none || bodies[2] != none {
		t.Errorf("%.40q", bodies)
	}
	v := newVisitor(t, sim, englishPage)
	v.post(v.form("search", "IMM-1-25", ""))
	if got := v.text(`//td[@class="dataTables_empty"]`); got != "No data available in table" {
		t.Errorf("a search found %q", got)
	}
	v.post(v.form("re", "IMM-1-25", ""))
	if got := v.text(`//h4|//div[@id="ModalForm"]//p|//td[@class="dataTables_empty"]`); got != "Recorded Entry Information : IMM-1-25|No data available in table" {
		t.Errorf("the dialog says %q", got)
	}
	if s := sim.Stats(); s.FirstBlock != "" || s.Faults["softblock"] != 4 {
		t.Errorf("%+v", s)
	}
}

func TestRobots(t *testing.T) {
	t.Parallel()
	const text = "User-agent: *\nDisallow: /en/"
	sim := newSimulator(t, courtsim.Options{Seed: 8, Max: 30, Robots: text, Faults: []courtsim.Fault{{Kind: "500", Share: 1}}})
	response := get(sim, "/robots.txt")
	if response.Code != http.StatusOK || response.Body.String() != text || !strings.HasPrefix(response.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, %q", response.Code, response.Body)
	}
	if s := sim.Stats(); s.Robots != 1 || s.Requests != 0 || s.MinGapSeconds != nil {
		t.Errorf("%+v", s)
	}
	get(sim, callPath("proceedingQueriesRE", 1))
	if s := sim.Stats(); s.Robots != 1 || s.Requests != 1 || s.MinGapSeconds == nil {
		t.Errorf("%+v", s)
	}
	bare := newSimulator(t, courtsim.Options{})
	if code := get(bare, "/robots.txt").Code; code != http.StatusNotFound || bare.Stats().Robots != 1 {
		t.Errorf("status %d without robots, %d asked", code, bare.Stats().Robots)
	}
}

// pipeListener is a listener whose connections are pipes, so that HTTP runs in virtual time.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowResponses: the duration of each slow response, in virtual time.
func TestSlowResponses(t *testing.T) {
	for kind, want := range map[string]struct {
		took time.Duration
		size int
		err  error
	}{
		"slow": {took: 25 * time.Second, size: -1}, "timeout": {took: 10 * time.Minute, err: io.EOF},
		"drip": {took: 10 * time.Minute, size: 601, err: io.ErrUnexpectedEOF}, "slowheader": {took: 10 * time.Minute, err: io.ErrUnexpectedEOF},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100, Faults: []courtsim.Fault{{Kind: kind, Share: 1}}})
				listener := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
				server := &http.Server{Handler: sim}
				go func() { _ = server.Serve(listener) }()
				defer func() { _ = server.Close() }()
				begun := time.Now()
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: listener.dial}}
				size := 0
				response, err := client.Get("http://court" + callPath("proceedingQueriesRE", 1))
				if err == nil {
					defer func() { _ = response.Body.Close() }()
					var body []byte
					body, err = io.ReadAll(response.Body)
					size = len(body)
				}
				if took := time.Since(begun); took != want.took || !errors.Is(err, want.err) || want.size >= 0 && size != want.size {
					t.Errorf("%v, %d bytes, %v; want %v, %d bytes, %v", took, size, err, want.took, want.size, want.err)
				}
			})
		})
	}
}
