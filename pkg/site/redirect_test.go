package site_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

// redirectHandler responses with a redirect; HOST stands for the server's own host.
func redirectHandler(code int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", strings.ReplaceAll(to, "HOST", r.Host))
		w.WriteHeader(code)
	}
}

// TestRedirects: up to three redirects within the origin are followed. Each request calls before
// and is an exchange. Any other redirect makes the attempt transient, and its target gets no
// request.
func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := startSite(t, nil)
	for name, test := range map[string]struct {
		code     int
		to       string
		requests string
		verdict  contract.Verdict
	}{
		"moved":        {301, "/1", "docket /1", contract.VerdictSuccess},
		"found":        {302, "/1", "docket /1", contract.VerdictSuccess},
		"see other":    {303, "http://HOST/1#part", "docket /1", contract.VerdictSuccess},
		"temporary":    {307, "//HOST/1", "docket /1", contract.VerdictSuccess},
		"permanent":    {308, "/1", "docket /1", contract.VerdictSuccess},
		"three":        {302, "/3", "docket /3 /2 /1", contract.VerdictSuccess},
		"four":         {302, "/4", "docket /4 /3 /2", contract.VerdictTransient},
		"loop":         {302, "/loop", "docket /loop /loop /loop", contract.VerdictTransient},
		"to itself":    {302, "", "docket", contract.VerdictTransient},
		"other port":   {302, elsewhere.URL, "docket", contract.VerdictTransient},
		"other host":   {302, "http://court.invalid/1", "docket", contract.VerdictTransient},
		"link-local":   {302, "http://169.254.169.254/latest", "docket", contract.VerdictTransient},
		"other scheme": {302, "https://HOST/1", "docket", contract.VerdictTransient},
		"file":         {302, "file:///etc/passwd", "docket", contract.VerdictTransient},
		"gopher":       {302, "gopher://HOST/1", "docket", contract.VerdictTransient},
		"credentials":  {302, "http://somebody:secret@HOST/1", "docket", contract.VerdictTransient},
		"no URL":       {302, "http://[::1", "docket", contract.VerdictTransient},
		"not one":      {304, "/1", "docket", contract.VerdictTransient},
		"several":      {300, "/1", "docket", contract.VerdictTransient},
		"created":      {201, "/1", "docket", contract.VerdictTransient},
		"to a block":   {302, "/guard", "docket /guard", contract.VerdictBlocked},
		"to trouble":   {302, "/nothing", "docket /nothing", contract.VerdictTransient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{
				"docket": redirectHandler(test.code, test.to), "/4": redirectHandler(302, "3"), "/3": redirectHandler(302, "/2"), "/2": redirectHandler(307, "/1"), "/1": bodyHandler(ownBody),
				"/loop": redirectHandler(302, "/loop"), "/guard": bodyHandler(blockBody),
			})
			c := newClient(t, server.URL, nil)
			turns := 0
			exchanges, err := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), func(context.Context) (time.Duration, error) {
				turns++
				return 0, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			wantReading(t, c, exchanges, test.verdict, "")
			if diff := cmp.Diff(strings.Fields(test.requests), server.madeCalls()); diff != "" || len(elsewhere.madeCalls()) != 0 {
				t.Errorf("requests, and elsewhere %q (-want +got):\n%s", elsewhere.madeCalls(), diff)
			}
			if want := len(server.madeCalls()); turns != want || len(exchanges) != want {
				t.Errorf("%d turns and %d exchanges for %d requests", turns, len(exchanges), want)
			}
		})
	}
}

// TestRedirects_Block: a redirect whose own page is a block is not followed.
func TestRedirects_Block(t *testing.T) {
	t.Parallel()
	server := startSite(t, map[string]http.HandlerFunc{"/1": bodyHandler(ownBody), "docket": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/1")
		w.WriteHeader(http.StatusFound)
		_, _ = w.Write([]byte(blockBody))
	}})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictBlocked, "")
	if n := len(server.madeCalls()); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

// TestRedirects_Post: a form is not posted again; a redirect after a post leads to a GET.
func TestRedirects_Post(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]contract.Verdict{
		301: contract.VerdictSuccess, 302: contract.VerdictSuccess, 303: contract.VerdictSuccess, 307: contract.VerdictTransient, 308: contract.VerdictTransient,
	} {
		responses := goldenScript(t, nil)
		server := pageSite(t, responses)
		found := responses["search"][0]
		responses["search"] = []http.HandlerFunc{redirectHandler(code, "/found")}
		page := responses["tokens"][0]
		responses["tokens"] = []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/found" {
				page(w, r)
				return
			}
			if r.ContentLength != 0 || r.Header.Get("Content-Type") != "" {
				t.Errorf("%d: the redirect is followed with a body of %d bytes, %q", code, r.ContentLength, r.Header.Get("Content-Type"))
			}
			found(w, r)
		}}
		c := pageClient(t, server.URL, nil)
		exchanges := fetchCase(t, c)
		wantReading(t, c, exchanges, want, "")
		requests := 2
		if want == contract.VerdictSuccess {
			requests = 4
		}
		if n := len(server.madeCalls()); n != requests || len(exchanges) != n {
			t.Errorf("%d: %d requests and %d exchanges, want %d", code, n, len(exchanges), requests)
		}
	}
}

// TestCookies: cookies are returned to the site, also during redirects, and clients do not
// share them.
func TestCookies(t *testing.T) {
	t.Parallel()
	got := make(chan string, 6)
	server := startSite(t, map[string]http.HandlerFunc{
		"docket": func(w http.ResponseWriter, r *http.Request) {
			got <- r.Header.Get("Cookie")
			http.SetCookie(w, &http.Cookie{Name: "visit", Value: "1", Path: "/", HttpOnly: true})
			redirectHandler(302, "/1")(w, r)
		},
		"/1": func(w http.ResponseWriter, r *http.Request) {
			got <- r.Header.Get("Cookie")
			bodyHandler(ownBody)(w, r)
		},
	})
	c := newClient(t, server.URL, nil)
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
	wantReading(t, c, fetchCase(t, c), contract.VerdictSuccess, "")
	other := newClient(t, server.URL, nil)
	wantReading(t, other, fetchCase(t, other), contract.VerdictSuccess, "")
	for i, want := range []string{"", "visit=1", "visit=1", "visit=1", "", "visit=1"} {
		if cookie := <-got; cookie != want {
			t.Errorf("request %d came with the cookies %q, want %q", i, cookie, want)
		}
	}
}

func parseURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// jarCookies returns the cookies that a jar sends to a URL.
func jarCookies(t *testing.T, jar http.CookieJar, to string) string {
	t.Helper()
	var all []string
	for _, c := range jar.Cookies(parseURL(t, to)) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, " ")
}

func TestJar(t *testing.T) {
	t.Parallel()
	const origin = "https://www.court.invalid"
	const from = origin + "/en/files/list"
	for name, test := range map[string]struct {
		set  string
		to   string
		want string
	}{
		"plain":           {"a=1", origin + "/en/files/more", "a=1"},
		"default path":    {"a=1", origin + "/fr", ""},
		"path":            {"a=1; Path=/en", origin + "/en/x", "a=1"},
		"path, not below": {"a=1; Path=/en", origin + "/english", ""},
		"root":            {"a=1; Path=/", origin, "a=1"},
		"host":            {"a=1; Path=/; Domain=www.court.invalid", origin + "/", "a=1"},
		"above":           {"a=1; Path=/; Domain=.court.invalid", origin + "/", "a=1"},
		"elsewhere":       {"a=1; Path=/; Domain=evil.invalid", origin + "/", ""},
		"below":           {"a=1; Path=/; Domain=x.www.court.invalid", origin + "/", ""},
		"suffix":          {"a=1; Path=/; Domain=urt.invalid", origin + "/", ""},
		"not for others":  {"a=1; Path=/; Domain=court.invalid", "https://court.invalid/", ""},
		"not by http":     {"a=1; Path=/", "http://www.court.invalid/", ""},
		"other port":      {"a=1; Path=/", origin + ":8443/", ""},
		"same port":       {"a=1; Path=/", origin + ":443/", "a=1"},
		"secure":          {"a=1; Path=/; Secure", origin + "/", "a=1"},
		"over":            {"a=1; Path=/; Max-Age=0", origin + "/", ""},
		"long over":       {"a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", origin + "/", ""},
		"for ever":        {"a=1; Path=/; Max-Age=9223372036854775807", origin + "/", "a=1"},
		"large":           {"a=" + strings.Repeat("x", site.MaxCookie) + "; Path=/", origin + "/", ""},
		"just":            {"a=" + strings.Repeat("x", site.MaxCookie-2) + "; Path=/", origin + "/", "a=" + strings.Repeat("x", site.MaxCookie-2)},
	} {
		jar := site.NewJar(origin)
		c, err := http.ParseSetCookie(test.set)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		jar.SetCookies(parseURL(t, from), []*http.Cookie{c})
		if got := jarCookies(t, jar, test.to); got != test.want {
			t.Errorf("%s: %.50q, want %.50q", name, got, test.want)
		}
	}
}

// TestJar_Limits: the first 32 cookies are stored, another one only after one of them is deleted;
// a cookie that is set again is replaced.
func TestJar_Limits(t *testing.T) {
	t.Parallel()
	const origin = "https://court.invalid"
	jar := site.NewJar(origin)
	set := func(c http.Cookie) { jar.SetCookies(parseURL(t, origin), []*http.Cookie{&c}) }
	for n := range 2 * site.MaxCookies {
		set(http.Cookie{Name: "c" + strings.Repeat("x", n), Value: "1"})
	}
	if n := len(jar.Cookies(parseURL(t, origin))); n != site.MaxCookies {
		t.Fatalf("%d cookies, want %d", n, site.MaxCookies)
	}
	set(http.Cookie{Name: "c", Value: "2"})
	set(http.Cookie{Name: "late", Value: "3"})
	if got := jarCookies(t, jar, origin); !strings.Contains(got, "c=2") || strings.Contains(got, "late") {
		t.Errorf("stored %q", got)
	}
	set(http.Cookie{Name: "c", MaxAge: -1})
	set(http.Cookie{Name: "late", Value: "4"})
	set(http.Cookie{Name: "late", Value: "deep", Path: "/"})
	if got := jarCookies(t, jar, origin); strings.Contains(got, "c=2") || !strings.Contains(got, "late=deep") {
		t.Errorf("stored %q", got)
	}
	jar.SetCookies(parseURL(t, "https://evil.invalid"), []*http.Cookie{{Name: "c", MaxAge: -1}, {Name: "late", MaxAge: -1}})
	if got := jarCookies(t, jar, origin); !strings.Contains(got, "late=deep") {
		t.Errorf("another origin deleted a cookie: %q", got)
	}
}
