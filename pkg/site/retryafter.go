package site

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxWait limits the wait that a site can request.
const maxWait = 24 * time.Hour

// retryAfter parses a Retry-After header, with multiple values joined by ", ". It accepts seconds
// and dates (RFC 9110, section 10.2.3) and the other forms that servers send, see parseWait. The
// longest value counts; a value that means "now" gives 0. For an unreadable value the wait is at
// least minWait, because it may have asked for more. The result is at most maxWait.
func retryAfter(value string, now time.Time, minWait time.Duration) time.Duration {
	var wait time.Duration
	value = commaGrouped.ReplaceAllStringFunc(value, func(digits string) string {
		return strings.ReplaceAll(digits, ",", "")
	})
	parts := strings.Split(value, ",")
	for i := 0; i < len(parts); i++ {
		part := parts[i]
		if strings.TrimSpace(part) == "" {
			continue
		}
		one, readable := parseWait(part, now)
		if !readable && i+1 < len(parts) { // a date contains a comma
			if one, readable = parseWait(part+","+parts[i+1], now); readable {
				i++
			}
		}
		if one = min(one, maxWait); !readable {
			one = minWait
		}
		wait = max(wait, one)
	}
	return wait
}

var (
	// commaGrouped matches a number with commas between thousands. Joined header values have a
	// space after the comma.
	commaGrouped = regexp.MustCompile(`\b[1-9][0-9]{0,2}(,[0-9]{3})+\b`)
	// dotGrouped matches a number with dots between thousands. Read as a fraction, it would give a
	// shorter wait than intended.
	dotGrouped = regexp.MustCompile(`^[1-9][0-9]{0,2}(\.[0-9]{3})+$`)
	// amount matches a number and an optional unit of time; the default unit is seconds.
	amount = regexp.MustCompile(`^([0-9]+)(?:\.([0-9]*))?\s*([a-z]*)$`)
)

// parseWait parses one value: seconds, with a sign, a fraction or grouped thousands; a duration
// such as 2h, 1h30m or 15 minutes; or a date in an HTTP form, in RFC 3339, or with a numeric zone.
// A time in the past gives 0.
func parseWait(value string, now time.Time) (wait time.Duration, readable bool) {
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	number := strings.ToLower(strings.TrimPrefix(value, "+"))
	if dotGrouped.MatchString(number) {
		number = strings.ReplaceAll(number, ".", "")
	}
	if found := amount.FindStringSubmatch(number); found != nil {
		if unit, known := parseUnit(found[3]); known {
			return multiply(found[1], found[2], unit), true
		}
	}
	duration, err := time.ParseDuration(number)
	if err == nil && duration >= 0 && strings.Trim(number, "0123456789.hms") == "" {
		return duration, true
	}
	at, err := http.ParseTime(value)
	for _, layout := range []string{time.RFC3339, time.RFC1123Z} {
		if err != nil {
			at, err = time.Parse(layout, value)
		}
	}
	return max(0, at.Sub(now)), err == nil
}

// parseUnit returns the unit with that name; an empty word means a second.
func parseUnit(word string) (unit time.Duration, known bool) {
	switch word {
	case "", "s", "sec", "secs", "second", "seconds":
		return time.Second, true
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, true
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour, true
	case "d", "day", "days":
		return 24 * time.Hour, true
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond, true
	default:
		return 0, false
	}
}

// multiply returns whole.fraction times unit, at most maxWait; both parts are digits.
func multiply(whole, fraction string, unit time.Duration) time.Duration {
	number, err := strconv.ParseFloat(whole+"."+fraction+"0", 64)
	if err != nil || number > float64(maxWait)/float64(unit) {
		return maxWait
	}
	return time.Duration(number * float64(unit))
}
