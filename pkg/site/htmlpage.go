package site

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
)

// pageReader says how the answer of a call is read that is an HTML page. It makes of it the rows that a JSON answer would
// have, so that everything behind it is one for both.
type pageReader struct {
	// endMark is the text with which a whole page ends, in small letters; empty when that is not looked at. A parser makes a
	// page of half a page too.
	endMark string
	// within is the part of the page that is read; nil for all of it.
	within *htmltree.Path
	// title is where the page names its one case, and title how it does; nil when its rows say whose they are.
	title         *htmltree.Path
	titlePatterns []*regexp.Regexp
	table         *htmltree.Path
	// columns are the headings that the table can have, each in one line; empty when any will do.
	columns []string
	rows    *htmltree.Path
	// emptyTexts are the texts of the one cell of a table that has no rows.
	emptyTexts []string
	caseNumber *htmltree.Path
	// pageFields are the fields of the page as a whole, fields those of a row.
	pageFields, rowFields []pageField
	// countText is where the page says which of how many rows it shows, and counts how; nil when it does not.
	countText     *htmltree.Path
	countPatterns []*regexp.Regexp
	// next is where the number of the next page is; nil when there is ever one page.
	next *htmltree.Path
	// inputs are the hidden inputs for the next request; nil when none are posted.
	inputs *htmltree.Path
}

// pageField says where a field of the record is; many, that it is a list.
type pageField struct {
	field string
	path  *htmltree.Path
	list  bool
}

// paging is what the pages of a call, which are asked one after the other, have shown.
type paging struct {
	pages, rows, total int
	// next is the number of the page that is to be asked for; empty when the case's row is found or the pages end.
	next string
}

// maxPages is how many pages of a call are read to find a case; a number is found on the first one.
const maxPages = 20

// read takes a page apart; so is what the pages before it have shown.
func (p *pageReader) read(id contract.CaseID, exchange contract.Exchange, so paging) (table, *answerError) {
	var t table
	root, why := p.parse(exchange)
	if why != nil {
		return t, why
	}
	part, found, err := p.findTable(root)
	if err != nil {
		return t, &answerError{"shape", err}
	}
	if why := p.checkTitle(id, part); why != nil {
		return t, why
	}
	rows, err := p.tableRows(found)
	if err != nil {
		return t, &answerError{"shape", err}
	}
	if err := p.addRows(&t, id, part, rows); err != nil {
		return t, &answerError{"shape", err}
	}
	if t.paging, err = p.advance(part, so, len(rows), len(t.rows) > 0); err != nil {
		return t, &answerError{"count", err}
	}
	if p.inputs != nil {
		t.inputs, err = hiddenInputs(p.inputs, root)
		if err != nil { // the page is good all the same: the old ones are used on
			t.inputs = nil
		}
	}
	return t, nil
}

// parse makes a tree of an answer that is a whole page.
func (p *pageReader) parse(exchange contract.Exchange) (*htmltree.Node, *answerError) {
	if !isOK(exchange.Status) {
		return nil, &answerError{"status", statusError(exchange.Status)}
	}
	body, err := toUTF8(exchange.Body, exchange.ContentType)
	switch {
	case err != nil:
		return nil, &answerError{"charset", err}
	case len(bytes.TrimSpace(body)) == 0:
		return nil, &answerError{"malformed", errors.New("empty body")}
	case startsAsJSON(body):
		return nil, &answerError{"malformed", errors.New("JSON where a page is due")}
	case !p.isComplete(body):
		return nil, &answerError{"malformed", fmt.Errorf("no %s at its end", p.endMark)}
	}
	root, err := htmltree.Parse(string(body))
	if err != nil {
		return nil, &answerError{"malformed", err}
	}
	return root, nil
}

// isComplete looks for the page's end among its last bytes: a server may put a comment behind it.
func (p *pageReader) isComplete(body []byte) bool {
	const last = 4 << 10
	tail := body[max(0, len(body)-last):]
	return p.endMark == "" || bytes.Contains(bytes.ToLower(tail), []byte(p.endMark))
}
