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

	"golang.org/x/net/html"
)

// pageReader reads an HTML response of a call. It builds the rows that a JSON response would have,
// so that the code after it is the same for both formats.
type pageReader struct {
	// endMark is the text at the end of a complete page, in lower case; empty to skip the check.
	// The check is needed because an HTML parser accepts half a page.
	endMark string
	// within selects the part of the page that is read; nil means all of it.
	within *htmltree.Path
	// title finds the heading that names the page's case, and titlePatterns extract the case id
	// from it; nil if the rows name their case.
	title         *htmltree.Path
	titlePatterns []*regexp.Regexp
	table         *htmltree.Path
	// columns are the allowed headings of the table, each set joined into one line; empty allows
	// any.
	columns []string
	rows    *htmltree.Path
	// emptyTexts are the possible texts of the only cell of a table without rows.
	emptyTexts []string
	caseNumber *htmltree.Path
	// pageFields are fields of the page itself, rowFields those of a row.
	pageFields, rowFields []pageField
	// countText finds the text about which of how many rows are shown, and countPatterns read it;
	// nil if the page has no such text.
	countText     *htmltree.Path
	countPatterns []*regexp.Regexp
	// next finds the number of the next page; nil if there is only one page.
	next *htmltree.Path
	// inputs finds the hidden inputs for the next request; nil if none are posted.
	inputs *htmltree.Path
}

// pageField is a field of the record and its path on the page; list marks a list of texts.
type pageField struct {
	field string
	path  *htmltree.Path
	list  bool
}

// paging is the state after reading some of a call's pages, which are requested one after the
// other.
type paging struct {
	pages, rows, total int
	// next is the number of the page to request; empty if the case's row was found or no page is
	// left.
	next string
}

// maxPages limits the pages read to find a case. A site normally lists an exact number on the first
// page.
const maxPages = 20

// read extracts the table of a page; prev is the state after the pages before it.
func (p *pageReader) read(id contract.CaseID, exchange contract.Exchange, prev paging) (table, *responseError) {
	var t table
	root, failure := p.parse(exchange)
	if failure != nil {
		return t, failure
	}
	part, found, err := p.findTable(root)
	if err != nil {
		return t, &responseError{"shape", err}
	}
	if failure := p.checkTitle(id, part); failure != nil {
		return t, failure
	}
	rows, err := p.tableRows(found)
	if err != nil {
		return t, &responseError{"shape", err}
	}
	if err := p.addRows(&t, id, part, rows); err != nil {
		return t, &responseError{"shape", err}
	}
	if t.paging, err = p.advance(part, prev, len(rows), len(t.rows) > 0); err != nil {
		return t, &responseError{"count", err}
	}
	if p.inputs != nil {
		t.inputs, err = hiddenInputs(p.inputs, root)
		if err != nil { // keep using the previous inputs
			t.inputs = nil
		}
	}
	return t, nil
}

// parse parses a response, which must be a complete page.
func (p *pageReader) parse(exchange contract.Exchange) (*htmltree.Node, *responseError) {
	if !isOK(exchange.Status) {
		return nil, &responseError{"status", statusError(exchange.Status)}
	}
	body, err := toUTF8(exchange.Body, exchange.ContentType)
	switch {
	case err != nil:
		return nil, &responseError{"charset", err}
	case len(bytes.TrimSpace(body)) == 0:
		return nil, &responseError{"malformed", errors.New("empty body")}
	case startsAsJSON(body):
		return nil, &responseError{"malformed", errors.New("JSON instead of an HTML page")}
	case !p.isComplete(body):
		return nil, &responseError{"malformed", fmt.Errorf("no %s at its end", p.endMark)}
	}
	root, err := htmltree.Parse(string(body))
	if err != nil {
		return nil, &responseError{"malformed", err}
	}
	return root, nil
}

// isComplete searches for the end mark in the last bytes only, because a server may append a
// comment.
func (p *pageReader) isComplete(body []byte) bool {
	const last = 4 << 10
	tail := body[max(0, len(body)-last):]
	return p.endMark == "" || bytes.Contains(bytes.ToLower(tail), []byte(p.endMark))
}

// findTable returns the part of the page that is read and the table in it, after checking its
// headings.
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

// headings returns the headings of a table in one line, without those of nested tables.
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

// headingSeparator is put between two headings.
const headingSeparator = " | "

// checkTitle checks that a page about one case is about the requested case.
func (p *pageReader) checkTitle(id contract.CaseID, part *htmltree.Node) *responseError {
	if p.title == nil {
		return nil
	}
	node, err := p.title.One(part)
	if err != nil {
		return &responseError{"shape", err}
	}
	title := htmltree.CollapseSpace(htmltree.Text(node))
	for _, form := range p.titlePatterns {
		if match := form.FindStringSubmatch(title); match != nil {
			if found, ok := normalizeCaseID(match[1]); !ok || found != id {
				return &responseError{"other-case", fmt.Errorf("page of another case: %.100q", title)}
			}
			return nil
		}
	}
	return &responseError{"shape", fmt.Errorf("unknown title %.100q", title)}
}

// tableRows returns the rows of a table. A table without results has one row with one cell that
// says so; a table without any row is an error.
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
		return nil, errors.New("rows next to the text for no rows")
	}
	return rows, nil
}

func (p *pageReader) isEmptyRow(row *htmltree.Node) bool {
	return len(htmltree.Elements(row)) == 1 && slices.Contains(p.emptyTexts, htmltree.CollapseSpace(htmltree.Text(row)))
}

// addRows builds rows from the page's own fields and from the rows of its table.
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

// rowObject builds the JSON object for a node; filled reports whether any field has a value.
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

func addElements(member *jsontree.Node, from *htmltree.Path, n *htmltree.Node) error {
	found, err := from.All(n)
	last := &member.First
	for _, one := range found {
		element := &jsontree.Node{Kind: jsontree.String, Text: htmltree.Text(one), Parent: member}
		*last, last = element, &element.Next
	}
	return err
}

// advance checks the number of rows against the count on the page, and decides whether another page
// must be requested.
func (p *pageReader) advance(part *htmltree.Node, prev paging, rows int, found bool) (paging, error) {
	now := paging{pages: prev.pages + 1, rows: prev.rows + rows, total: prev.rows + rows}
	next, err := p.nextPage(part, now.pages+1)
	if err != nil {
		return now, err
	}
	if p.countText != nil {
		if now.total, err = p.checkCount(part, prev, rows, next != ""); err != nil {
			return now, err
		}
	}
	if !found {
		now.next = next
	}
	return now, nil
}

// nextPage returns the number of the next page, which must be due; empty if this is the last page.
func (p *pageReader) nextPage(part *htmltree.Node, expected int) (string, error) {
	if p.next == nil {
		return "", nil
	}
	next, err := p.next.Value(part)
	if err == nil && next != "" && next != strconv.Itoa(expected) {
		err = fmt.Errorf("page %d leads to page %.20q", expected-1, next)
	}
	return next, err
}

// checkCount reads a text such as "11 to 20 of 35", checks it, and returns the 35.
func (p *pageReader) checkCount(part *htmltree.Node, prev paging, rows int, more bool) (int, error) {
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
		from, to, of := parseCount(match[form.SubexpIndex("from")]), parseCount(match[form.SubexpIndex("to")]),
			parseCount(match[form.SubexpIndex("of")])
		first := prev.rows + 1
		if rows == 0 {
			first = 0
		}
		if from != first || to != prev.rows+rows || prev.pages > 0 && (of != prev.total || rows == 0) ||
			more != (to < of) {
			return 0, fmt.Errorf("%.100q: there are %d rows after %d, another page: %t", text, rows, prev.rows, more)
		}
		return of, nil
	}
	return 0, fmt.Errorf("no count in %.100q", text)
}

// parseCount reads a number that may have commas or spaces between thousands; -1 if it is not a
// number.
func parseCount(text string) int {
	n, err := strconv.Atoi(strings.NewReplacer(",", "", " ", "", "\u202f", "", "\u00a0", "").Replace(text))
	if err != nil {
		return -1
	}
	return n
}

// isOwnPage reports whether a response that should be a page has what only the site's own pages
// have: the hidden inputs, or the table of its call, even if cut off. A page without any text of a
// block is accepted without parsing.
func (p *Profile) isOwnPage(c *call, exchange contract.Exchange) bool {
	if !isOK(exchange.Status) {
		return false
	}
	if !p.hasBlockText(searchViews(decodeLeniently(exchange))) {
		return true
	}
	root, err := htmltree.Parse(string(exchange.Body))
	if err != nil { // a page over the limits is too large for a block
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

// expectsPage reports whether the response of a call should be an HTML page. A nil c with due means
// the page with the hidden inputs.
func (p *Profile) expectsPage(name string) (c *call, expected bool) {
	if name == tokensCall {
		return nil, p.tokens != nil
	}
	c = p.callByName(name)
	return c, c != nil && c.page != nil
}

// tokensCall is the name of the request for the page with the hidden inputs. No call of a profile
// has it.
const tokensCall = "tokens"

// tokenRules describes where a site's hidden inputs come from, and how a response to stale inputs
// looks.
type tokenRules struct {
	path string
	page pageReader // only inputs and endMark are set
	// stale are the rules for responses that only mean that the inputs are too old.
	stale []staleRule
}

// staleRule matches a response that has one of these texts and one of these statuses; without
// statuses it matches any.
type staleRule struct {
	name   string
	status []int
	texts  [][]byte // in lower case
}

// readInputs reads the hidden inputs from the page that provides them.
func (t *tokenRules) readInputs(exchange contract.Exchange) ([][2]string, *responseError) {
	if exchange.Error != "" {
		return nil, &responseError{"exchange", errors.New(exchange.Error)}
	}
	root, failure := t.page.parse(exchange)
	if failure != nil {
		return nil, failure
	}
	inputs, err := hiddenInputs(t.page.inputs, root)
	if err != nil {
		return nil, &responseError{"token", err}
	}
	return inputs, nil
}

// findStale returns the name of the rule that matches a response to stale inputs. It is safe on a
// nil receiver.
func (t *tokenRules) findStale(exchange contract.Exchange) (rule string, stale bool) {
	if t == nil {
		return "", false
	}
	page := bytes.ToLower(exchange.Body[:min(len(exchange.Body), searchLimit)])
	for _, rule := range t.stale {
		fits := func(text []byte) bool { return bytes.Contains(page, text) }
		if (len(rule.status) == 0 || slices.Contains(rule.status, exchange.Status)) &&
			slices.ContainsFunc(rule.texts, fits) {
			return rule.name, true
		}
	}
	return "", false
}

// hiddenInputs returns the names and values of the inputs on a page. It fails if there are none.
func hiddenInputs(path *htmltree.Path, root *htmltree.Node) ([][2]string, error) {
	found, err := path.All(root)
	if err != nil {
		return nil, err
	}
	var inputs [][2]string
	for _, n := range found {
		if name := htmltree.Attribute(n, "name"); n.Type == html.ElementNode && name != "" {
			inputs = append(inputs, [2]string{name, htmltree.Attribute(n, "value")})
		}
	}
	if len(inputs) == 0 || len(inputs) > maxInputs {
		return nil, fmt.Errorf("%d hidden inputs, allowed is 1 to %d", len(inputs), maxInputs)
	}
	return inputs, nil
}

// maxInputs is the largest number of hidden inputs of a form.
const maxInputs = 64
