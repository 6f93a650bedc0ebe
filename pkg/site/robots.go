package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"fct-scraper/pkg/contract"
)

// ErrRobotsUnreachable says that a site's robots.txt could not be read: nothing may be asked yet, and it is to be tried again
// later.
var ErrRobotsUnreachable = errors.New("robots.txt not read: nothing may be asked until it is, try again later")

// RobotsBlockedError says that the site's answer to the question for its robots.txt was a block.
type RobotsBlockedError struct {
	// Rule is the rule of the profile that found it.
	Rule string
	// Wait is for how long the site said to stay away; 0 when it did not.
	Wait time.Duration
	// Exchange is the evidence.
	Exchange contract.Exchange
}

// Error says by what the block was found.
func (e *RobotsBlockedError) Error() string {
	return fmt.Sprintf("reading robots.txt: blocked: %s, status %d", e.Rule, e.Exchange.Status)
}

// RobotsRules is what a site's robots.txt says to this program about the calls of its profile.
type RobotsRules struct {
	client *Client
	group  robotsGroup
	// Requests are those that it took to read them, redirects included.
	Requests []contract.Exchange
}

// Allows says whether all the calls that are made for a case may be made, and if not, the path of the first that may not.
func (r RobotsRules) Allows(id contract.CaseID) (path string, ok bool) {
	if t := r.client.Profile.tokens; t != nil && !r.group.allows(t.path) {
		return t.path, false
	}
	for i := range r.client.Profile.calls {
		made := &r.client.Profile.calls[i]
		if made.when == whenParties && !r.client.Parties {
			continue
		}
		for _, other := range []bool{false, true} {
			if other && made.otherQuery == nil {
				continue
			}
			if path := requestPath(r.client.Profile.callURL(r.client.Origin, made, id, other)); !r.group.allows(path) {
				return path, false
			}
		}
	}
	return "", true
}

// CrawlDelay is the pause between two requests that the site asks for; 0 when it asks for none, an hour at most.
func (r RobotsRules) CrawlDelay() time.Duration { return r.group.delay }

// maxRobotsRedirects is how many redirects are followed on the way to a robots.txt, as RFC 9309 has it.
const maxRobotsRedirects = 5

// Robots reads the site's robots.txt (RFC 9309) and calls before ahead of each request that it takes. A site that has none
// lets everything be asked; one that is in trouble, or sends us to another origin, nothing: the error then wraps
// ErrRobotsUnread. A block is a RobotsBlockedError, also under the status of a file that is not there. Other errors are those
// of before and of ctx.
func (c *Client) Robots(ctx context.Context, before func(context.Context) (time.Duration, error)) (RobotsRules, error) {
	rules := RobotsRules{client: c}
	target := c.Origin + "/robots.txt"
	for range maxRobotsRedirects + 1 {
		gap, err := before(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return rules, fmt.Errorf("reading robots.txt: %w", err)
		}
		x, location := c.fetchRobots(ctx, target, gap)
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
		if target, err = c.resolveSameOrigin(target, location); err != nil {
			return rules, fmt.Errorf("%w: %w", ErrRobotsUnreachable, err)
		}
	}
	// So many redirects are as good as no file.
	return rules, nil
}

// robotsBlocked looks for a block in the answer to the question for robots.txt. The rules in such a file may well speak of
// a captcha: where a file is due, a page of markup alone is searched. So may the page that says that there is no such file,
// which has all that is on every page of the site.
func (p *Profile) robotsBlocked(x contract.Exchange) (block, bool) {
	file := x.Status >= 200 && x.Status < 300 && !startsAsMarkup(x.Body)
	if x.Guard != "" {
		return p.findBlock(contract.CaseID{}, x)
	}
	if file || x.Status == http.StatusNotFound || x.Status == http.StatusGone {
		return block{}, false
	}
	return p.findBlock(contract.CaseID{}, x)
}

// resolveSameOrigin is where a redirect leads, if that is at the origin.
func (c *Client) resolveSameOrigin(from, location string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	to, err := base.Parse(location)
	if err != nil || location == "" {
		return "", fmt.Errorf("a redirect to %.100q", location)
	}
	if to.Scheme != base.Scheme || to.Host != base.Host || to.User != nil {
		return "", fmt.Errorf("it is said to be at %.100q, which is another origin than %s", to.Redacted(), c.Origin)
	}
	to.Fragment = ""
	return to.String(), nil
}

// fetchRobots asks for robots.txt, and says where the site sends us if it does. No more is read of it than is used.
func (c *Client) fetchRobots(ctx context.Context, target string, gap time.Duration) (x contract.Exchange, location string) {
	started := time.Now()
	x = contract.Exchange{Call: robotsCall, URL: target, StartedAt: started.UTC(), GapSeconds: gap.Seconds()}
	ctx, cancel := context.WithTimeout(ctx, c.timeouts(ctx).request)
	defer cancel()
	defer func() { x.Seconds = time.Since(started).Seconds() }()
	var made connTrace
	request, err := http.NewRequestWithContext(made.trace(ctx), http.MethodGet, target, nil)
	if err != nil {
		x.Error = errorText(err)
		return x, ""
	}
	request.Body = unrepeatableBody{} // see there
	request.Header.Set("User-Agent", c.UserAgent)
	request.Header.Set("Accept-Encoding", acceptEncoding)
	response, err := c.newSession().http.Do(request)
	if err != nil {
		x.Error, x.Unsent = c.robotsError(ctx, err), made.failed()
		return x, ""
	}
	defer func() { _ = response.Body.Close() }() // the answer has been read, or is of no use
	x.Unsent = response.StatusCode == http.StatusProxyAuthRequired
	x.Status, x.ContentType, x.RetryAfter = response.StatusCode, headerText(response, "Content-Type"), headerText(response, "Retry-After")
	x.Guard = c.Profile.blockHeader(response.Header)
	body, unknown := decodedBody(response)
	if x.Body, err = io.ReadAll(io.LimitReader(body, maxRobots)); unknown != nil {
		err = unknown
	}
	if err != nil {
		x.Error = c.robotsError(ctx, err)
	}
	return x, response.Header.Get("Location")
}

func (c *Client) robotsError(ctx context.Context, err error) string {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Sprintf("request_timeout: longer than %s", c.RequestTimeout)
	}
	return errorText(err)
}
