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

// searchLimit is how much of an answer is searched for the texts of block pages; those are short pages.
const searchLimit = 256 << 10

// caseBlocked is blocked for the exchanges for a case.
func (p *Profile) caseBlocked(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time, least time.Duration,
) (rule string, wait time.Duration, blocked bool) {
	for _, exchange := range exchanges {
		if found, blocked := p.findBlock(id, exchange); blocked {
			return found.rule, retryAfter(exchange.RetryAfter, now, least), true
		}
	}
	return "", 0, false
}

// block is the rule that found a block, and what stood around the text that it found.
type block struct{ rule, excerpt string }

func (b block) String() string {
	if b.excerpt == "" {
		return b.rule
	}
	return fmt.Sprintf("%s: %q", b.rule, b.excerpt)
}

// findBlock names the first rule that finds a block in an exchange.
func (p *Profile) findBlock(id contract.CaseID, exchange contract.Exchange) (block, bool) {
	if exchange.Status == 0 {
		return block{}, false
	}
	views := p.blockViews(id, exchange)
	for _, rule := range p.blocks {
		if slices.Contains(rule.status, exchange.Status) {
			return block{rule: rule.name}, true
		}
		if name, value, _ := strings.Cut(exchange.Guard, ": "); name != "" && slices.Contains(rule.header, name) {
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

// blockHeader is the first header by which a rule knows a block, as an exchange keeps it. The pages of some guards are empty for
// whoever does not ask for HTML.
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

// blockViews are the views of an answer that may be somebody else's page, so that the texts of blocks count in it: a docket may
// well speak of a request that was rejected. JSON that is cut off is no page, and neither is JSON that holds rows of cases.
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
	due := c != nil && isOK(exchange.Status)
	switch {
	case err != nil && due || err == nil && due && c.hasPartyRows(doc):
		return nil
	case err != nil:
		return searchViews(body)
	default:
		return append(searchViews(body), jsonText(doc))
	}
}

// hasPartyRows says whether a document has rows of parties in their place.
func (c *call) hasPartyRows(doc *jsontree.Node) bool {
	rows, err := c.tableRows(doc)
	return err == nil && c.caseNumber == nil && slices.ContainsFunc(rows, c.hasParty)
}

// hasCaseMember says whether JSON has the member that tells whose a row is; no guard's page has it.
func (c *call) hasCaseMember(body []byte) bool {
	member, _, _ := strings.Cut(c.casePrefix, ":")
	return member != "" && startsAsJSON(body) && bytes.Contains(body, []byte(member))
}

// excerpt is the beginning of a page's text, without its markup: a support id stands behind the words that were found.
func excerpt(page []byte) string {
	const length = 200
	text := visibleText(page, length)
	return string(bytes.TrimSpace(bytes.ToValidUTF8(text[:min(len(text), length)], nil)))
}
