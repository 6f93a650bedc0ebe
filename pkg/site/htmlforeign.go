package site

import (
	"bytes"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
)

// isOwnPage says whether an answer that is to be a page has what only the site's own has: the hidden inputs, or the table of
// its call, be it cut off. One that has none of the texts of blocks may count as such, and is not parsed.
func (p *Profile) isOwnPage(c *call, exchange contract.Exchange) bool {
	if !isOK(exchange.Status) {
		return false
	}
	if !p.hasBlockText(searchViews(decodeLeniently(exchange))) {
		return true
	}
	root, err := htmltree.Parse(string(exchange.Body))
	if err != nil { // too large for a page of ours is too large for a block's
		return len(exchange.Body) > searchLimit
	}
	if p.tokens != nil {
		if _, err := hiddenInputs(p.tokens.page.inputs, root); err == nil {
			return true
		}
	}
	if c == nil {
		return false
	}
	_, _, err = c.page.findTable(root)
	return err == nil
}

func (p *Profile) hasBlockText(views [][]byte) bool {
	return slices.ContainsFunc(p.blocks, func(rule blockRule) bool {
		return slices.ContainsFunc(rule.texts, func(text []byte) bool {
			return slices.ContainsFunc(views, func(view []byte) bool { return bytes.Contains(view, text) })
		})
	})
}

// expectsPage says whether an answer is to be a page: of c, or, when c is nil, the one with the inputs.
func (p *Profile) expectsPage(name string) (c *call, due bool) {
	if name == tokensCall {
		return nil, p.tokens != nil
	}
	c = p.callByName(name)
	return c, c != nil && c.page != nil
}
