package site

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
)

// searched is how much of an answer is searched for the texts of block pages; those are short pages.
const searched = 256 << 10

// Blocked says whether the exchanges show that the site told us to go away, by which rule, and for how long if the site
// said so; wait is 0 when it did not, and never more than a day. It agrees with Read.
func (p *Profile) Blocked(id contract.CaseID, exchanges []contract.Exchange, now time.Time) (rule string, wait time.Duration, blocked bool) {
	for _, exchange := range exchanges {
		if found, blocked := p.blockedBy(id, exchange); blocked {
			return found.rule, retryAfter(exchange.RetryAfter, now), true
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
	var page []byte
	if p.foreign(id, exchange) {
		page = bytes.ToLower(exchange.Body[:min(len(exchange.Body), searched)])
	}
	for _, rule := range p.blocks {
		if slices.Contains(rule.status, exchange.Status) {
			return block{rule: rule.name}, true
		}
		for _, text := range rule.text {
			if at := bytes.Index(page, text); at >= 0 {
				return block{rule.name, excerpt(page[at:])}, true
			}
		}
	}
	return block{}, false
}

// foreign says whether an answer may be somebody else's page, so that the texts of blocks count in it: a docket may well
// speak of a request that was rejected. JSON that is cut off is no page, and neither is JSON with rows in their place.
func (p *Profile) foreign(id contract.CaseID, exchange contract.Exchange) bool {
	c, page := p.pageDue(exchange.Call)
	if c == nil && !page || exchange.Status != http.StatusOK {
		return true
	}
	if page {
		return p.foreignPage(c, exchange)
	}
	if !startsAsJSON(exchange.Body) {
		return true
	}
	if c.holds(id, exchange.Body) {
		return false
	}
	doc, err := parseJSON(exchange.Body, exchange.ContentType)
	if err != nil {
		return false
	}
	_, err = c.tableRows(doc)
	return err != nil
}

// excerpt is the beginning of a page's text, without its markup: a support id stands behind the words that were found.
func excerpt(page []byte) string {
	const length = 200
	var text []byte
	for len(page) > 0 && len(text) < length {
		before, rest, _ := bytes.Cut(page, []byte("<"))
		text = append(append(text, before...), ' ')
		_, page, _ = bytes.Cut(rest, []byte(">"))
	}
	text = bytes.ToValidUTF8(text[:min(len(text), length)], nil)
	return strings.Join(strings.Fields(string(text)), " ")
}
