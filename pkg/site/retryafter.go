package site

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest that a site is believed when it says for how long to stay away.
const maxWait = 24 * time.Hour

// retryAfter reads seconds or a date (RFC 9110, 10.2.3). What makes no sense, or says "now", is no word at all: 0. Of several
// values, which proxies on the way can make, the longest counts. It is never more than maxWait.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	parts := strings.Split(value, ",")
	for i, part := range parts {
		wait = max(wait, oneRetryAfter(part, now))
		if i > 0 { // a date has a comma of its own
			wait = max(wait, oneRetryAfter(parts[i-1]+","+part, now))
		}
	}
	return wait
}

func oneRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil { // nothing but digits: it is too large
			return maxWait
		}
		return time.Duration(min(seconds, int64(maxWait/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), maxWait)
}
