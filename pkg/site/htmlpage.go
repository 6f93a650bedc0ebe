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
	// end is the text with which a whole page ends, in small letters; empty when that is not looked at. A parser makes a
	// page of half a page too.
	end string
	// within is the part of the page that is read; nil for all of it.
	within *htmltree.Path
	// whose is where the page names its one case, and title how it does; nil when its rows say whose they are.
	whose *htmltree.Path
	title []*regexp.Regexp
	table *htmltree.Path
	// columns are the headings that the table can have, each in one line; empty when any will do.
	columns []string
	rows    *htmltree.Path
	// none are the texts of the one cell of a table that has no rows.
	none   []string
	number *htmltree.Path
	// about are the fields of the page as a whole, fields those of a row.
	about, fields []pageField
	// shown is where the page says which of how many rows it shows, and counts how; nil when it does not.
	shown  *htmltree.Path
	counts []*regexp.Regexp
	// next is where the number of the next page is; nil when there is ever one page.
	next *htmltree.Path
	// inputs are the hidden inputs for the next request; nil when none are posted.
	inputs *htmltree.Path
}

// pageField says where a field of the record is; many, that it is a list.
type pageField struct {
	field string
	from  *htmltree.Path
	many  bool
}

// progress is what the pages of a call, which are asked one after the other, have shown.
type progress struct {
	pages, rows, total int
	// more is the number of the page that is to be asked for; empty when the case's row is found or the pages end.
	more string
}

// maxPages is how many pages of a call are read to find a case; a number is found on the first one.
const maxPages = 20

// read takes a page apart; so is what the pages before it have shown.
func (p *pageReader) read(id contract.CaseID, exchange contract.Exchange, so progress) (table, *trouble) {
	var t table
	root, why := p.parse(exchange)
	if why != nil {
		return t, why
	}
	part, found, err := p.part(root)
	if err != nil {
		return t, &trouble{"shape", err}
	}
	if why := p.checkTitle(id, part); why != nil {
		return t, why
	}
	rows, err := p.tableRows(found)
	if err != nil {
		return t, &trouble{"shape", err}
	}
	if err := p.take(&t, id, part, rows); err != nil {
		return t, &trouble{"shape", err}
	}
	if t.so, err = p.turn(part, so, len(rows), len(t.own) > 0); err != nil {
		return t, &trouble{"count", err}
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
func (p *pageReader) parse(exchange contract.Exchange) (*htmltree.Node, *trouble) {
	if !answers(exchange.Status) {
		return nil, &trouble{"status", notAnswered(exchange.Status)}
	}
	body, err := toUTF8(exchange.Body, exchange.ContentType)
	switch {
	case err != nil:
		return nil, &trouble{"charset", err}
	case len(bytes.TrimSpace(body)) == 0:
		return nil, &trouble{"malformed", errors.New("empty body")}
	case startsAsJSON(body):
		return nil, &trouble{"malformed", errors.New("JSON where a page is due")}
	case !p.whole(body):
		return nil, &trouble{"malformed", fmt.Errorf("no %s at its end", p.end)}
	}
	root, err := htmltree.Parse(string(body))
	if err != nil {
		return nil, &trouble{"malformed", err}
	}
	return root, nil
}

// whole looks for the page's end among its last bytes: a server may put a comment behind it.
func (p *pageReader) whole(body []byte) bool {
	const last = 4 << 10
	tail := body[max(0, len(body)-last):]
	return p.end == "" || bytes.Contains(bytes.ToLower(tail), []byte(p.end))
}
