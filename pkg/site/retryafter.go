package site

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest that a site is believed when it says for how long to stay away.
const maxWait = 24 * time.Hour

// retryAfter reads a Retry-After header, the values of several joined by ", ": seconds or dates
// (RFC 9110, 10.2.3), and the other forms that servers send, see waitOf. The longest value counts.
// What says "now" is no word: 0. Where a value cannot be read, the wait is no shorter than least,
// for it may have asked for more. No value is believed beyond maxWait.
func retryAfter(value string, now time.Time, least time.Duration) time.Duration {
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
		if !readable && i+1 < len(parts) { // a date has a comma of its own
			if one, readable = parseWait(part+","+parts[i+1], now); readable {
				i++
			}
		}
		if one = min(one, maxWait); !readable {
			one = least
		}
		wait = max(wait, one)
	}
	return wait
}

var (
	// commaGrouped is a number whose thousands are set apart by commas; header values that are joined
	// have a space behind theirs.
	commaGrouped = regexp.MustCompile(`\b[1-9][0-9]{0,2}(,[0-9]{3})+\b`)
	// dotGrouped is one whose thousands are set apart by dots. As a fraction it would be a shorter wait
	// than was meant.
	dotGrouped = regexp.MustCompile(`^[1-9][0-9]{0,2}(\.[0-9]{3})+$`)
	// amount is a number, and behind it a unit of time in words; none is seconds.
	amount = regexp.MustCompile(`^([0-9]+)(?:\.([0-9]*))?\s*([a-z]*)$`)
)

// parseWait reads one value: seconds, with a sign, a fraction or thousands set apart; a duration such
// as 2h, 1h30m or 15 minutes; a date in one of the three forms of HTTP, or of RFC 3339, or with a
// numeric zone. It is 0 for what has passed.
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

// parseUnit is the unit that a word names; a second without one.
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

// multiply is so many units, whole ones and a fraction, which are digits; more than maxWait is
// maxWait.
func multiply(whole, fraction string, unit time.Duration) time.Duration {
	number, err := strconv.ParseFloat(whole+"."+fraction+"0", 64)
	if err != nil || number > float64(maxWait)/float64(unit) {
		return maxWait
	}
	return time.Duration(number * float64(unit))
}
