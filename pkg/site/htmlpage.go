package site

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
	"fct-scraper/pkg/site/jsontree"
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

// findTable is what is read of a page, and the table in it, with the headings that it must have.
func (p *pageReader) findTable(root *htmltree.Node) (part, found *htmltree.Node, err error) {
	part = root
	if p.within != nil {
		if part, err = p.within.One(root); err != nil {
			return nil, nil, err
		}
	}
	if found, err = p.table.One(part); err != nil {
		return nil, nil, err
	}
	if head := headings(found); len(p.columns) > 0 && !slices.Contains(p.columns, head) {
		return nil, nil, fmt.Errorf("unknown columns %.200q", head)
	}
	return part, found, nil
}

// headings are those of a table in one line; the tables that are nested in it are not its own.
func headings(found *htmltree.Node) string {
	var texts []string
	for _, head := range htmltree.Elements(found) {
		if head.Data != "thead" {
			continue
		}
		for _, row := range htmltree.Elements(head) {
			for _, cell := range htmltree.Elements(row) {
				texts = append(texts, htmltree.CollapseSpace(htmltree.Text(cell)))
			}
		}
	}
	return strings.Join(texts, headingSeparator)
}

// headingSeparator stands between two headings.
const headingSeparator = " | "

// checkTitle says whether a page that is about one case is about the one that was asked for.
func (p *pageReader) checkTitle(id contract.CaseID, part *htmltree.Node) *answerError {
	if p.title == nil {
		return nil
	}
	node, err := p.title.One(part)
	if err != nil {
		return &answerError{"shape", err}
	}
	title := htmltree.CollapseSpace(htmltree.Text(node))
	for _, form := range p.titlePatterns {
		if match := form.FindStringSubmatch(title); match != nil {
			if found, ok := normalizeCaseID(match[1]); !ok || found != id {
				return &answerError{"other-case", fmt.Errorf("a page about another case: %.100q", title)}
			}
			return nil
		}
	}
	return &answerError{"shape", fmt.Errorf("unknown title %.100q", title)}
}

// tableRows are the table's rows. That there are none a table says in a row of one cell; one without any row says nothing.
func (p *pageReader) tableRows(found *htmltree.Node) ([]*htmltree.Node, error) {
	rows, err := p.rows.All(found)
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0:
		return nil, errors.New("a table without a row")
	case len(rows) == 1 && p.isEmptyRow(rows[0]):
		return nil, nil
	case slices.ContainsFunc(rows, p.isEmptyRow):
		return nil, errors.New("rows beside the word that there are none")
	}
	return rows, nil
}

func (p *pageReader) isEmptyRow(row *htmltree.Node) bool {
	return len(htmltree.Elements(row)) == 1 && slices.Contains(p.emptyTexts, htmltree.CollapseSpace(htmltree.Text(row)))
}

// addRows makes rows of the page's fields and of the table's rows.
func (p *pageReader) addRows(t *table, id contract.CaseID, part *htmltree.Node, rows []*htmltree.Node) error {
	about, filled, err := rowObject(p.pageFields, part)
	if err != nil {
		return err
	}
	if filled {
		t.rows = append(t.rows, about)
	}
	for _, row := range rows {
		fields, _, err := rowObject(p.rowFields, row)
		if err != nil {
			return err
		}
		if p.caseNumber == nil {
			t.rows = append(t.rows, fields)
			continue
		}
		whose, err := p.caseNumber.Value(row)
		if err != nil || whose == "" {
			return fmt.Errorf("a row without %s", p.caseNumber.Text)
		}
		t.addRow(id, whose, fields)
	}
	return nil
}

// rowObject is what a JSON answer would hold in the place of a node; filled says that any of its fields has a value.
func rowObject(fields []pageField, n *htmltree.Node) (o *jsontree.Node, filled bool, err error) {
	o = &jsontree.Node{Kind: jsontree.Object}
	last := &o.First
	for _, f := range fields {
		member := &jsontree.Node{Kind: jsontree.String, Name: f.field, Parent: o}
		if f.list {
			member.Kind = jsontree.Array
			err = addElements(member, f.path, n)
		} else {
			member.Text, err = f.path.Value(n)
		}
		if err != nil {
			return nil, false, err
		}
		filled = filled || member.Text != "" || member.First != nil
		*last, last = member, &member.Next
	}
	return o, filled, nil
}

// addElements fills in the elements of a list.
func addElements(member *jsontree.Node, from *htmltree.Path, n *htmltree.Node) error {
	found, err := from.All(n)
	last := &member.First
	for _, one := range found {
		element := &jsontree.Node{Kind: jsontree.String, Text: htmltree.Text(one), Parent: member}
		*last, last = element, &element.Next
	}
	return err
}

// advance compares the rows with what the page says of them, and finds whether another page is to be asked for.
func (p *pageReader) advance(part *htmltree.Node, so paging, rows int, found bool) (paging, error) {
	now := paging{pages: so.pages + 1, rows: so.rows + rows, total: so.rows + rows}
	next, err := p.nextPage(part, now.pages+1)
	if err != nil {
		return now, err
	}
	if p.countText != nil {
		if now.total, err = p.checkCount(part, so, rows, next != ""); err != nil {
			return now, err
		}
	}
	if !found {
		now.next = next
	}
	return now, nil
}

// nextPage is the number of the next page, which must be the one that comes after this; empty when this is the last.
func (p *pageReader) nextPage(part *htmltree.Node, due int) (string, error) {
	if p.next == nil {
		return "", nil
	}
	next, err := p.next.Value(part)
	if err == nil && next != "" && next != strconv.Itoa(due) {
		err = fmt.Errorf("page %d leads to page %.20q", due-1, next)
	}
	return next, err
}

// checkCount reads "11 to 20 of 35" and gives the 35.
func (p *pageReader) checkCount(part *htmltree.Node, so paging, rows int, more bool) (int, error) {
	node, err := p.countText.One(part)
	if err != nil {
		return 0, err
	}
	text := htmltree.CollapseSpace(htmltree.Text(node))
	for _, form := range p.countPatterns {
		match := form.FindStringSubmatch(text)
		if match == nil {
			continue
		}
		from, to, of := parseCount(match[form.SubexpIndex("from")]), parseCount(match[form.SubexpIndex("to")]), parseCount(match[form.SubexpIndex("of")])
		first := so.rows + 1
		if rows == 0 {
			first = 0
		}
		if from != first || to != so.rows+rows || so.pages > 0 && (of != so.total || rows == 0) || more != (to < of) {
			return 0, fmt.Errorf("%.100q: there are %d rows after %d, another page: %t", text, rows, so.rows, more)
		}
		return of, nil
	}
	return 0, fmt.Errorf("no count in %.100q", text)
}

// parseCount reads a number whose thousands may be marked by a comma or a space; -1 for what is none.
func parseCount(text string) int {
	n, err := strconv.Atoi(strings.NewReplacer(",", "", " ", "", "\u202f", "", "\u00a0", "").Replace(text))
	if err != nil {
		return -1
	}
	return n
}

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
