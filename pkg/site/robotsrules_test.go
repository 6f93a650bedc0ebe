package site_test

import (
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/site"
)

// TestRobotsRules checks RFC 9309 and common deviations.
func TestRobotsRules(t *testing.T) {
	t.Parallel()
	const us, all = "User-agent: fct-scraper\n", "User-agent: *\n"
	for _, test := range []struct {
		text, path string
		allowed    bool
	}{
		// The examples of RFC 9309, section 5.
		{all + "Disallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n", "/a.gif", false}, {all + "Disallow: *.gif$\n", "/a.gif?x", true},
		{us + "Allow: /example/page/\nDisallow: /example/page/disallowed.gif\n", "/example/page/disallowed.gif", false},
		{us + "Allow: /example/page/\nDisallow: /example/page/disallowed.gif\n", "/example/page/x", true},
		// The longest rule decides; of two equally long rules the allowing one wins, in any order.
		{all + "Disallow: /a\nAllow: /a/b\n", "/a/b/c", true}, {all + "Allow: /a/b\nDisallow: /a\n", "/a/c", false},
		{all + "Disallow: /x\nAllow: /x\n", "/x", true}, {all + "Allow: /x\nDisallow: /x\n", "/x", true}, {all + "Disallow: /\nAllow: /\n", "/x", true},
		// * matches anything, $ the end, and a pattern starts at the start of the path.
		{all + "Disallow: /a$\n", "/a", false}, {all + "Disallow: /a$\n", "/ab", true}, {all + "Disallow: /a$\n", "/b/a", true}, {all + "Disallow: /a*b\n", "/x/a-b", true},
		{all + "Disallow: /a*b$\n", "/a-b-b", false}, {all + "Disallow: /a*b$\n", "/a-b-c", true}, {all + "Disallow: /*/*/c\n", "/1/2/c/d", false}, {all + "Disallow: *\n", "/x", false},
		{all + "Disallow: /a*b$\n", "/ab", false}, {all + "Disallow: /ab*b$\n", "/ab", true}, {all + "Disallow: /a$b\n", "/a$b", false}, {all + "Disallow: /**\n", "/x", false},
		// Different encodings of the same path.
		{all + "Disallow: /%7Ex\n", "/~x", false}, {all + "Disallow: /~x\n", "/%7ex", false}, {all + "Disallow: /é\n", "/%C3%A9", false}, {all + "Disallow: /%c3%a9\n", "/é", false},
		{all + "Disallow: /a%2Fb\n", "/a/b", true}, {all + "Disallow: /a b\n", "/a%20b", false}, {all + "Disallow: /%zz\n", "/%zz", false}, {all + "Disallow: /100%\n", "/100%", false},
		// The group that applies.
		{us + "Disallow: /\n", "/x", false}, {"user-AGENT:   FCT-scraper   # us\nDISALLOW: /\n", "/x", false}, {"User-agent: fct-scraper/1.0\nDisallow: /\n", "/x", false},
		{"User-agent: fct\nDisallow: /\n", "/x", true}, {"User-agent: fct-scraper-two\nDisallow: /\n", "/x", true}, {us + all + "Disallow: /\n", "/x", false},
		{us + "Disallow: /a\n" + all + "Disallow: /b\n" + us + "Disallow: /c\n", "/a", false}, {us + "Disallow: /a\n" + all + "Disallow: /b\n" + us + "Disallow: /c\n", "/c", false},
		{us + "Disallow: /a\n" + all + "Disallow: /b\n", "/b", true}, {us + "\n" + all + "Disallow: /\n", "/x", false}, {us + "Crawl-delay: 1\n" + all + "Disallow: /\n", "/x", true},
		{all + "Disallow: /a\n" + "User-agent: x\nDisallow: /\n" + all + "Disallow: /b\n", "/b", false},
		// Only misplaced or unknown lines are ignored.
		{"Disallow: /\n" + all + "Disallow: /x\n", "/x", false}, {"Disallow: /\n" + all + "Disallow: /x\n", "/y", true}, {all + "Crawl-delay: soon\nDisallow: /x\n", "/x", false},
		{all + "Sitemap: https://court.invalid/x\nNoindex: /\nDisallow /\nDisallow: /x\n", "/x", false}, {all + "Disallow\n: /\n:::\n", "/x", true}, {all + "Disallow: x\n", "/x", false},
		{all + "Disallow: # all\n", "/x", true}, {all + "Disallow: /x # not this\n", "/x", false}, {all + "\n\n# between\n\nDisallow: /x\n", "/x", false},
		// Line ends, byte order marks and spaces.
		{"\xef\xbb\xbfUser-agent: *\r\nDisallow: /x\r\n", "/x", false}, {"User-agent: *\rDisallow: /x\r", "/x", false}, {"  User-agent :  * \n\tDisallow\t:\t/x\t\n", "/x", false}, {all + "Disallow: /x", "/x", false},
	} {
		if got, _ := site.ParseRobots([]byte(test.text), test.path); got != test.allowed {
			t.Errorf("%q: %s allowed %t, want %t", test.text, test.path, got, test.allowed)
		}
	}
}

// TestCrawlDelay: seconds with or without a fraction, at most an hour; the longest of several
// counts.
func TestCrawlDelay(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"10": 10 * time.Second, "0.5": 500 * time.Millisecond, " 2 # s": 2 * time.Second, "3600": time.Hour, "3601": time.Hour, "1e300": time.Hour, "Inf": time.Hour,
		"0": 0, "-1": 0, "-Inf": 0, "NaN": 0, "": 0, "10s": 0, "soon": 0, "1\nCrawl-delay: 5\nCrawl-delay: 3": 5 * time.Second,
	} {
		if _, got := site.ParseRobots([]byte("User-agent: *\nCrawl-delay: "+value), "/"); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// FuzzRobots: any text is a valid robots.txt; a group for this program appended to it decides.
func FuzzRobots(f *testing.F) {
	for _, seed := range []string{"User-agent: *\nDisallow: /a*b$\nAllow: /%7e\nCrawl-delay: 3", "\xef\xbb\xbfuser-agent: fct-scraper/1\rdisallow: *%", "<html>", "a:b:c#d\x00", "Disallow: /" + strings.Repeat("*a", 50)} {
		f.Add([]byte(seed), "/CourtFilesAndDecisions/x?courtnumber=IMM-13-25")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		_, delay := site.ParseRobots(text, path)
		if delay < 0 || delay > time.Hour {
			t.Errorf("delay %s", delay)
		}
		if len(text) > 1<<16 {
			return
		}
		path = "/" + path
		forbidden := append(append([]byte(nil), text...), "\nUser-agent: fct-scraper\nDisallow: *\nDisallow: /\n"...)
		allowed := append(append([]byte(nil), text...), "\nUser-agent: fct-scraper\nAllow: "+strings.Repeat("*", len(text)*3+1)+"\n"...)
		if ok, _ := site.ParseRobots(allowed, path); !ok {
			t.Errorf("%q: forbidden by %q", path, allowed)
		}
		if ok, _ := site.ParseRobots(forbidden, path); ok && !strings.Contains(strings.ToLower(string(text)), "allow") {
			t.Errorf("%q: allowed by %q", path, forbidden)
		}
	})
}
