package site_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/site"
)

const (
	docketPath = "/CourtFilesAndDecisions/proceedingQueriesRE"
	headerPath = "/CourtFilesAndDecisions/proceedingQueriesCourtNumberList"
	peoplePath = "/CourtFilesAndDecisions/PublicPartiesListInfo"
)

// fetchRobots reads the robots.txt of a site with this handler.
func fetchRobots(
	t *testing.T, response http.HandlerFunc, change func(*site.Options),
) (*fakeSite, site.RobotsRules, error) {
	t.Helper()
	server := startSite(t, map[string]http.HandlerFunc{"/robots.txt": response, "/elsewhere.txt": bodyHandler("User-agent: *\nDisallow: /")})
	rules, err := newClient(t, server.URL, change).Robots(t.Context(), noPause)
	return server, rules, err
}

// textHandler responses with this status and body.
func textHandler(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// TestRobots checks which calls a file allows.
func TestRobots(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		response  http.HandlerFunc
		forbidden string
		delay     time.Duration
	}{
		"empty":                      {bodyHandler(""), "", 0},
		"all for everybody":          {bodyHandler("User-agent: *\nDisallow:\n"), "", 0},
		"nothing for everybody":      {bodyHandler("User-agent: *\nDisallow: /\n"), docketPath, 0},
		"a path of the docket":       {bodyHandler("User-agent: *\nDisallow: " + docketPath), docketPath, 0},
		"a path of the list":         {bodyHandler("User-agent: *\nDisallow: /*CourtNumberList"), headerPath, 0},
		"an unused path":             {bodyHandler("User-agent: *\nDisallow: /admin/"), "", 0},
		"a query":                    {bodyHandler("User-agent: *\nDisallow: /*?courtnumber="), docketPath, 0},
		"our own group":              {bodyHandler("User-agent: *\nDisallow: /\n\nUser-agent: fct-scraper\nAllow: /\n"), "", 0},
		"our own group is stricter":  {bodyHandler("User-agent: FCT-Scraper\nDisallow: /\n\nUser-agent: *\nAllow: /\n"), docketPath, 0},
		"others' groups":             {bodyHandler("User-agent: GPTBot\nUser-agent: fct\nDisallow: /\n"), "", 0},
		"delay":                      {bodyHandler("User-agent: *\nCrawl-delay: 10\n"), "", 10 * time.Second},
		"an absurd delay":            {bodyHandler("User-agent: *\nCrawl-delay: 1e300\n"), "", time.Hour},
		"no file":                    {textHandler(404, "<html><script src=recaptcha.js></script>no such page</html>"), "", 0},
		"gone":                       {textHandler(410, ""), "", 0},
		"unauthorized":               {textHandler(401, ""), "", 0},
		"an HTML page instead":       {bodyHandler("<html><body>Welcome to the court</body></html>"), "", 0},
		"rules about captchas":       {bodyHandler("# access denied to bots\nUser-agent: *\nDisallow: /captcha/\n"), "", 0},
		"another success":            {textHandler(203, "User-agent: *\nDisallow: /"), docketPath, 0},
		"a redirect":                 {http.RedirectHandler("/elsewhere.txt", http.StatusMovedPermanently).ServeHTTP, docketPath, 0},
		"redirects without an end":   {http.RedirectHandler("/robots.txt", http.StatusFound).ServeHTTP, "", 0},
		"binary":                     {bodyHandler("\x00\xff\xfe\x1b[31m"), "", 0},
		"the rule behind 500 KiB":    {bodyHandler("User-agent: *\n" + strings.Repeat("#\n", 250<<10) + "Disallow: /"), "", 0},
		"the rule that 500 KiB cuts": {bodyHandler("User-agent: *\n" + strings.Repeat("#", 500<<10-len("User-agent: *\n\nDisallow: /")) + "\nDisallow: /admin"), "", 0},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, "User-agent: *\nDisallow: /\n")
			}
		}, docketPath, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, rules, err := fetchRobots(t, test.response, nil)
			if err != nil {
				t.Fatal(err)
			}
			path, ok := rules.Allows(caseID(t, "IMM-13-25"))
			path, _, _ = strings.Cut(path, "?")
			if ok != (test.forbidden == "") || path != test.forbidden || rules.CrawlDelay() != test.delay {
				t.Errorf("allowed %t, forbidden %q, delay %s; want %q and %s", ok, path, rules.CrawlDelay(), test.forbidden, test.delay)
			}
		})
	}
}

// TestRobots_Unreachable: if the site fails, no request is allowed, and the error can be
// distinguished.
func TestRobots_Unreachable(t *testing.T) {
	t.Parallel()
	elsewhere := startSite(t, nil)
	for name, response := range map[string]http.HandlerFunc{
		"500": textHandler(500, "User-agent: *\nAllow: /"), "503": textHandler(503, ""), "599": textHandler(599, ""), "300 without a way": textHandler(300, ""), "reset": func(w http.ResponseWriter, _ *http.Request) { resetConn(t, w) },
		"hang": hangHandler, "cut off": rawHandler(t, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nUser-agent: *\nAllow: /", "", 0), "nonsense": rawHandler(t, "banana\r\n", "", 0),
		"another origin": http.RedirectHandler(elsewhere.URL+"/robots.txt", http.StatusFound).ServeHTTP, "a file": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Location"] = []string{"file:///etc/passwd"}
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _, err := fetchRobots(t, response, func(o *site.Options) {
				if name == "hang" {
					o.RequestTimeout = 2 * time.Second
				}
			})
			if !errors.Is(err, site.ErrRobotsUnreachable) {
				t.Errorf("error %v, want one that wraps ErrRobotsUnread", err)
			}
			if len(server.madeCalls()) != 1 || len(elsewhere.madeCalls()) != 0 {
				t.Errorf("requests %q, and elsewhere %q", server.madeCalls(), elsewhere.madeCalls())
			}
		})
	}
	_, err := newClient(t, "http://127.0.0.1:1", nil).Robots(t.Context(), noPause)
	if !errors.Is(err, site.ErrRobotsUnreachable) {
		t.Errorf("no server: error %v", err)
	}
}

// TestRobots_Blocked: a block may already response the request for robots.txt.
func TestRobots_Blocked(t *testing.T) {
	t.Parallel()
	for name, response := range map[string]http.HandlerFunc{"403": statusHandler(403, ""), "429": statusHandler(429, ""), "page": statusHandler(200, blockBody), "page under 503": statusHandler(503, blockBody), "page under 406": statusHandler(406, "Mod_Security")} {
		_, _, err := fetchRobots(t, response, nil)
		blocked, found := errors.AsType[*site.RobotsBlockedError](err)
		if !found || blocked.Wait < 200*time.Second || blocked.Exchange.Status == 0 || errors.Is(err, site.ErrRobotsUnreachable) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestRobots_Requests: each request, including redirects, calls before, has the program's
// User-Agent, and is not sent if before fails.
func TestRobots_Requests(t *testing.T) {
	t.Parallel()
	agents := make(chan string, 8)
	hop := func(w http.ResponseWriter, r *http.Request) {
		agents <- r.UserAgent()
		http.Redirect(w, r, "/robots.txt", http.StatusFound)
	}
	server := startSite(t, map[string]http.HandlerFunc{"/robots.txt": hop})
	c := newClient(t, server.URL, nil)
	requests, halted := 0, errors.New("halted")
	rules, err := c.Robots(t.Context(), func(context.Context) (time.Duration, error) {
		if requests++; requests > 3 {
			return 0, halted
		}
		return time.Duration(requests) * time.Second, nil
	})
	if !errors.Is(err, halted) || errors.Is(err, site.ErrRobotsUnreachable) || len(server.madeCalls()) != 3 || len(rules.Requests) != 3 {
		t.Errorf("error %v, %d requests, %d exchanges; want the pace's error after three", err, len(server.madeCalls()), len(rules.Requests))
	}
	if agent := <-agents; agent != "fct-scraper/test (+nobody@court.invalid)" || rules.Requests[1].GapSeconds != 2 || rules.Requests[1].Status != http.StatusFound {
		t.Errorf("agent %q, exchanges %+v", agent, rules.Requests)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Robots(ctx, noPause); !errors.Is(err, context.Canceled) || len(server.madeCalls()) != 3 {
		t.Errorf("cancelled: error %v, %d requests", err, len(server.madeCalls()))
	}
}

// TestRobots_Parties: a call that is never made may be disallowed.
func TestRobots_Parties(t *testing.T) {
	t.Parallel()
	for _, parties := range []bool{true, false} {
		_, rules, err := fetchRobots(t, bodyHandler("User-agent: *\nDisallow: "+peoplePath), func(o *site.Options) { o.Parties = parties })
		if err != nil {
			t.Fatal(err)
		}
		if path, ok := rules.Allows(caseID(t, "IMM-13-25")); ok == parties {
			t.Errorf("parties %t: allowed %t, %q", parties, ok, path)
		}
	}
}

// A site without rules is asked about every case.
func TestRobotsAllows_NothingToCheck(t *testing.T) { //nolint:paralleltest // it counts allocations
	court := startSite(t, nil)
	rules, err := newClient(t, court.URL, nil).Robots(t.Context(), noPause)
	if err != nil {
		t.Fatal(err)
	}
	id := caseID(t, "IMM-13-25")
	if n := testing.AllocsPerRun(100, func() { rules.Allows(id) }); n > 0 {
		t.Errorf("%v allocations for a robots.txt without rules", n)
	}
}
