package site

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
	"fct-scraper/pkg/site/jsontree"
)

// searchLimit is how many bytes of a response are searched for the texts of block pages, which are
// short.
const searchLimit = 256 << 10

// caseBlocked is attemptBlocked for the exchanges of the case itself.
func (p *Profile) caseBlocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time, minWait time.Duration,
) (rule string, wait time.Duration, blocked bool) {
	for _, exchange := range exchanges {
		if found, blocked := p.findBlock(id, exchange); blocked {
			return found.rule, retryAfter(exchange.RetryAfter, now, minWait), true
		}
	}
	return "", 0, false
}

// block is the rule that matched, with an excerpt of the page.
type block struct{ rule, excerpt string }

func (b block) String() string {
	if b.excerpt == "" {
		return b.rule
	}
	return fmt.Sprintf("%s: %q", b.rule, b.excerpt)
}

// findBlock returns the first rule that matches an exchange.
func (p *Profile) findBlock(id contract.CaseID, exchange contract.Exchange) (block, bool) {
	if exchange.Status == 0 {
		return block{}, false
	}
	views := p.blockViews(id, exchange)
	for _, rule := range p.blocks {
		if slices.Contains(rule.status, exchange.Status) {
			return block{rule: rule.name}, true
		}
		if name, value, _ := strings.Cut(exchange.BlockHeader, ": "); name != "" && slices.Contains(rule.header, name) {
			return block{rule.name, value}, true
		}
		for _, view := range views {
			for _, text := range rule.texts {
				if at := bytes.Index(view, text); at >= 0 {
					return block{rule.name, excerpt(view[at:])}, true
				}
			}
		}
	}
	return block{}, false
}

// blockHeader returns the first header that a block rule names, as "Name: value". It is stored
// because some firewalls send an empty page to clients that do not accept HTML.
func (p *Profile) blockHeader(header http.Header) string {
	for _, rule := range p.blocks {
		for _, name := range rule.header {
			if value := header.Get(name); value != "" {
				return name + ": " + sanitize.Truncate(value, 100)
			}
		}
	}
	return ""
}

// blockViews returns the texts of a response to search for blocks, or nil if the response is the
// site's own: a docket may well contain the words of a block page. Truncated JSON and JSON with
// rows of cases are the site's own.
func (p *Profile) blockViews(id contract.CaseID, exchange contract.Exchange) [][]byte {
	c, page := p.expectsPage(exchange.Call)
	if page {
		if p.isOwnPage(c, exchange) {
			return nil
		}
		c = nil
	}
	if c != nil && (c.containsCase(id, exchange.Body) || c.hasCaseMember(exchange.Body)) {
		return nil
	}
	body := decodeLeniently(exchange)
	if !startsAsJSON(body) {
		return searchViews(body)
	}
	parser := p.parser()
	defer p.release(parser)
	doc, err := parseJSON(parser, body, "")
	expected := c != nil && isOK(exchange.Status)
	switch {
	case err != nil && expected || err == nil && expected && c.hasPartyRows(doc):
		return nil
	case err != nil:
		return searchViews(body)
	default:
		return append(searchViews(body), jsonText(doc))
	}
}

func (c *call) hasPartyRows(doc *jsontree.Node) bool {
	rows, err := c.tableRows(doc)
	return err == nil && c.caseNumber == nil && slices.ContainsFunc(rows, c.hasParty)
}

// hasCaseMember reports whether a JSON body has the member with the case number, which no block
// page has.
func (c *call) hasCaseMember(body []byte) bool {
	member, _, _ := strings.Cut(c.casePrefix, ":")
	return member != "" && startsAsJSON(body) && bytes.Contains(body, []byte(member))
}

// excerpt returns the beginning of a page's visible text: a support id often follows the words that
// matched.
func excerpt(page []byte) string {
	const length = 200
	text := visibleText(page, length)
	return string(bytes.TrimSpace(bytes.ToValidUTF8(text[:min(len(text), length)], nil)))
}

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
