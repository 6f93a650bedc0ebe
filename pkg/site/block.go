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

// searched is how much of an answer is searched for the texts of block pages; those are short pages.
const searched = 256 << 10

// blockedCase is blocked for the exchanges for a case.
func (p *Profile) blockedCase(
	id contract.CaseID, exchanges []contract.Exchange, now time.Time, least time.Duration,
) (rule string, wait time.Duration, blocked bool) {
	for _, exchange := range exchanges {
		if found, blocked := p.blockedBy(id, exchange); blocked {
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

// blockedBy names the first rule that finds a block in an exchange.
func (p *Profile) blockedBy(id contract.CaseID, exchange contract.Exchange) (block, bool) {
	if exchange.Status == 0 {
		return block{}, false
	}
	views := p.foreign(id, exchange)
	for _, rule := range p.blocks {
		if slices.Contains(rule.status, exchange.Status) {
			return block{rule: rule.name}, true
		}
		if name, value, _ := strings.Cut(exchange.Guard, ": "); name != "" && slices.Contains(rule.header, name) {
			return block{rule.name, value}, true
		}
		for _, view := range views {
			for _, text := range rule.text {
				if at := bytes.Index(view, text); at >= 0 {
					return block{rule.name, excerpt(view[at:])}, true
				}
			}
		}
	}
	return block{}, false
}

// guard is the first header by which a rule knows a block, as an exchange keeps it. The pages of some guards are empty for
// whoever does not ask for HTML.
func (p *Profile) guard(header http.Header) string {
	for _, rule := range p.blocks {
		for _, name := range rule.header {
			if value := header.Get(name); value != "" {
				return name + ": " + sanitize.Truncate(value, 100)
			}
		}
	}
	return ""
}

// foreign are the views of an answer that may be somebody else's page, so that the texts of blocks count in it: a docket may
// well speak of a request that was rejected. JSON that is cut off is no page, and neither is JSON that holds rows of cases.
func (p *Profile) foreign(id contract.CaseID, exchange contract.Exchange) [][]byte {
	c, page := p.pageDue(exchange.Call)
	if page {
		if p.shows(c, exchange) {
			return nil
		}
		c = nil
	}
	if c != nil && (c.holds(id, exchange.Body) || c.speaksOfCases(exchange.Body)) {
		return nil
	}
	body := decoded(exchange)
	if !startsAsJSON(body) {
		return pageViews(body)
	}
	doc, err := parseJSON(body, "")
	due := c != nil && answers(exchange.Status)
	switch {
	case err != nil && due || err == nil && due && c.givesParties(doc):
		return nil
	case err != nil:
		return pageViews(body)
	default:
		return append(pageViews(body), words(doc))
	}
}

// givesParties says whether a document has rows of parties in their place.
func (c *call) givesParties(doc *jsontree.Node) bool {
	rows, err := c.tableRows(doc)
	return err == nil && c.number == nil && slices.ContainsFunc(rows, c.hasParty)
}

// speaksOfCases says whether JSON has the member that tells whose a row is; no guard's page has it.
func (c *call) speaksOfCases(body []byte) bool {
	member, _, _ := strings.Cut(c.own, ":")
	return member != "" && startsAsJSON(body) && bytes.Contains(body, []byte(member))
}

// excerpt is the beginning of a page's text, without its markup: a support id stands behind the words that were found.
func excerpt(page []byte) string {
	const length = 200
	text := visible(page, length)
	return string(bytes.TrimSpace(bytes.ToValidUTF8(text[:min(len(text), length)], nil)))
}
