package site

import (
	"bytes"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
)

// foreignPage is foreign for answers that are to be pages: one with the hidden inputs or the table of the call is the
// site's own, be it cut off. Most hold none of the texts, and are not parsed.
func (p *Profile) foreignPage(c *call, exchange contract.Exchange) [][]byte {
	views := pageViews(decoded(exchange))
	speaks := slices.ContainsFunc(p.blocks, func(rule blockRule) bool {
		return slices.ContainsFunc(rule.text, func(text []byte) bool {
			return slices.ContainsFunc(views, func(view []byte) bool { return bytes.Contains(view, text) })
		})
	})
	if !speaks || p.pageThatIsDue(c, exchange) {
		return nil
	}
	return views
}

// pageThatIsDue says whether an answer is the page that it should be, whatever its texts speak of.
func (p *Profile) pageThatIsDue(c *call, exchange contract.Exchange) bool {
	root, err := htmltree.Parse(string(exchange.Body))
	if err != nil { // too large for a page of ours is too large for a block's
		return len(exchange.Body) > searched
	}
	if p.tokens != nil {
		if _, err := hiddenInputs(p.tokens.page.inputs, root); err == nil {
			return true
		}
	}
	if c == nil {
		return false
	}
	_, _, err = c.page.part(root)
	return err == nil
}

// pageDue says whether an answer under status 200 is to be a page: of c, or, when c is nil, the one with the inputs.
func (p *Profile) pageDue(name string) (c *call, due bool) {
	if name == tokensCall {
		return nil, p.tokens != nil
	}
	c = p.callNamed(name)
	return c, c != nil && c.page != nil
}
