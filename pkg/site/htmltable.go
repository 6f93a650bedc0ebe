package site

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
)

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
