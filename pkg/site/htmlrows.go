package site

import (
	"fmt"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
	"fct-scraper/pkg/site/jsontree"
)

// take makes rows of the page's fields and of the table's rows.
func (p *pageReader) take(t *table, id contract.CaseID, part *htmltree.Node, rows []*htmltree.Node) error {
	about, filled, err := object(p.about, part)
	if err != nil {
		return err
	}
	if filled {
		t.own = append(t.own, about)
	}
	for _, row := range rows {
		fields, _, err := object(p.fields, row)
		if err != nil {
			return err
		}
		if p.number == nil {
			t.own = append(t.own, fields)
			continue
		}
		whose, err := p.number.Value(row)
		if err != nil || whose == "" {
			return fmt.Errorf("a row without %s", p.number.Text)
		}
		t.place(id, whose, fields)
	}
	return nil
}

// object is what a JSON answer would hold in the place of a node; filled says that any of its fields has a value.
func object(fields []pageField, n *htmltree.Node) (o *jsontree.Node, filled bool, err error) {
	o = &jsontree.Node{Kind: jsontree.Object}
	last := &o.First
	for _, f := range fields {
		member := &jsontree.Node{Kind: jsontree.String, Name: f.field, Parent: o}
		if f.many {
			member.Kind = jsontree.Array
			err = list(member, f.from, n)
		} else {
			member.Text, err = f.from.Value(n)
		}
		if err != nil {
			return nil, false, err
		}
		filled = filled || member.Text != "" || member.First != nil
		*last, last = member, &member.Next
	}
	return o, filled, nil
}

// list fills in the elements of a list.
func list(member *jsontree.Node, from *htmltree.Path, n *htmltree.Node) error {
	found, err := from.All(n)
	last := &member.First
	for _, one := range found {
		element := &jsontree.Node{Kind: jsontree.String, Text: htmltree.Text(one), Parent: member}
		*last, last = element, &element.Next
	}
	return err
}
