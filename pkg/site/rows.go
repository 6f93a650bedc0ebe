package site

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"

	"github.com/antchfx/jsonquery"
)

// table is a well-formed answer of a call: the rows of the case, and whose the other rows are.
type table struct {
	own    []*jsonquery.Node
	others []string
	// strangers says that a row belongs to a case that cannot have been meant: answers got mixed up.
	strangers bool
	// rows is how many rows there were at all.
	rows int
}

// trouble is why an answer is not what the call should give: the rule that found it, and the error.
type trouble struct {
	rule string
	err  error
}

func (t trouble) Error() string { return t.err.Error() }

// read takes an answer of a call apart. Its error is a trouble.
func (c *call) read(id contract.CaseID, exchange contract.Exchange) (table, error) {
	var t table
	if exchange.Status != 200 {
		return t, trouble{"status", fmt.Errorf("status %d", exchange.Status)}
	}
	doc, err := parseJSON(exchange.Body, exchange.ContentType)
	if errors.Is(err, errCharset) {
		return t, trouble{"charset", err}
	}
	if err != nil {
		return t, trouble{"malformed", fmt.Errorf("not one JSON value: %w", err)}
	}
	rows, err := c.tableRows(doc)
	if err != nil {
		return t, trouble{"shape", err}
	}
	if err := c.checkCount(doc, len(rows)); err != nil {
		return t, trouble{"count", err}
	}
	t.rows = len(rows)
	for _, row := range rows {
		if _, object := row.Value().(map[string]any); !object {
			return t, trouble{"shape", errors.New("a row that is not an object")}
		}
		if c.number == nil {
			t.own = append(t.own, row)
			continue
		}
		whose, err := text(c.number.first(row))
		if err != nil || whose == "" {
			return t, trouble{"shape", fmt.Errorf("a row without %s", c.number.text)}
		}
		if parsed, ok := normalized(whose); ok && parsed == id {
			t.own = append(t.own, row)
		} else {
			t.others = append(t.others, whose)
			t.strangers = t.strangers || !ok || !begins(parsed, id)
		}
	}
	return t, nil
}

// tableRows finds the rows. An empty list is one; something else in its place is none.
func (c *call) tableRows(doc *jsonquery.Node) ([]*jsonquery.Node, error) {
	rows := c.rows.all(doc)
	parent, isList := strings.CutSuffix(c.rows.text, "/*")
	if !isList {
		return rows, nil
	}
	list := jsonquery.FindOne(doc, parent)
	if list == nil {
		return nil, fmt.Errorf("no %s", parent)
	}
	if _, array := list.Value().([]any); !array {
		return nil, fmt.Errorf("%s is no list", parent)
	}
	return rows, nil
}

func (c *call) checkCount(doc *jsonquery.Node, rows int) error {
	if c.count == nil {
		return nil
	}
	node := c.count.first(doc)
	if node == nil {
		return fmt.Errorf("no %s", c.count.text)
	}
	count, number := node.Value().(float64)
	if !number {
		return fmt.Errorf("%s is no number", c.count.text)
	}
	if count != float64(rows) {
		return fmt.Errorf("%s says %s, there are %d rows", c.count.text, strconv.FormatFloat(count, 'f', -1, 64), rows)
	}
	return nil
}

// normalized reads a case number as a site may write it: with spaces around it, small letters, leading zeros.
func normalized(written string) (contract.CaseID, bool) {
	parts := strings.Split(strings.ToUpper(strings.TrimSpace(written)), "-")
	if len(parts) != 3 {
		return contract.CaseID{}, false
	}
	digits := strings.TrimLeft(strings.TrimSpace(parts[1]), "0")
	id, err := contract.ParseCaseID(strings.TrimSpace(parts[0]) + "-" + digits + "-" + strings.TrimSpace(parts[2]))
	return id, err == nil
}

// begins says whether a site that searches by the beginning of a number gives found when asked is asked for: IMM-130-25
// for IMM-13-25.
func begins(found, asked contract.CaseID) bool {
	return found.Series == asked.Series && found.Year == asked.Year &&
		strings.HasPrefix(strconv.Itoa(found.Number), strconv.Itoa(asked.Number))
}
