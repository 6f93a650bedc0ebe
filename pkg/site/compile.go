package site

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fct-scraper/pkg/site/jsontree"
)

// compiler gathers what is wrong with one call of a profile file.
type compiler struct{ problems []error }

func (c *compiler) invalid(key, value, allowed string) {
	c.problems = append(c.problems, fmt.Errorf("%s %.60q: allowed is %s", key, value, allowed))
}

// path compiles an XPath; one that is left out is nil, and wrong when it must be there.
func (c *compiler) path(key, text string, must bool) *jsontree.Path {
	return compilePath(c, key, text, must, jsontree.Compile)
}

func compilePath[Path any](c *compiler, key, text string, must bool, compile func(string) (*Path, error)) *Path {
	if text == "" && !must {
		return nil
	}
	path, err := compile(text)
	if err != nil {
		c.problems = append(c.problems, fmt.Errorf("%s: %w", key, err))
	}
	return path
}

// mappings compiles a table of fields, in the order of their names.
func (c *compiler) mappings(key string, fields map[string]string, known func(string) bool) []mapping {
	var all []mapping
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if !known(field) {
			c.problems = append(c.problems, fmt.Errorf("unknown key %s.%.40s", key, field))
		}
		all = append(all, mapping{field: field, path: c.path(key+"."+field, fields[field], true)})
	}
	return all
}

func (f callSpec) compile(t *tokenRules) (call, error) {
	var c compiler
	f.checkCall(&c)
	compiled := call{
		name: f.Name, when: f.When, gives: f.Gives, proves: f.Proves, path: f.Path,
		method: f.method(), query: sortedPairs(f.Query), otherQuery: sortedPairs(f.Other), form: sortedPairs(f.Form),
	}
	if f.Format == formatHTML {
		f.compilePage(&c, &compiled, t)
	} else {
		f.compileJSON(&c, &compiled)
	}
	return compiled, errors.Join(c.problems...)
}

// The formats of answers.
const (
	formatJSON = "json"
	formatHTML = "html"
)

// method is GET where nothing is said.
func (f callSpec) method() string {
	if f.Method == "" {
		return http.MethodGet
	}
	return f.Method
}

// sortedPairs are a table in the order of its keys.
func sortedPairs(table map[string]string) [][2]string {
	var all [][2]string
	for _, key := range slices.Sorted(maps.Keys(table)) {
		all = append(all, [2]string{key, table[key]})
	}
	return all
}

func (f callSpec) compileJSON(c *compiler, compiled *call) {
	compiled.rows = c.path("rows", f.Rows, true)
	compiled.count = c.path("count", f.Count, false)
	compiled.caseNumber = c.path("number", f.Number, f.Gives != partyRows)
	compiled.header = c.mappings("header", f.Header, isHeaderField)
	compiled.entry = c.mappings("entry", f.Entry, isEntryField)
	compiled.party = c.mappings("party", f.Party, isPartyField)
	if f.Page != nil {
		c.invalid("page", "", "a part of calls whose format is html")
	}
	for _, m := range compiled.header {
		if m.field == "division" {
			compiled.division = m.path
		}
	}
	if compiled.caseNumber != nil {
		if member, bare := compiled.caseNumber.Member(); bare {
			compiled.casePrefix = `"` + member + `":"`
		}
	}
}

// checkCall looks at what is no XPath.
func (f callSpec) checkCall(c *compiler) {
	if f.Name == "" {
		c.invalid("name", f.Name, "a text")
	}
	if !slices.Contains([]callCondition{whenAlways, whenUnseen, whenParties}, f.When) {
		c.invalid("when", string(f.When), "always, unseen or parties")
	}
	if !slices.Contains([]rowKind{entryRows, headerRows, partyRows}, f.Gives) {
		c.invalid("gives", string(f.Gives), "entry, header or party")
	}
	if (f.Gives == partyRows) != (f.When == whenParties) {
		c.invalid("gives", string(f.Gives), "party for a call made for parties, and for no other")
	}
	if f.Proves && f.When != whenUnseen {
		c.invalid("proves", "true", "false for a call that is not made for unseen cases")
	}
	c.checkPath(f.Path)
	if f.Format != formatJSON && f.Format != formatHTML {
		c.invalid("format", f.Format, "json or html")
	}
	if f.method() != http.MethodGet && f.method() != http.MethodPost {
		c.invalid("method", f.Method, "GET or POST")
	}
	if len(f.Other) > 0 && (f.Gives != entryRows || f.When != whenAlways || f.Format != formatJSON) {
		c.invalid("other_query", f.Name, "a part of calls in JSON that are made always and give entries")
	}
	if len(f.Form) > 0 && f.method() != http.MethodPost {
		c.invalid("form", f.Method, "a part of calls whose method is POST")
	}
	problems := []error{checkPlaceholders("path", f.Path)}
	for _, pair := range sortedPairs(f.Query) {
		problems = append(problems, checkPlaceholders("query."+pair[0], pair[1]))
	}
	for _, pair := range sortedPairs(f.Other) {
		problems = append(problems, checkPlaceholders("other_query."+pair[0], pair[1]))
	}
	for _, pair := range sortedPairs(f.Form) {
		problems = append(problems, checkPlaceholders("form."+pair[0], pair[1], pagePlaceholder))
	}
	if err := errors.Join(problems...); err != nil {
		c.problems = append(c.problems, err)
	}
}

func (c *compiler) checkPath(path string) {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || u.RawQuery != "" || u.ForceQuery || strings.Contains(path, "#") {
		c.invalid("path", path, "a path from the origin on, with one slash before it and no query")
	}
}
