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

// table holds the rows of a well-formed response: the rows of the requested case, and the ids of
// the other rows.
type table struct {
	rows    []*jsontree.Node
	foreign []string
	// unrelated is set if a row belongs to a case that the query cannot have matched: the site
	// mixed up its responses.
	unrelated bool
	// paging is the state after this page, and inputs are its hidden inputs; both are unset for
	// JSON.
	paging paging
	inputs [][2]string
}

// foreignCases returns the ids of the other rows, sorted and without duplicates.
func (t *table) foreignCases() string {
	slices.Sort(t.foreign)
	return strings.Join(slices.Compact(slices.Clone(t.foreign)), " ")
}

// responseError is why a response cannot be used: the rule that was broken, and the error.
type responseError struct {
	rule string
	err  error
}

func (t *responseError) Error() string { return t.err.Error() }

// read extracts the table of a response; prev is the state after the earlier pages of the call.
func (c *call) read(id contract.CaseID, exchange contract.Exchange, prev paging) (table, *responseError) {
	var t table
	if c.page != nil {
		return c.page.read(id, exchange, prev)
	}
	if !isOK(exchange.Status) {
		return t, &responseError{"status", statusError(exchange.Status)}
	}
	doc, err := parseJSON(exchange.Body, exchange.ContentType)
	if errors.Is(err, errCharset) {
		return t, &responseError{"charset", err}
	}
	if err != nil {
		return t, &responseError{"malformed", err}
	}
	rows, err := c.tableRows(doc)
	if err != nil {
		return t, &responseError{"shape", err}
	}
	if err := c.checkCount(doc, len(rows)); err != nil {
		return t, &responseError{"count", err}
	}
	for _, row := range rows {
		if err := t.addJSONRow(c, id, row); err != nil {
			return t, &responseError{"shape", err}
		}
	}
	if name := c.unexpectedMember(doc); name != "" && len(t.rows) == 0 {
		return t, &responseError{"shape", fmt.Errorf("no row of the case, but a member %.40q", name)}
	}
	return t, nil
}

// unexpectedMember returns the name of the first non-empty member other than the rows and their
// count. If there are no rows, such a member probably explains why, so that the response proves
// nothing about the case.
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
		value, err := text(child)
		empty := err == nil && (value == "" || value == "0") || err != nil && child.First == nil
		if !empty && !slices.Contains(known, child) {
			return child.Name
		}
	}
	return ""
}

// addJSONRow adds a row to the rows of the case or to the foreign ones.
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

// addRow adds a row by the case id that it holds.
func (t *table) addRow(id contract.CaseID, whose string, row *jsontree.Node) {
	if found, ok := normalizeCaseID(whose); ok && found == id {
		t.rows = append(t.rows, row)
	} else {
		t.foreign = append(t.foreign, whose)
		t.unrelated = t.unrelated || !ok || !isPrefixMatch(found, id)
	}
}

// hasParty reports whether a row has any field of a party, even an empty one.
func (c *call) hasParty(row *jsontree.Node) bool {
	return slices.ContainsFunc(c.party, func(m mapping) bool {
		node, err := m.path.First(row)
		return err == nil && node != nil
	})
}

// tableRows returns the rows. An empty list is valid; any other kind of value is not.
func (c *call) tableRows(doc *jsontree.Node) ([]*jsontree.Node, error) {
	if holder := c.rows.Holder; holder != nil {
		list, err := holder.First(doc)
		switch {
		case err != nil:
			return nil, err
		case list == nil:
			return nil, fmt.Errorf("no %s", holder.Text)
		case list.Kind != jsontree.Array:
			return nil, fmt.Errorf("%s is not a list", holder.Text)
		}
	}
	return c.rows.All(doc)
}

// checkCount compares the response's row count with the actual number of rows.
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
		return fmt.Errorf("%s is not a number", c.count.Text)
	case plainNumber(node.Text) != strconv.Itoa(rows):
		return fmt.Errorf("%s is %.20s, but there are %d rows", c.count.Text, node.Text, rows)
	}
	return nil
}

// divisions returns the distinct divisions of the case's rows.
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

// containsCase reports whether a JSON body has a row of the case in its usual form, without parsing
// it. A string value cannot match by accident, because its quotation marks would be escaped.
func (c *call) containsCase(id contract.CaseID, body []byte) bool {
	return c.casePrefix != "" && startsAsJSON(body) && bytes.Contains(body, []byte(c.casePrefix+id.String()+`"`))
}
