package site_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/site"
)

// TestRetryAfter: plausible values in the forms that servers send are honoured up to a day. An
// implausible value is ignored, and never means "now".
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const none, unread = 0, 15 * time.Minute
	in := func(d time.Duration, layout string) string { return exchangeStart.Add(d).UTC().Format(layout) }
	east := time.FixedZone("", 2*60*60)
	for _, test := range []struct {
		value string
		want  time.Duration
	}{
		{"2", 2 * time.Second}, {"120", 2 * time.Minute}, {"86400", site.MaxWait}, {"86401", site.MaxWait},
		{"0120", 2 * time.Minute},
		{"99999999999", site.MaxWait}, {"9223372036854775808", site.MaxWait},
		{strings.Repeat("9", 1<<16), site.MaxWait},
		{" 120 ", 2 * time.Minute}, {"\t120\r\n", 2 * time.Minute}, {"\"120\"", 2 * time.Minute},
		// Numbers in common notations.
		{"+7200", 2 * time.Hour}, {"7200.5", 2*time.Hour + time.Second/2}, {"7200.", 2 * time.Hour},
		{"7200.0", 2 * time.Hour}, {"1.5", 1500 * time.Millisecond},
		{"7,200", 2 * time.Hour}, {"7.200", 2 * time.Hour}, {"1,000,000", site.MaxWait},
		{"60, 7,200", 2 * time.Hour}, {"7,200, 60", 2 * time.Hour},
		// Durations.
		{"7200s", 2 * time.Hour}, {"7200 s", 2 * time.Hour}, {"2h", 2 * time.Hour}, {"2H", 2 * time.Hour},
		{"1.5h", 90 * time.Minute}, {"1h30m", 90 * time.Minute},
		{"90m", 90 * time.Minute}, {"120 seconds", 2 * time.Minute}, {"1 second", time.Second},
		{"15 Minutes", 15 * time.Minute}, {"2 hours", 2 * time.Hour},
		{"1 day", site.MaxWait}, {"9d", site.MaxWait}, {"500ms", time.Second / 2},
		{"99999999999999999999h", site.MaxWait}, {"+2h", 2 * time.Hour},
		// Dates: the three forms of HTTP, and two more.
		{in(time.Hour, http.TimeFormat), time.Hour},
		{in(time.Hour, "Monday, 02-Jan-06 15:04:05 GMT"), time.Hour}, {in(time.Hour, time.ANSIC), time.Hour},
		{in(time.Hour, time.RFC3339), time.Hour}, {in(time.Hour, time.RFC1123Z), time.Hour},
		{exchangeStart.Add(time.Hour).In(east).Format(time.RFC3339), time.Hour},
		{in(90*24*time.Hour, http.TimeFormat), site.MaxWait}, {"Fri, 31 Dec 9999 23:59:59 GMT", site.MaxWait},
		{in(-time.Hour, http.TimeFormat), none}, {in(0, http.TimeFormat), none},
		{"Thu, 01 Jan 1970 00:00:00 GMT", none}, {in(-time.Hour, time.ANSIC), none},
		{"", none}, {"0", none}, {"00", none}, {"0s", none}, {",", none}, {"0, 0", none},
		// Unreadable values.
		{"-1", unread}, {"-2h", unread}, {"1e3", unread}, {"0x10", unread}, {"1_000", unread},
		{"7'200", unread}, {"7 200", unread}, {"1 2", unread},
		{"now", unread}, {"soon", unread}, {"NaN", unread}, {"Infinity", unread}, {"null", unread},
		{"PT2H", unread}, {"１２０", unread}, {"2 fortnights", unread},
		{"s", unread}, {"h", unread}, {".5", unread}, {"1.2.3", unread}, {"5ns", unread}, {"1,5x", unread},
		{in(time.Hour, "2006-01-02"), unread}, {"Fri, 32 Jan 2025 00:00:00 GMT", unread}, {"120\x00", unread},
		{"\x1b[31m120", unread},
		// Multiple values.
		{"2, 60", time.Minute}, {"60,2", time.Minute}, {"60, 120", 2 * time.Minute}, {"soon, 60", unread},
		{"60, soon", unread}, {"soon, 7200", 2 * time.Hour},
		{"60, " + in(time.Hour, http.TimeFormat), time.Hour},
		{in(time.Hour, http.TimeFormat) + ", 60", time.Hour},
		{in(-time.Hour, http.TimeFormat) + ", 60", time.Minute},
		{in(time.Minute, http.TimeFormat) + ", " + in(time.Hour, http.TimeFormat), time.Hour},
		{in(time.Hour, time.ANSIC) + ", 60", time.Hour},
	} {
		if got := site.RetryAfter(test.value, exchangeStart, unread); got != test.want {
			t.Errorf("%.60q: %s, want %s", test.value, got, test.want)
		}
	}
	if got := site.RetryAfter("soon", exchangeStart, 48*time.Hour); got != 48*time.Hour {
		t.Errorf("not readable, %s, want the cool-down of 48 h", got)
	}
}

// TestRetryAfter_RepeatedHeader: all values of a repeated header count.
func TestRetryAfter_RepeatedHeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values []string
		want   time.Duration
	}{
		"one": {[]string{"60"}, time.Minute}, "two": {[]string{"2", "60"}, time.Minute},
		"thousands":             {[]string{"2", "7,200"}, 2 * time.Hour},
		"soon":                  {[]string{"soon"}, 15 * time.Minute},
		"soon, and a short one": {[]string{"soon", "60"}, 15 * time.Minute},
		"a date":                {[]string{"60", exchangeStart.Add(time.Hour).Format(http.TimeFormat)}, time.Hour},
		"a long one":            {[]string{strings.Repeat("9", 1000)}, site.MaxWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Retry-After"] = test.values
				w.WriteHeader(http.StatusTooManyRequests)
			}})
			c := newClient(t, server.URL, func(o *site.Options) { o.Cooldown = 15 * time.Minute })
			exchanges := fetchCase(t, c)
			if rule, wait, blocked := c.Blocked(caseID(t, "IMM-13-25"), exchanges, exchangeStart); !blocked || wait != test.want {
				t.Errorf("blocked %t by %q for %s, want %s", blocked, rule, wait, test.want)
			}
			if length := len(exchanges[0].RetryAfter); length > 200 {
				t.Errorf("%d bytes of the header are stored", length)
			}
		})
	}
}
