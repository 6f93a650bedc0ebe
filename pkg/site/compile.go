package site

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"

	"golang.org/x/net/http/httpguts"
)

// compiler collects the problems of one call of a profile file.
type compiler struct{ problems []error }

func (c *compiler) invalid(key, value, allowed string) {
	c.problems = append(c.problems, fmt.Errorf("%s %.60q: allowed is %s", key, value, allowed))
}

// path compiles an XPath. An empty text gives nil, and a problem if must is set.
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

// mappings compiles a table of fields, sorted by name. known are the fields that a profile can map.
func (c *compiler) mappings(key string, fields map[string]string, known map[string]reflect.StructField) []mapping {
	var all []mapping
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, found := known[name]
		if _, renamed := known[renamedField(name)]; !found && renamed {
			c.problems = append(c.problems, fmt.Errorf("key %s.%s is now %s.%s", key, name, key, renamedField(name)))
		} else if !found {
			c.problems = append(c.problems, fmt.Errorf("unknown key %s.%.40s", key, name))
		}
		if path := c.path(key+"."+name, fields[name], true); found {
			all = append(all, newMapping(field, path))
		}
	}
	return all
}

// renamedField returns the name of a field that records of version 1 called name.
func renamedField(name string) string {
	switch name {
	case "day":
		return "entered_on"
	case "entry", "document":
		return name + "_number"
	default:
		return name + "_en"
	}
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

// The formats of responses.
const (
	formatJSON = "json"
	formatHTML = "html"
)

// method returns the HTTP method, which is GET by default.
func (f callSpec) method() string {
	if f.Method == "" {
		return http.MethodGet
	}
	return f.Method
}

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
	compiled.header = c.mappings("header", f.Header, fieldsOf[contract.Header]())
	compiled.entry = c.mappings("entry", f.Entry, fieldsOf[contract.DocketEntry]())
	compiled.party = c.mappings("party", f.Party, fieldsOf[contract.Party]())
	if f.Page != nil {
		c.invalid("page", "", "a part of calls whose format is html")
	}
	for _, m := range compiled.header {
		if m.name == "division" {
			compiled.division = m.path
		}
	}
	if compiled.caseNumber != nil {
		if member, bare := compiled.caseNumber.Member(); bare {
			compiled.casePrefix = `"` + member + `":"`
		}
	}
}

// checkCall checks everything that is not an XPath.
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

// checkNames checks the keys that every profile has.
func (f profileFile) checkNames() []error {
	var problems []error
	if f.Name == "" || len(f.Name) > 40 || strings.Trim(f.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		problems = append(problems, fmt.Errorf("name %.60q: allowed are 1 to 40 small letters, digits and dashes", f.Name))
	}
	if f.Origin != "" {
		if err := CheckOrigin(f.Origin); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func (f profileFile) check() []error {
	problems := f.checkNames()
	for series := range f.Divisions {
		if err := contract.CheckSeries(series); err != nil {
			problems = append(problems, fmt.Errorf("divisions: %w", err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		if err := checkHeader(name, f.Headers[name]); err != nil {
			problems = append(problems, err)
		}
	}
	problems = append(problems, f.checkCalls()...)
	return append(problems, f.checkBlocks()...)
}

// checkHeader rejects headers that no request can carry and headers that the client sets itself.
func checkHeader(name, value string) error {
	own := []string{"User-Agent", "Host", "Accept-Encoding", "Content-Length", "Content-Type", "Cookie", "Connection", "Transfer-Encoding"}
	switch {
	case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("headers: %.60q: allowed is what an HTTP header can carry", name) // the value may be a token
	case slices.Contains(own, http.CanonicalHeaderKey(name)):
		return fmt.Errorf("headers: %.60q: allowed are headers that the program does not set itself", name)
	}
	err := checkPlaceholders("headers."+name, value)
	if err != nil && slices.ContainsFunc(inBraces.FindAllString(value, -1), func(word string) bool { return !placeholderLike.MatchString(word) }) {
		return fmt.Errorf("headers: %.60q: allowed in braces are %s", name, strings.Join(placeholders(), " "))
	}
	return err
}

var (
	inBraces = regexp.MustCompile(`[{}][^{}]*[{}]?`)
	// placeholderLike matches a word in braces that was probably meant as a placeholder. Anything
	// else in a header may be a token, which no error may repeat.
	placeholderLike = regexp.MustCompile(`^\{[a-z_]{1,12}\}$`)
)

// checkPlaceholders rejects words in braces that are neither common placeholders nor in more.
func checkPlaceholders(key, text string, more ...string) error {
	known := append(placeholders(), more...)
	for _, word := range inBraces.FindAllString(text, -1) {
		if !slices.Contains(known, word) {
			return fmt.Errorf("%s: %.40q: allowed in braces are %s", key, word, strings.Join(known, " "))
		}
	}
	return nil
}

func (f profileFile) checkCalls() []error {
	var problems []error
	if len(f.Calls) == 0 || f.Calls[0].When != whenAlways {
		problems = append(problems, errors.New("call: the first one is made always"))
	}
	showing := 0
	var names []string
	for _, c := range f.Calls {
		if slices.Contains(names, c.Name) {
			problems = append(problems, fmt.Errorf("call %.40q: duplicate name", c.Name))
		}
		names = append(names, c.Name)
		if c.Name == tokensCall {
			problems = append(problems, fmt.Errorf("call %.40q: the name is that of the page with the hidden inputs", c.Name))
		}
		if c.Gives != partyRows {
			showing++
		}
	}
	if f.Proof < 1 || f.Proof > showing {
		problems = append(problems, fmt.Errorf("proof %d: allowed is 1 to %d, the number of calls that show a case", f.Proof, showing))
	}
	return problems
}

func (f profileFile) checkBlocks() []error {
	var problems []error
	if len(f.Blocks) == 0 {
		problems = append(problems, errors.New("block: at least one rule"))
	}
	for _, b := range f.Blocks {
		impossible := func(status int) bool { return status < 100 || status > 999 || status == http.StatusOK }
		noHeader := func(name string) bool { return !httpguts.ValidHeaderFieldName(name) }
		if slices.ContainsFunc(b.Header, noHeader) {
			problems = append(problems, fmt.Errorf("block %.40q: header: allowed are names of headers", b.Name))
		}
		if b.Name == "" || len(b.Status)+len(b.Header)+len(b.Text) == 0 || slices.ContainsFunc(b.Status, impossible) || slices.Contains(b.Text, "") {
			problems = append(problems, fmt.Errorf("block %.40q: allowed is a name with status (100 to 999, not 200), header or text", b.Name))
		}
	}
	return problems
}
