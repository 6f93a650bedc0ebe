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
	// robotsName is the product token of this program in robots.txt, in lower case.
	robotsName = "fct-scraper"
	// maxRobots is how many bytes of robots.txt are read, the minimum that RFC 9309 requires.
	maxRobots = 500 << 10
	// maxCrawlDelay is the longest pause that a robots.txt can request.
	maxCrawlDelay = time.Hour
)

// robotsGroup is the group of robots.txt that applies to this program. The zero value allows
// everything.
type robotsGroup struct {
	rules []robotsRule
	delay time.Duration
}

// robotsRule is a rule of a group: a pattern with * and $, and whether it allows or disallows.
type robotsRule struct {
	pattern string
	allow   bool
}

// parseRobots parses robots.txt (RFC 9309). It merges all groups that name this program, or else
// those for everybody. It ignores invalid lines, so every text is valid.
func parseRobots(text []byte) robotsGroup {
	if len(text) >= maxRobots { // a truncated rule could match too much
		text = text[:bytes.LastIndexByte(text[:maxRobots], '\n')+1]
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var own, everybody robotsGroup
	found, isOurs, isDefault, naming := false, false, false, false
	for _, line := range strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' || r == '\r' }) {
		key, value, _ := strings.Cut(line, ":")
		value, _, _ = strings.Cut(value, "#")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "user-agent":
			if !naming { // a new group starts after a rule
				isOurs, isDefault = false, false
			}
			naming = true
			isOurs = isOurs || productToken(value) == robotsName
			isDefault = isDefault || value == "*"
			found = found || isOurs
		case "allow", "disallow", "crawl-delay":
			naming = false
			if isOurs {
				own.add(key, value)
			}
			if isDefault {
				everybody.add(key, value)
			}
		}
	}
	if found {
		return own
	}
	return everybody
}

// productToken returns the product token of a user-agent line in lower case; some files append a
// version.
func productToken(value string) string {
	value = strings.ToLower(value)
	end := strings.IndexFunc(value, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' && r != '_' })
	if end < 0 {
		return value
	}
	return value[:end]
}

// add adds a line to a group. An empty rule matches nothing. The longest of several delays counts.
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

// allows reports whether a path with its query is allowed. The longest matching rule decides; of
// two equally long rules the allowing one wins.
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

// matchesPattern reports whether a pattern matches the start of a path: * matches any text, and $
// at the end matches the end of the path. Each part between two * is matched at its first position
// after the previous part, so no backtracking is needed.
func matchesPattern(pattern, path string) bool {
	pattern, anchored := strings.CutSuffix(pattern, "$")
	parts := strings.Split(pattern, "*")
	path, begins := strings.CutPrefix(path, parts[0])
	if !begins {
		return false
	}
	if len(parts) == 1 {
		return !anchored || path == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, rest, found := strings.Cut(path, part)
		if !found {
			return false
		}
		path = rest
	}
	if anchored {
		return strings.HasSuffix(path, parts[last])
	}
	return strings.Contains(path, parts[last])
}

// canonicalPath normalizes the percent-encoding of a path or pattern: it decodes unreserved
// characters, writes other escapes in upper case, and encodes what must be encoded.
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

// requestPath returns the part of a URL that robots.txt rules apply to: path and query.
func requestPath(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "/"
	}
	return u.RequestURI()
}
