package site

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
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
	doc, err := parseJSON(body, "")
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

// hasPartyRows reports whether a document has rows of parties.
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
