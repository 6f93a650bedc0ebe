package site

import (
	"bytes"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// robotsName is the name by which robots.txt speaks of this program, in small letters.
	robotsName = "fct-scraper"
	// maxRobots is how much of a robots.txt is read, in bytes: what RFC 9309 asks for at least.
	maxRobots = 500 << 10
	// maxCrawlDelay is the longest pause between two requests that a robots.txt is granted.
	maxCrawlDelay = time.Hour
)

// robotsGroup is the group of a robots.txt that is for this program. The zero value lets everything be asked.
type robotsGroup struct {
	rules []robotsRule
	delay time.Duration
}

// robotsRule is a line of a group: a pattern with * and $, and whether what it fits may be asked.
type robotsRule struct {
	pattern string
	allow   bool
}

// parseRobots reads a robots.txt (RFC 9309): the groups that name this program together, else those for everybody. What is
// no line of a robots.txt is left out; there is no text that is none.
func parseRobots(text []byte) robotsGroup {
	if len(text) >= maxRobots { // the last line may be cut off, and fit more than is meant
		text = text[:bytes.LastIndexByte(text[:maxRobots], '\n')+1]
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var own, everybody robotsGroup
	found, ours, theirs, naming := false, false, false, false
	for _, line := range strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == '\r' }) {
		key, value, _ := strings.Cut(line, ":")
		value, _, _ = strings.Cut(value, "#")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "user-agent":
			if !naming { // the line before it was a rule: another group begins
				ours, theirs = false, false
			}
			naming = true
			ours = ours || productToken(value) == robotsName
			theirs = theirs || value == "*"
			found = found || ours
		case "allow", "disallow", "crawl-delay":
			naming = false
			if ours {
				own.add(key, value)
			}
			if theirs {
				everybody.add(key, value)
			}
		}
	}
	if found {
		return own
	}
	return everybody
}

// productToken is the name that a user-agent line begins with, in small letters; some write a version behind it.
func productToken(value string) string {
	value = strings.ToLower(value)
	end := strings.IndexFunc(value, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' && r != '_' })
	if end < 0 {
		return value
	}
	return value[:end]
}

// add puts a line into a group. An empty rule fits nothing. Of several delays the longest counts.
func (r *robotsGroup) add(key, value string) {
	if key == "crawl-delay" {
		seconds, err := strconv.ParseFloat(value, 64)
		if err == nil && seconds > 0 && !math.IsNaN(seconds) {
			r.delay = max(r.delay, time.Duration(min(seconds, maxCrawlDelay.Seconds())*float64(time.Second)))
		}
		return
	}
	switch {
	case value == "":
		return
	case value[0] != '/' && value[0] != '*':
		value = "/" + value
	}
	r.rules = append(r.rules, robotsRule{pattern: canonicalPath(value), allow: key == "allow"})
}

// allows says whether a path with its query may be asked: the longest rule that fits decides, of two as long the one that
// allows.
func (r robotsGroup) allows(path string) bool {
	path, longest, allowed := canonicalPath(path), -1, true
	for _, rule := range r.rules {
		length := len(rule.pattern)
		if (length > longest || length == longest && rule.allow) && matchesPattern(rule.pattern, path) {
			longest, allowed = length, rule.allow
		}
	}
	return allowed
}

// matchesPattern says whether a pattern fits the beginning of a path: * is any text, $ at the end is the end of the path. Each part
// between two * is looked for behind the one before it, which never has to be tried again.
func matchesPattern(pattern, path string) bool {
	pattern, whole := strings.CutSuffix(pattern, "$")
	parts := strings.Split(pattern, "*")
	path, begins := strings.CutPrefix(path, parts[0])
	if !begins {
		return false
	}
	if len(parts) == 1 {
		return !whole || path == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, rest, found := strings.Cut(path, part)
		if !found {
			return false
		}
		path = rest
	}
	if whole {
		return strings.HasSuffix(path, parts[last])
	}
	return strings.Contains(path, parts[last])
}

// canonicalPath writes a path, or a pattern of paths, in the one way in which the same path is always written: an escape of
// what needs none is undone, other escapes have capital digits, and what needs an escape has one.
func canonicalPath(path string) string {
	var plain strings.Builder
	for i := 0; i < len(path); i++ {
		c, escaped := path[i], false
		if c == '%' && i+2 < len(path) {
			if value, err := strconv.ParseUint(path[i+1:i+3], 16, 8); err == nil {
				c, escaped, i = byte(value), true, i+2
			}
		}
		switch {
		case isUnreserved(c) || !escaped && c > ' ' && c < 0x7f:
			plain.WriteByte(c)
		default:
			plain.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		}
	}
	return plain.String()
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || slices.Contains([]byte("-._~"), c)
}

// requestPath is what a rule of a robots.txt speaks of in a URL: the path and the query.
func requestPath(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "/"
	}
	return u.RequestURI()
}
