package site_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/site"
)

// TestRetryAfter keeps row 58: what makes sense is honoured up to a day, what makes none is no word, and never "now".
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const none = 0
	in := func(d time.Duration, layout string) string { return asked.Add(d).UTC().Format(layout) }
	for _, test := range []struct {
		value string
		want  time.Duration
	}{
		{"2", 2 * time.Second}, {"120", 2 * time.Minute}, {"86400", site.MaxWait}, {"86401", site.MaxWait}, {"0120", 2 * time.Minute},
		{"99999999999", site.MaxWait}, {"9223372036854775808", site.MaxWait}, {strings.Repeat("9", 1<<16), site.MaxWait},
		{" 120 ", 2 * time.Minute}, {"\t120\r\n", 2 * time.Minute},
		{in(time.Hour, http.TimeFormat), time.Hour}, {in(time.Hour, "Monday, 02-Jan-06 15:04:05 GMT"), time.Hour}, {in(time.Hour, time.ANSIC), time.Hour},
		{in(90*24*time.Hour, http.TimeFormat), site.MaxWait}, {"Fri, 31 Dec 9999 23:59:59 GMT", site.MaxWait},
		{in(-time.Hour, http.TimeFormat), none}, {in(0, http.TimeFormat), none}, {"Thu, 01 Jan 1970 00:00:00 GMT", none},
		{"", none}, {"0", none}, {"00", none}, {"-1", none}, {"+5", none}, {"1.5", none}, {"1e3", none}, {"0x10", none}, {"1_000", none}, {"120s", none},
		{"now", none}, {"soon", none}, {"NaN", none}, {"Infinity", none}, {"null", none}, {"PT2H", none}, {"１２０", none}, {"1 2", none},
		{in(time.Hour, time.RFC3339), none}, {in(time.Hour, "2006-01-02"), none}, {in(time.Hour, "Mon, 02 Jan 2006 15:04:05 -0700"), none}, {"Fri, 32 Jan 2025 00:00:00 GMT", none},
		{"2, 60", time.Minute}, {"60,2", time.Minute}, {"soon, 60", time.Minute}, {"0, 0", none}, {",", none},
		{"60, " + in(time.Hour, http.TimeFormat), time.Hour}, {in(time.Hour, http.TimeFormat) + ", 60", time.Hour}, {in(-time.Hour, http.TimeFormat) + ", 60", time.Minute},
		{in(time.Minute, http.TimeFormat) + ", " + in(time.Hour, http.TimeFormat), time.Hour}, {"120\x00", none}, {"\x1b[31m120", none},
	} {
		if got := site.RetryAfter(test.value, asked); got != test.want {
			t.Errorf("%.60q: %s, want %s", test.value, got, test.want)
		}
	}
}

// TestRetryAfterOnTheWire: a header that is there twice counts as well.
func TestRetryAfterOnTheWire(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		values []string
		want   time.Duration
	}{
		"one": {[]string{"60"}, time.Minute}, "two": {[]string{"2", "60"}, time.Minute}, "a long one": {[]string{strings.Repeat("9", 1000)}, site.MaxWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Retry-After"] = test.values
				w.WriteHeader(http.StatusTooManyRequests)
			}})
			c := client(t, server.URL, nil)
			exchanges := asks(t, c)
			if rule, wait, blocked := c.Blocked(caseID(t, "IMM-13-25"), exchanges, asked); !blocked || wait != test.want {
				t.Errorf("blocked %t by %q for %s, want %s", blocked, rule, wait, test.want)
			}
			if length := len(exchanges[0].RetryAfter); length > 200 {
				t.Errorf("%d bytes of the header are kept", length)
			}
		})
	}
}
