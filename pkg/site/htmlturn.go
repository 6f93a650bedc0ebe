package site

import (
	"fmt"
	"strconv"
	"strings"

	"fct-scraper/pkg/site/htmltree"
)

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
