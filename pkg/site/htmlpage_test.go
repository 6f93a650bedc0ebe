package site_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// pageOf returns the last body of a call in a golden case.
func pageOf(t testing.TB, name, call string) string {
	t.Helper()
	body := ""
	for _, c := range casesIn(t, "pages") {
		if strings.HasSuffix(c.path, "/"+name+".txt") {
			for _, x := range c.exchanges {
				if x.Call == call {
					body = string(x.Body)
				}
			}
		}
	}
	if body == "" {
		t.Fatalf("no page of %s in the case %s", call, name)
	}
	return body
}

// script lists the responses of a page site by call; the last response repeats.
type script map[string][]http.HandlerFunc

// pageCall returns the call of a request for a page.
func pageCall(r *http.Request) string {
	if r.Method != http.MethodPost {
		return "tokens"
	}
	call := map[string]string{"search": "search", "re": "docket", "more": "parties"}[r.PostFormValue("__EVENTTARGET")]
	return call + r.PostFormValue("__EVENTARGUMENT")
}

// pageSite starts a site of HTML pages.
func pageSite(t *testing.T, responses script) *fakeSite {
	t.Helper()
	c, turns := &fakeSite{}, make(map[string]int)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := pageCall(r)
		c.mu.Lock()
		c.calls = append(c.calls, name)
		turn := turns[name]
		turns[name]++
		c.mu.Unlock()
		if all := responses[name]; len(all) > 0 {
			all[min(turn, len(all)-1)](w, r)
		} else {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func pageClient(t testing.TB, origin string, change func(*site.Options)) *site.Client {
	t.Helper()
	p := load(t, "fct-cf-html")
	return newClient(t, origin, func(o *site.Options) {
		o.Profile = p
		if change != nil {
			change(o)
		}
	})
}

// goldenScript responses with a complete record; changes replace the responses of some calls.
func goldenScript(t testing.TB, changes script) script {
	responses := script{
		"tokens": {bodyHandler(pageOf(t, "record-en", "tokens"))}, "search": {bodyHandler(pageOf(t, "record-en", "search"))},
		"docket": {bodyHandler(pageOf(t, "record-en", "docket"))}, "parties": {bodyHandler(pageOf(t, "parties", "parties"))},
	}
	maps.Copy(responses, changes)
	return responses
}

// TestFetch_PageCalls checks which requests each kind of case takes, including the page with the
// hidden inputs. Each calls before and is an exchange.
func TestFetch_PageCalls(t *testing.T) {
	t.Parallel()
	page := func(name, call string) http.HandlerFunc { return bodyHandler(pageOf(t, name, call)) }
	viewstate, session := statusHandler(500, pageOf(t, "stale-last", "docket")), page("stale-twice", "docket")
	cookie := statusHandler(400, "<h2>The required anti-forgery cookie &quot;__RequestVerificationToken&quot; is not present.</h2>")
	found, first := page("record-en", "search"), page("pages-end", "search")
	for name, test := range map[string]struct {
		changes script
		parties bool
		calls   string
		verdict contract.Verdict
	}{
		"record":            {nil, false, "tokens search docket", contract.VerdictSuccess},
		"record, parties":   {nil, true, "tokens search docket parties", contract.VerdictSuccess},
		"no record":         {script{"search": {page("no-record-en", "search")}, "docket": {page("no-record-en", "docket")}}, true, "tokens search docket", contract.VerdictNoRecord},
		"second page":       {script{"search": {first}, "search2": {page("second-page", "search")}}, false, "tokens search search2 docket", contract.VerdictSuccess},
		"stale viewstate":   {script{"search": {viewstate, found}}, false, "tokens search tokens search docket", contract.VerdictSuccess},
		"stale cookie":      {script{"search": {cookie, found}}, false, "tokens search tokens search docket", contract.VerdictSuccess},
		"stale session":     {script{"docket": {session, page("record-en", "docket")}}, false, "tokens search docket tokens docket", contract.VerdictSuccess},
		"stale second page": {script{"search": {first}, "search2": {viewstate, page("second-page", "search")}}, false, "tokens search search2 tokens search2 docket", contract.VerdictSuccess},
		"stale twice":       {script{"search": {viewstate}}, false, "tokens search tokens search", contract.VerdictTransient},
		"stale here, there": {script{"search": {viewstate, found}, "docket": {session}}, true, "tokens search tokens search docket", contract.VerdictTransient},
		"no inputs":         {script{"tokens": {bodyHandler("<html><body>Welcome</body></html>")}}, false, "tokens", contract.VerdictTransient},
		"inputs in trouble": {script{"tokens": {statusHandler(502, "no")}}, false, "tokens", contract.VerdictTransient},
		"inputs blocked":    {script{"tokens": {statusHandler(403, "no")}}, false, "tokens", contract.VerdictBlocked},
		"inputs guarded":    {script{"tokens": {bodyHandler(blockBody)}}, false, "tokens", contract.VerdictBlocked},
		"stale and blocked": {script{"search": {statusHandler(500, "Validation of viewstate MAC failed. Access denied.")}}, false, "tokens search", contract.VerdictBlocked},
		"guarded":           {script{"docket": {bodyHandler(blockBody)}}, true, "tokens search docket", contract.VerdictBlocked},
		"trouble":           {script{"search": {statusHandler(500, "no")}}, false, "tokens search", contract.VerdictTransient},
		"other case":        {script{"docket": {page("other-case", "docket")}}, true, "tokens search docket", contract.VerdictTransient},
		"half a docket":     {script{"docket": {page("half-a-docket", "docket")}}, true, "tokens search docket", contract.VerdictTransient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pageSite(t, goldenScript(t, test.changes))
			c := pageClient(t, server.URL, func(o *site.Options) { o.Parties = test.parties })
			turns := 0
			exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
				turns++
				return 0, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(test.calls), server.madeCalls()); diff != "" {
				t.Errorf("requests that reached the server (-want +got):\n%s", diff)
			}
			if want := len(server.madeCalls()); turns != want || len(exchanges) != want {
				t.Errorf("%d turns and %d exchanges for %d requests", turns, len(exchanges), want)
			}
			wantReading(t, c, exchanges, test.verdict, "")
		})
	}
}

// TestFetch_EndlessPages: a client stops after twenty pages.
func TestFetch_EndlessPages(t *testing.T) {
	t.Parallel()
	page := strings.NewReplacer("Showing 1 to 10 of 11", "Showing %d to %d of 9999", `data-page="2"`, `data-page="%d"`).Replace(pageOf(t, "pages-end", "search"))
	endless := func(w http.ResponseWriter, r *http.Request) {
		n := 1
		_, _ = fmt.Sscan(r.PostFormValue("__EVENTARGUMENT"), &n)
		_, _ = fmt.Fprintf(w, page, 10*n-9, 10*n, n+1)
	}
	responses := goldenScript(t, script{"search": {endless}})
	for n := range 30 {
		responses[fmt.Sprintf("search%d", n)] = []http.HandlerFunc{endless}
	}
	server := pageSite(t, responses)
	c := pageClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "not on the first 20 pages")
	if n := len(server.madeCalls()); n != 21 {
		t.Errorf("%d requests, want the inputs and 20 pages", n)
	}
}

// tokenSite checks the tokens of posts; renew makes all issued tokens stale.
type tokenSite struct {
	*httptest.Server
	mu             sync.Mutex
	sessions, from int
	requests       map[string]int
}

func (g *tokenSite) renew() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.from = g.sessions + 1
}

func (g *tokenSite) count(call string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests[call]
}

// newTokenSite issues a token and a cookie with the same number, and accepts a post if both match
// and are not stale.
func newTokenSite(t *testing.T) *tokenSite {
	t.Helper()
	responses := goldenScript(t, nil)
	g := &tokenSite{requests: make(map[string]int)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := pageCall(r)
		g.mu.Lock()
		g.requests[call]++
		if call == "tokens" {
			g.sessions++
			http.SetCookie(w, &http.Cookie{Name: "half", Value: fmt.Sprint(g.sessions), Path: "/"})
			page := strings.ReplaceAll(pageOf(t, "record-en", "tokens"), `value="abc"`, fmt.Sprintf(`value="%d"`, g.sessions))
			g.mu.Unlock()
			_, _ = io.WriteString(w, page)
			return
		}
		var token, half int
		_, _ = fmt.Sscan(r.PostFormValue("__RequestVerificationToken"), &token)
		if cookie, err := r.Cookie("half"); err == nil {
			_, _ = fmt.Sscan(cookie.Value, &half)
		}
		good := token == half && token >= g.from && token > 0
		g.mu.Unlock()
		if !good {
			statusHandler(500, "Validation of viewstate MAC failed.")(w, r)
			return
		}
		page := httptest.NewRecorder()
		responses[call][0](page, r)
		_, _ = io.WriteString(w, strings.ReplaceAll(page.Body.String(), `value="abc"`, fmt.Sprintf(`value="%d"`, token)))
	}))
	t.Cleanup(g.Close)
	return g
}

// TestSessionIsShared: concurrent attempts share one session, and one new session when it goes
// stale.
func TestSessionIsShared(t *testing.T) {
	t.Parallel()
	const many = 16
	server := newTokenSite(t)
	c := pageClient(t, server.URL, nil)
	for round := 1; round <= 3; round++ {
		var askers sync.WaitGroup
		for range many {
			askers.Go(func() {
				exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), noPause)
				if err != nil {
					t.Error(err)
					return
				}
				wantReading(t, c, exchanges, contract.VerdictSuccess, "")
			})
		}
		askers.Wait()
		if n := server.count("tokens"); n != round {
			t.Errorf("%d harvests after %d rounds", n, round)
		}
		server.renew()
	}
}

// TestPostedForm checks the form that the server receives: the hidden inputs, overridden by the
// profile's form.
func TestPostedForm(t *testing.T) {
	t.Parallel()
	forms := make(chan *http.Request, 8)
	keep := func(page string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			forms <- r
			bodyHandler(page)(w, r)
		}
	}
	search := strings.Replace(pageOf(t, "record-en", "search"), `value="abc"`, `value="fresh &amp; &quot;new&quot;"`, 1)
	server := pageSite(t, goldenScript(t, script{"search": {keep(search)}, "docket": {keep(pageOf(t, "record-en", "docket"))}}))
	c := pageClient(t, server.URL+"/", nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
	for _, want := range []map[string][]string{
		{"__EVENTTARGET": {"search"}, "__RequestVerificationToken": {"abc"}},
		{"__EVENTTARGET": {"re"}, "__RequestVerificationToken": {`fresh & "new"`}},
	} {
		r := <-forms
		want["__EVENTARGUMENT"], want["__VIEWSTATE"], want["tab02selectCourt"], want["selectCourtNumber"] = []string{""}, []string{"dDw+/w=="}, []string{"t"}, []string{"IMM-13-25"}
		if diff := cmp.Diff(want, map[string][]string(r.PostForm)); diff != "" {
			t.Errorf("the form (-want +got):\n%s", diff)
		}
		if r.RequestURI != "/en/court-files-and-decisions/court-files" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ContentLength < 1 {
			t.Errorf("%s with %v, length %d", r.RequestURI, r.Header, r.ContentLength)
		}
	}
}

// TestPostIsNotRepeated: a reset of a reused connection is one failed post, without a repetition.
func TestPostIsNotRepeated(t *testing.T) {
	t.Parallel()
	server := pageSite(t, goldenScript(t, script{"search": {func(w http.ResponseWriter, _ *http.Request) { resetConn(t, w) }}}))
	c := pageClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "search call: ")
	if diff := cmp.Diff([]string{"tokens", "search"}, server.madeCalls()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestSession_BeforeFails: no request is sent after before failed, and attempts that wait for a
// session are canceled.
func TestSession_BeforeFails(t *testing.T) {
	t.Parallel()
	halted := errors.New("halted")
	arrived := make(chan struct{})
	server := pageSite(t, goldenScript(t, script{"tokens": {func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		hangHandler(w, r)
	}}}))
	c := pageClient(t, server.URL, nil)
	if _, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) { return 0, halted }); !errors.Is(err, halted) || len(server.madeCalls()) != 0 {
		t.Errorf("error %v after %d requests, want the pace's error after none", err, len(server.madeCalls()))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var first sync.WaitGroup
	first.Go(func() { _, _ = c.Fetch(ctx, caseID(t, "IMM-13-25"), noPause) })
	<-arrived
	waiting, end := context.WithCancelCause(t.Context())
	end(halted)
	if _, err := c.Fetch(waiting, caseID(t, "IMM-14-25"), noPause); !errors.Is(err, halted) {
		t.Errorf("error %v, want the end's cause", err)
	}
	cancel(halted)
	first.Wait()
	if n := len(server.madeCalls()); n != 1 {
		t.Errorf("%d requests, want the one that hangs", n)
	}
}

// TestPageFaults: with any fault of the site an existing case is never a no-record, a missing
// case never a success, and a record never that of another case. The fault spares some numbers, and
// usually the page with the hidden inputs, which belongs to no number.
func TestPageFaults(t *testing.T) {
	t.Parallel()
	p := load(t, "fct-cf-html")
	for _, kind := range courtsim.FaultKinds() {
		if kind == "softblock" { // a lie that is well-formed shows in the row of responses, not in one
			continue
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fault := courtsim.Fault{Kind: kind, Share: 0.6, Times: courtsim.Forever}
			sim, clients := newSimulator(t, courtsim.Options{Seed: 3, Max: 20, Gaps: []contract.Range{{Start: 4, End: 6}}, Faults: []courtsim.Fault{fault}}, true, p)
			c, err := site.NewClient(site.Options{
				Profile: p, Origin: clients[0].Origin, RequestTimeout: 500 * time.Millisecond, JobTimeout: 5 * time.Second, MaxBody: 1 << 20, Parties: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			for number := 1; number <= fcttest.Scaled(4, 8); number++ {
				id := contract.CaseID{Series: "IMM", Number: number, Year: "25"}
				reading := readAttempt(t, c, id)
				wrong := contract.VerdictNoRecord
				if !sim.Exists(id) {
					wrong = contract.VerdictSuccess
				}
				if reading.Verdict == wrong || reading.Record != nil && reading.Record.CaseID != id {
					t.Errorf("%s is read %s by %s: %+v", id, reading.Verdict, reading.Rule, reading.Record)
				}
			}
		})
	}
}

// TestHostilePages: pages built to consume time or memory do not.
func TestHostilePages(t *testing.T) {
	fcttest.SkipIfShort(t)
	p, id := load(t, "fct-cf-html"), caseID(t, "IMM-13-25")
	search, docket := pageOf(t, "record-en", "search"), pageOf(t, "record-en", "docket")
	filled := func(page, before, with string) string { return strings.Replace(page, before, with+before, 1) }
	entries := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `<tr><td>%d</td><td>2025-01-03</td><td>Toronto</td><td>Entry %d</td><td></td></tr>`, i+10, i)
		}
		return b.String()
	}
	const info, modal = `<div id="datatable_info">`, `<div id="ModalForm"`
	for name, test := range map[string]struct {
		search, docket string
		verdict        contract.Verdict
	}{
		"long docket":        {search, filled(docket, "<tr><td>1<", entries(3_000)), contract.VerdictSuccess},
		"too long a docket":  {search, filled(docket, "<tr><td>1<", entries(30_000)), contract.VerdictTransient},
		"many dialogs":       {search, filled(docket, modal, strings.Repeat(modal+`></div>`, 15_000)), contract.VerdictTransient},
		"nested dialogs":     {search, filled(docket, modal, strings.Repeat(modal+`>`, 400)+strings.Repeat("<p><strong>Office :</strong> x</p>", 20_000)), contract.VerdictTransient},
		"wide dialog":        {search, filled(docket, "<p><strong>Type :", strings.Repeat("<p><strong>Office :</strong> x</p>", 5_000)), contract.VerdictSuccess},
		"many tables":        {filled(search, info, strings.Repeat(`<table id="datatable"></table>`, 15_000)), docket, contract.VerdictTransient},
		"many captions":      {search, filled(docket, "<p><strong>Type :", "<table>"+strings.Repeat("<caption>Legend</caption>", 15_000)+"</table>"), contract.VerdictSuccess},
		"many headings":      {search, filled(docket, "<th>ID", strings.Repeat("<th>x</th>", 15_000)), contract.VerdictSuccess},
		"deep cell":          {search, strings.Replace(docket, "Notice of appearance", strings.Repeat("<b>x", 300), 1), contract.VerdictSuccess},
		"long text":          {search, strings.Replace(docket, "Notice of appearance", strings.Repeat("Notice ", 100_000), 1), contract.VerdictSuccess},
		"many inputs":        {filled(search, `<input type="text"`, strings.Repeat(`<input type="hidden" name="a" value="b">`, 15_000)), docket, contract.VerdictSuccess},
		"open formats":       {search, filled(docket, modal, strings.Repeat("<b><i><u><p>", 5_000)), contract.VerdictSuccess},
		"rows without cells": {filled(search, "<tr><td>IMM", strings.Repeat("<tr></tr>", 15_000)), docket, contract.VerdictTransient},
	} {
		t.Run(name, func(t *testing.T) {
			exchanges := []contract.Exchange{
				{Call: "search", Status: 200, StartedAt: exchangeStart, Body: []byte(test.search)}, {Call: "docket", Status: 200, StartedAt: exchangeStart, Body: []byte(test.docket)},
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			reading := p.Read(id, exchanges)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if reading.Verdict != test.verdict {
				t.Errorf("read %s, %.300s; want %s", reading.Verdict, reading.Error, test.verdict)
			}
			t.Logf("%s, %d MiB in all", took, (after.TotalAlloc-before.TotalAlloc)>>20)
			if took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
