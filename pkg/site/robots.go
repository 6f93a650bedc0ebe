package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
