package site

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"fct-scraper/pkg/site/jsontree"
)

// compiler gathers what is wrong with one call of a profile file.
type compiler struct{ problems []error }

func (c *compiler) wrong(key, value, allowed string) {
	c.problems = append(c.problems, fmt.Errorf("%s %.60q: allowed is %s", key, value, allowed))
}

// path compiles an XPath; one that is left out is nil, and wrong when it must be there.
func (c *compiler) path(key, text string, must bool) *jsontree.Path {
	if text == "" && !must {
		return nil
	}
	path, err := jsontree.Compile(text)
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
		all = append(all, mapping{field: field, from: c.path(key+"."+field, fields[field], true)})
	}
	return all
}

func (f fileCall) compile() (call, error) {
	var c compiler
	f.check(&c)
	compiled := call{
		name: f.Name, when: f.When, gives: f.Gives, proves: f.Proves, path: f.Path,
		rows:   c.path("rows", f.Rows, true),
		count:  c.path("count", f.Count, false),
		number: c.path("number", f.Number, f.Gives != givesParty),
		header: c.mappings("header", f.Header, isHeaderField),
		entry:  c.mappings("entry", f.Entry, isEntryField),
		party:  c.mappings("party", f.Party, isPartyField),
	}
	for _, key := range slices.Sorted(maps.Keys(f.Query)) {
		compiled.query = append(compiled.query, [2]string{key, f.Query[key]})
	}
	for _, m := range compiled.header {
		if m.field == "division" {
			compiled.division = m.from
		}
	}
	if compiled.number != nil {
		if member, bare := compiled.number.Member(); bare {
			compiled.own = `"` + member + `":"`
		}
	}
	return compiled, errors.Join(c.problems...)
}

// check looks at what is no XPath.
func (f fileCall) check(c *compiler) {
	if f.Name == "" {
		c.wrong("name", f.Name, "a text")
	}
	if !slices.Contains([]when{always, unseen, parties}, f.When) {
		c.wrong("when", string(f.When), "always, unseen or parties")
	}
	if !slices.Contains([]gives{givesEntry, givesHeader, givesParty}, f.Gives) {
		c.wrong("gives", string(f.Gives), "entry, header or party")
	}
	if (f.Gives == givesParty) != (f.When == parties) {
		c.wrong("gives", string(f.Gives), "party for a call made for parties, and for no other")
	}
	if f.Proves && f.When != unseen {
		c.wrong("proves", "true", "false for a call that is not made for unseen cases")
	}
	u, err := url.Parse(f.Path)
	if err != nil || !strings.HasPrefix(f.Path, "/") || strings.HasPrefix(f.Path, "//") || u.RawQuery != "" || u.ForceQuery || strings.Contains(f.Path, "#") {
		c.wrong("path", f.Path, "a path from the origin on, with one slash before it and no query")
	}
	if f.Format != "json" {
		c.wrong("format", f.Format, "json")
	}
	problems := []error{checkPlaceholders("path", f.Path)}
	for _, key := range slices.Sorted(maps.Keys(f.Query)) {
		problems = append(problems, checkPlaceholders("query."+key, f.Query[key]))
	}
	if err := errors.Join(problems...); err != nil {
		c.problems = append(c.problems, err)
	}
}
