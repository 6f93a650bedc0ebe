package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// ErrRobotsUnreachable means that robots.txt could not be read. No request is allowed until a later
// try succeeds (RFC 9309, section 2.3.1.4).
var ErrRobotsUnreachable = errors.New("robots.txt could not be read: no request is allowed until a later try succeeds")

// RobotsBlockedError means that the request for robots.txt was answered by a block.
type RobotsBlockedError struct {
	// Rule is the profile's rule that matched.
	Rule string
	// Wait is the wait that the site requested; 0 if none.
	Wait time.Duration
	// Exchange is the evidence.
	Exchange contract.Exchange
}

// Error names the rule and the status.
func (e *RobotsBlockedError) Error() string {
	return fmt.Sprintf("reading robots.txt: blocked: %s, status %d", e.Rule, e.Exchange.Status)
}

// RobotsRules is what robots.txt allows this program for the calls of a profile.
type RobotsRules struct {
	client *Client
	group  robotsGroup
	// Requests are the exchanges that fetched the file, including redirects.
	Requests []contract.Exchange
}

// Allows reports whether every call for a case is allowed, and otherwise returns the first path
// that is not.
func (r RobotsRules) Allows(id contract.CaseID) (path string, ok bool) {
	if len(r.group.rules) == 0 {
		return "", true
	}
	if t := r.client.Profile.tokens; t != nil && !r.group.allows(t.path) {
		return t.path, false
	}
	for i := range r.client.Profile.calls {
		c := &r.client.Profile.calls[i]
		if c.when == whenParties && !r.client.Parties {
			continue
		}
		for _, other := range []bool{false, true} {
			if other && c.otherQuery == nil {
				continue
			}
			if path := requestPath(r.client.Profile.callURL(r.client.Origin, c, id, other)); !r.group.allows(path) {
				return path, false
			}
		}
	}
	return "", true
}

// CrawlDelay returns the requested pause between two requests; 0 if none, at most an hour.
func (r RobotsRules) CrawlDelay() time.Duration { return r.group.delay }

// maxRobotsRedirects is how many redirects to follow for robots.txt (RFC 9309, section 2.3.1.2).
const maxRobotsRedirects = 5

// Robots fetches the site's robots.txt (RFC 9309) and calls before ahead of each request. If there
// is no such file, everything is allowed. If the site fails or redirects to another origin, nothing
// is allowed and the error wraps ErrRobotsUnreachable. A block is a RobotsBlockedError, even with
// the status of a missing file. Other errors are those of before and of ctx.
func (c *Client) Robots(ctx context.Context, before BeforeRequest) (RobotsRules, error) {
	rules := RobotsRules{client: c}
	r, s := request{call: robotsCall, method: http.MethodGet, url: c.Origin + "/robots.txt"}, c.newSession()
	for range maxRobotsRedirects + 1 {
		gap, err := before(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return rules, fmt.Errorf("reading robots.txt: %w", err)
		}
		x, location := c.exchange(ctx, r, s, contract.CaseID{}, gap)
		rules.Requests = append(rules.Requests, x)
		if ctx.Err() != nil {
			return rules, fmt.Errorf("reading robots.txt: %w", context.Cause(ctx))
		}
		if found, blocked := c.Profile.robotsBlocked(x); blocked {
			return rules, &RobotsBlockedError{Rule: found.rule, Wait: retryAfter(x.RetryAfter, time.Now(), c.Cooldown), Exchange: x}
		}
		switch {
		case x.Error != "":
			return rules, fmt.Errorf("%w: %s", ErrRobotsUnreachable, x.Error)
		case x.Status >= 200 && x.Status < 300:
			rules.group = parseRobots(x.Body)
			return rules, nil
		case x.Status == http.StatusProxyAuthRequired: // the site was not reached
			return rules, fmt.Errorf("%w: %w", ErrRobotsUnreachable, statusError(x.Status))
		case x.Status >= 400 && x.Status < 500:
			return rules, nil
		case x.Status < 300 || x.Status >= 400:
			return rules, fmt.Errorf("%w: status %d", ErrRobotsUnreachable, x.Status)
		}
		if r.url, err = c.sameOriginTarget(r.url, location); err != nil {
			return rules, fmt.Errorf("%w: %w", ErrRobotsUnreachable, err)
		}
	}
	// RFC 9309 treats too many redirects as a missing file.
	return rules, nil
}

// readRobots reads a robots.txt of at most maxRobots bytes; the rest is ignored.
func readRobots(_ context.Context, body io.Reader, _ int64) ([]byte, error) {
	return io.ReadAll(io.LimitReader(body, maxRobots))
}

// robotsBlocked checks the response to a request for robots.txt for a block. A real robots.txt may
// contain words such as captcha, so a successful response is searched only if it is markup. A 404
// or 410 page is not searched either: it has the site's usual page frame.
func (p *Profile) robotsBlocked(x contract.Exchange) (block, bool) {
	file := x.Status >= 200 && x.Status < 300 && !startsAsMarkup(x.Body)
	if x.BlockHeader != "" {
		return p.findBlock(contract.CaseID{}, x)
	}
	if file || x.Status == http.StatusNotFound || x.Status == http.StatusGone {
		return block{}, false
	}
	return p.findBlock(contract.CaseID{}, x)
}

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
	plain.Grow(len(path))
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
