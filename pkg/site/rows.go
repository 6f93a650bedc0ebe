package site

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"
)

// table is a well-formed answer of a call: the rows of the case, and whose the other rows are.
type table struct {
	rows    []*jsontree.Node
	foreign []string
	// unrelated says that a row belongs to a case that cannot have been meant: answers got mixed up.
	unrelated bool
	// paging is what the pages up to this one have shown, inputs the hidden inputs of this one; nothing for JSON.
	paging paging
	inputs [][2]string
}

// foreignCases are the cases that the other rows belong to.
func (t *table) foreignCases() string {
	slices.Sort(t.foreign)
	return strings.Join(slices.Compact(slices.Clone(t.foreign)), " ")
}

// answerError is why an answer is not what the call should give: the rule that found it, and the error.
type answerError struct {
	rule string
	err  error
}

func (t *answerError) Error() string { return t.err.Error() }

// read takes an answer of a call apart; so is what the pages of the call before it have shown.
func (c *call) read(id contract.CaseID, exchange contract.Exchange, so paging) (table, *answerError) {
	var t table
	if c.page != nil {
		return c.page.read(id, exchange, so)
	}
	if !isOK(exchange.Status) {
		return t, &answerError{"status", statusError(exchange.Status)}
	}
	doc, err := parseJSON(exchange.Body, exchange.ContentType)
	if errors.Is(err, errCharset) {
		return t, &answerError{"charset", err}
	}
	if err != nil {
		return t, &answerError{"malformed", err}
	}
	rows, err := c.tableRows(doc)
	if err != nil {
		return t, &answerError{"shape", err}
	}
	if err := c.checkCount(doc, len(rows)); err != nil {
		return t, &answerError{"count", err}
	}
	for _, row := range rows {
		if err := t.addJSONRow(c, id, row); err != nil {
			return t, &answerError{"shape", err}
		}
	}
	if name := c.unexpectedMember(doc); name != "" && len(t.rows) == 0 {
		return t, &answerError{"shape", fmt.Errorf("no row of the case, and %.40q beside the rows", name)}
	}
	return t, nil
}

// unexpectedMember is the first member of an answer, other than its rows and their count, that says something: where there is no
// row, that is likely to be why, and no word about the case.
func (c *call) unexpectedMember(doc *jsontree.Node) string {
	var known []*jsontree.Node
	for _, path := range []*jsontree.Path{c.count, c.rows.Holder} {
		if path == nil {
			continue
		}
		node, err := path.First(doc)
		for ; err == nil && node != nil; node = node.Parent {
			known = append(known, node)
		}
	}
	for child := doc.First; child != nil && doc.Kind == jsontree.Object; child = child.Next {
		said, err := text(child)
		nothing := err == nil && (said == "" || said == "0") || err != nil && child.First == nil
		if !nothing && !slices.Contains(known, child) {
			return child.Name
		}
	}
	return ""
}

// addJSONRow puts a row among the case's own or the others'.
func (t *table) addJSONRow(c *call, id contract.CaseID, row *jsontree.Node) error {
	if row.Kind != jsontree.Object {
		return errors.New("a row that is not an object")
	}
	if c.caseNumber == nil {
		if !c.hasParty(row) {
			return errors.New("a row without any of a party's fields")
		}
		t.rows = append(t.rows, row)
		return nil
	}
	node, err := c.caseNumber.First(row)
	if err != nil {
		return err
	}
	whose, err := text(node)
	if err != nil || whose == "" {
		return fmt.Errorf("a row without %s", c.caseNumber.Text)
	}
	t.addRow(id, whose, row)
	return nil
}

// addRow puts a row that says whose it is.
func (t *table) addRow(id contract.CaseID, whose string, row *jsontree.Node) {
	if found, ok := normalizeCaseID(whose); ok && found == id {
		t.rows = append(t.rows, row)
	} else {
		t.foreign = append(t.foreign, whose)
		t.unrelated = t.unrelated || !ok || !isPrefixMatch(found, id)
	}
}

// hasParty says whether a row has a field of a party, be it empty.
func (c *call) hasParty(row *jsontree.Node) bool {
	return slices.ContainsFunc(c.party, func(m mapping) bool {
		node, err := m.path.First(row)
		return err == nil && node != nil
	})
}

// tableRows finds the rows. An empty list is one; something else in its place is none.
func (c *call) tableRows(doc *jsontree.Node) ([]*jsontree.Node, error) {
	if holder := c.rows.Holder; holder != nil {
		list, err := holder.First(doc)
		switch {
		case err != nil:
			return nil, err
		case list == nil:
			return nil, fmt.Errorf("no %s", holder.Text)
		case list.Kind != jsontree.Array:
			return nil, fmt.Errorf("%s is no list", holder.Text)
		}
	}
	return c.rows.All(doc)
}

// checkCount compares the number of rows that the answer says it has with those that are there.
func (c *call) checkCount(doc *jsontree.Node, rows int) error {
	if c.count == nil {
		return nil
	}
	node, err := c.count.First(doc)
	switch {
	case err != nil:
		return err
	case node == nil:
		return fmt.Errorf("no %s", c.count.Text)
	case node.Kind != jsontree.Number:
		return fmt.Errorf("%s is no number", c.count.Text)
	case plainNumber(node.Text) != strconv.Itoa(rows):
		return fmt.Errorf("%s says %.20s, there are %d rows", c.count.Text, node.Text, rows)
	}
	return nil
}

// divisions are those that the case's rows name, each once.
func (c *call) divisions(t table) []string {
	if c.division == nil {
		return nil
	}
	var names []string
	for _, row := range t.rows {
		node, err := c.division.First(row)
		if err != nil {
			continue
		}
		if name, err := text(node); err == nil && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// containsCase says, without parsing it, that a body that starts as JSON has a row of the case in the form in which nearly all
// are written. A text cannot look like that: its quotation marks would be escaped.
func (c *call) containsCase(id contract.CaseID, body []byte) bool {
	return c.casePrefix != "" && startsAsJSON(body) && bytes.Contains(body, []byte(c.casePrefix+id.String()+`"`))
}
