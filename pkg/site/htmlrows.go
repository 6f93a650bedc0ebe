package site

import (
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
	"fct-scraper/pkg/site/jsontree"
)

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
