package site

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/htmltree"
	"fct-scraper/pkg/site/jsontree"
)

// compilePage compiles a call whose response is an HTML page. If its rows are entries, the header
// comes from the page itself.
func (f callSpec) compilePage(c *compiler, compiled *call, t *tokenRules) {
	page := f.Page
	if page == nil {
		page = &pageSpec{}
	}
	p := &pageReader{
		endMark: strings.ToLower(page.End),
		within:  c.pagePath("page.within", page.Within, false), title: c.pagePath("page.title", page.Title, false),
		titlePatterns: c.patterns("page.titles", page.Titles, nil), table: c.pagePath("page.table", page.Table, true),
		rows: c.pagePath("rows", f.Rows, true), caseNumber: c.pageValue("number", f.Number),
		countText: c.pagePath("page.shown", page.Shown, false), countPatterns: c.patterns("page.counts", page.Counts, []string{"from", "to", "of"}),
		next: c.pageValue("page.next", page.Next), emptyTexts: page.None,
	}
	for _, columns := range page.Columns {
		p.columns = append(p.columns, strings.Join(columns, headingSeparator))
	}
	header, fields := c.pageFields("header", f.Header, fieldsOf[contract.Header]())
	entry, entryFields := c.pageFields("entry", f.Entry, fieldsOf[contract.DocketEntry]())
	party, partyFields := c.pageFields("party", f.Party, fieldsOf[contract.Party]())
	compiled.header, compiled.entry, compiled.party = header, entry, party
	switch f.Gives {
	case entryRows:
		p.pageFields, p.rowFields = fields, entryFields
	case partyRows:
		p.rowFields = partyFields
	case headerRows:
		p.rowFields = fields
	}
	if t != nil {
		p.inputs = t.page.inputs
	}
	f.checkPage(c, page)
	compiled.page = p
}

// checkPage checks the keys that depend on each other.
func (f callSpec) checkPage(c *compiler, page *pageSpec) {
	if f.Count != "" {
		c.invalid("count", f.Count, "a part of calls whose format is json; a page has shown and counts")
	}
	if (page.Title == "") != (len(page.Titles) == 0) {
		c.invalid("page.title", page.Title, "one with titles, and titles with one")
	}
	if (page.Shown == "") != (len(page.Counts) == 0) {
		c.invalid("page.shown", page.Shown, "one with counts, and counts with one")
	}
	if (page.Title == "") == (f.Number == "") {
		c.invalid("number", f.Number, "either this, whose a row is, or page.title, whose the page is")
	}
	if len(page.None) == 0 || slices.Contains(page.None, "") {
		c.invalid("page.none", strings.Join(page.None, " "), "at least one text of a table without rows")
	}
	paged := slices.ContainsFunc(sortedPairs(f.Form), func(pair [2]string) bool { return strings.Contains(pair[1], pagePlaceholder) })
	if paged != (page.Next != "") {
		c.invalid("page.next", page.Next, "one with "+pagePlaceholder+" in the form, and that with one")
	}
}

// pagePath compiles an XPath that finds nodes.
func (c *compiler) pagePath(key, text string, must bool) *htmltree.Path {
	return compilePath(c, key, text, must, htmltree.CompileNodes)
}

// pageValue compiles an XPath that finds nodes or returns a string; an empty text gives nil.
func (c *compiler) pageValue(key, text string) *htmltree.Path {
	return compilePath(c, key, text, false, htmltree.Compile)
}

// pageFields compiles a table of fields. It returns their paths on the page, and their paths in the
// JSON rows that are built from it, where each field has its own name.
func (c *compiler) pageFields(
	key string, fields map[string]string, known map[string]reflect.StructField,
) ([]mapping, []pageField) {
	var made []mapping
	var all []pageField
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		to, found := known[field]
		if !found {
			c.problems = append(c.problems, fmt.Errorf("unknown key %s.%.40s", key, field))
			continue
		}
		f, path := pageField{field: field, list: to.Type.Kind() == reflect.Slice}, field
		if f.list {
			f.path, path = c.pagePath(key+"."+field, fields[field], true), field+"/*"
		} else if f.path = c.pageValue(key+"."+field, fields[field]); f.path == nil && fields[field] == "" {
			c.invalid(key+"."+field, "", "an XPath")
		}
		row, err := jsontree.Compile(path)
		if err != nil {
			c.problems = append(c.problems, fmt.Errorf("%s.%s: %w", key, field, err))
		}
		made, all = append(made, newMapping(to, row)), append(all, f)
	}
	return made, all
}

// patterns compiles regular expressions for single-line texts. Each must have the named groups, or
// exactly one group if groups is nil.
func (c *compiler) patterns(key string, texts, groups []string) []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, text := range texts {
		form, err := regexp.Compile(text)
		switch {
		case err != nil:
			c.problems = append(c.problems, fmt.Errorf("%s: %w", key, err))
			continue
		case groups == nil && form.NumSubexp() != 1:
			c.invalid(key, text, "an expression with one group, the case's number")
		case slices.ContainsFunc(groups, func(group string) bool { return form.SubexpIndex(group) < 0 }):
			c.invalid(key, text, "an expression with the groups "+strings.Join(groups, ", "))
		}
		all = append(all, form)
	}
	return all
}

// compile compiles the rules for hidden inputs; nil if there are none.
func (f *tokensSpec) compile() (*tokenRules, error) {
	if f == nil {
		return nil, nil
	}
	var c compiler
	c.checkPath(f.Path)
	if strings.ContainsAny(f.Path, "{}") {
		c.invalid("path", f.Path, "a path without placeholders: the page is the same for all cases")
	}
	t := &tokenRules{path: f.Path, page: pageReader{endMark: strings.ToLower(f.End), inputs: c.pagePath("inputs", f.Inputs, true)}}
	if len(f.Stale) == 0 {
		c.invalid("stale", "", "at least one rule")
	}
	for _, rule := range f.Stale {
		if rule.Name == "" || len(rule.Text) == 0 || slices.Contains(rule.Text, "") || slices.ContainsFunc(rule.Status, func(status int) bool { return status < 200 || status > 999 }) {
			c.invalid("stale", rule.Name, "a name, texts, and statuses from 200 to 999")
		}
		t.stale = append(t.stale, staleRule{rule.Name, rule.Status, lowerCase(rule.Text)})
	}
	return t, errors.Join(c.problems...)
}

// lowerCase returns the texts in lower case, as they are searched for in pages.
func lowerCase(texts []string) [][]byte {
	var small [][]byte
	for _, text := range texts {
		small = append(small, []byte(strings.ToLower(text)))
	}
	return small
}
