package facts

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// ErrRules marks every error of a rule file.
var ErrRules = errors.New("invalid rules")

//go:embed rules/*.toml
var builtIn embed.FS

const (
	// maxRulesSize is the largest rule file, in bytes.
	maxRulesSize = 1 << 20
	// maxExpression is the longest expression, in bytes, its word lists included.
	maxExpression = 64 << 10
	// maxNodes limits what all expressions of a file take: their parts, each counted as often as it may
	// repeat. Each takes some 150 bytes of memory.
	maxNodes = 1_000_000
)

// Rules are the compiled rules of one file. They do not change after loading; any number of
// goroutines may use them, each with its own Reader.
type Rules struct {
	// Name is the name of the rule set.
	Name     string
	specs    []factSpec
	byFact   [][]*rule
	sections []section
	masks    []mask
	names    nameRules
	kinds    []string
	abouts   []string
	literals literalIndex
}

// section is a part of an entry's text that rules can be limited to. Section 0 is the whole text.
type section struct {
	name string
	// from and to are alternatives: the first from that matches starts the section after its end,
	// the earliest to after that ends it.
	from, to []*expression
	hasMasks bool
}

// mask blanks what matches in some sections, such as an order that is only cited.
type mask struct {
	exprs    []*expression
	sections uint64
}

// rule gives one fact. It does not change after loading.
type rule struct {
	name, value string
	exprs       []*expression // none: the rule always matches
	unless      []*expression
	section     int
	kinds       uint64 // bits of allowed kinds; 0 allows all
	about       uint64 // bits of which the entry must have one; 0 asks for none
	final       bool   // the entry must be final
	within      int    // bytes at the start of the section that are read; 0 reads all
}

// expression is a regular expression.
type expression struct {
	re     pattern
	groups []string // the names of its groups by index
	// clauses are the literals that a matching text contains: at least one of each clause.
	clauses []literalSet
	numbers [][]int // the clauses by the numbers of their literals
	// begins are literals of which every match has one at its start; nil if any text may start a match.
	begins literalSet
	starts []int // the numbers of begins
	// first matches at the start of a text only, second after one byte of it.
	first, second pattern
}

// pattern returns a compiled regular expression.
type pattern func() *regexp.Regexp

// possible reports whether a text that contains these literals may match.
func (e *expression) possible(found literalSet) bool {
	for _, clause := range e.clauses {
		if !clause.intersects(found) {
			return false
		}
	}
	return true
}

// BuiltIn returns the names of the rule sets that are part of the program.
func BuiltIn() []string {
	// The folder is embedded, so listing it cannot fail.
	names, _ := fs.Glob(builtIn, "rules/*.toml")
	for i, name := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(name, "rules/"), ".toml")
	}
	return names
}

// Load returns the built-in rules of that name. Its error wraps ErrRules.
func Load(name string) (*Rules, error) {
	if !slices.Contains(BuiltIn(), name) {
		return nil, fmt.Errorf("%w: facts %.60q: allowed are %s", ErrRules, name, strings.Join(BuiltIn(), ", "))
	}
	data, err := builtIn.ReadFile("rules/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	rules, err := parse(data, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	return rules, nil
}

// LoadFile reads rules from a regular file of at most 1 MiB. Its error wraps ErrRules and names the
// file.
func LoadFile(path string) (*Rules, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	case !info.Mode().IsRegular() || info.Size() > maxRulesSize:
		return nil, fmt.Errorf("%w: %s: allowed is a regular file of at most %d bytes", ErrRules, path, maxRulesSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	rules, err := parse(data, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRules, path, err)
	}
	return rules, nil
}

// Parse reads rules. Its error wraps ErrRules and names the first problem: the line or the rule, the
// key, the value and what is allowed.
func Parse(data []byte) (*Rules, error) {
	rules, err := parse(data, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	return rules, nil
}

// rulesFile is the TOML structure of a rule file.
type rulesFile struct {
	Name  string              `toml:"name"`
	Words map[string][]string `toml:"words"`
	Names struct {
		Particles []string `toml:"particles"`
		Ends      []string `toml:"ends"`
	} `toml:"names"`
	Sections []struct {
		Name   string   `toml:"name"`
		FromEN []string `toml:"from_en"`
		FromFR []string `toml:"from_fr"`
		ToEN   []string `toml:"to_en"`
		ToFR   []string `toml:"to_fr"`
	} `toml:"section"`
	Masks []struct {
		Name string    `toml:"name"`
		In   []string  `toml:"in"`
		EN   oneOrMany `toml:"en"`
		FR   oneOrMany `toml:"fr"`
	} `toml:"mask"`
	Rules []ruleSpec `toml:"rule"`
}

type ruleSpec struct {
	Name   string    `toml:"name"`
	Fact   string    `toml:"fact"`
	Value  string    `toml:"value"`
	In     string    `toml:"in"`
	Kinds  []string  `toml:"kinds"`
	About  []string  `toml:"about"`
	Final  bool      `toml:"final"`
	Within int       `toml:"within"`
	EN     oneOrMany `toml:"en"`
	FR     oneOrMany `toml:"fr"`
	Unless oneOrMany `toml:"unless"`
}

// oneOrMany is a list that a file may write as one text.
type oneOrMany []string

// UnmarshalTOML reads a text or a list of texts.
func (o *oneOrMany) UnmarshalTOML(value any) error {
	list, is := value.([]any)
	if !is {
		list = []any{value}
	}
	for _, element := range list {
		text, is := element.(string)
		if !is {
			return fmt.Errorf("value %v: allowed is an expression between quotes, or a list of such", value)
		}
		*o = append(*o, text)
	}
	return nil
}

// parse reads rules; proven ones compile each expression at its first use.
func parse(data []byte, proven bool) (*Rules, error) {
	if len(data) > maxRulesSize {
		return nil, fmt.Errorf("larger than the %d bytes that are allowed", maxRulesSize)
	}
	var f rulesFile
	meta, err := toml.Decode(string(data), &f)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, unknownKey(data, unknown[0])
	}
	if f.Name == "" {
		return nil, errors.New(`name "": allowed is a name`)
	}
	c := &compiler{file: &f, proven: proven, rules: &Rules{Name: f.Name, specs: factSpecs(),
		names: newNameRules(f.Names.Particles, f.Names.Ends)}, used: map[string]bool{}}
	return c.compile()
}

// unknownKey names the line on which the last part of a key stands first. The decoder does not
// report it.
func unknownKey(data []byte, key toml.Key) error {
	last := regexp.MustCompile(`(?m)^[ \t]*(?:\[+.*)?` + regexp.QuoteMeta(key[len(key)-1]) + `\b`)
	allowed := map[string]string{
		"rule": "name, fact, value, in, kinds, about, final, within, en, fr, unless", "mask": "name, in, en, fr",
		"section": "name, from_en, from_fr, to_en, to_fr", "names": "particles, ends",
	}[key[0]]
	if allowed == "" || len(key) == 1 {
		allowed = "name, words, names, section, mask, rule"
	}
	at := last.FindIndex(data)
	if at == nil {
		return fmt.Errorf("unknown key %.60q: allowed are %s", key.String(), allowed)
	}
	return fmt.Errorf("line %d: unknown key %.60q: allowed are %s", 1+bytes.Count(data[:at[1]], []byte("\n")),
		key.String(), allowed)
}

// compiler turns a rule file into rules. Its methods return the first problem.
type compiler struct {
	file   *rulesFile
	rules  *Rules
	proven bool // Parse reads the same rules without an error
	used   map[string]bool
	all    []*expression
	nodes  int // of all expressions
}

func (c *compiler) compile() (*Rules, error) {
	r := c.rules
	r.kinds, r.abouts = r.spec(factKind).values, r.spec(factAbout).values
	r.byFact = make([][]*rule, len(r.specs))
	r.sections = []section{{name: "text"}}
	for _, s := range c.file.Sections {
		if err := c.unique("section", s.Name); err != nil {
			return nil, err
		}
		compiled := section{name: s.Name}
		for i, list := range [][]string{s.FromEN, s.FromFR, s.ToEN, s.ToFR} {
			for _, text := range list {
				e, err := c.expression(fmt.Sprintf("section %q: %s", s.Name,
					[...]string{"from_en", "from_fr", "to_en", "to_fr"}[i]), text, nil)
				if err != nil {
					return nil, err
				}
				if i < 2 {
					compiled.from = append(compiled.from, e)
				} else {
					compiled.to = append(compiled.to, e)
				}
			}
		}
		if len(compiled.from) == 0 {
			return nil, fmt.Errorf("section %q: from_en and from_fr are empty: allowed is at least one expression",
				s.Name)
		}
		r.sections = append(r.sections, compiled)
	}
	for _, m := range c.file.Masks {
		if err := c.mask(m.Name, m.In, m.EN, m.FR); err != nil {
			return nil, err
		}
	}
	for _, spec := range c.file.Rules {
		if err := c.rule(spec); err != nil {
			return nil, err
		}
	}
	c.index()
	return r, nil
}

// index builds the index of the literals of all expressions, and their sets.
func (c *compiler) index() {
	r := c.rules
	r.literals.build()
	for _, e := range c.all {
		for _, numbers := range e.numbers {
			clause := r.literals.newSet()
			for _, n := range numbers {
				clause.add(n)
			}
			e.clauses = append(e.clauses, clause)
		}
		if e.starts != nil {
			e.begins = r.literals.newSet()
			for _, n := range e.starts {
				e.begins.add(n)
			}
		}
	}
}

// unique refuses a second rule, mask or section of one name.
func (c *compiler) unique(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf(`%s: name "": allowed is a name of its own`, what)
	case c.used[what+" "+name]:
		return fmt.Errorf("%s %.60q: name %.60q: allowed is a name that no other %s has", what, name, name, what)
	}
	c.used[what+" "+name] = true
	return nil
}

func (c *compiler) mask(name string, in []string, en, fr oneOrMany) error {
	if err := c.unique("mask", name); err != nil {
		return err
	}
	where := fmt.Sprintf("mask %q", name)
	m := mask{}
	for _, s := range in {
		i, err := c.section(where, s)
		if err != nil {
			return err
		}
		m.sections |= 1 << i
		c.rules.sections[i].hasMasks = true
	}
	if m.sections == 0 || m.sections&1 != 0 {
		return fmt.Errorf("%s: in %q: allowed are sections, not the whole text", where, in)
	}
	var err error
	if m.exprs, err = c.both(where, en, fr, nil); err != nil {
		return err
	}
	c.rules.masks = append(c.rules.masks, m)
	return nil
}

// section returns the index of a section by its name; "" is the whole text.
func (c *compiler) section(where, name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	names := make([]string, len(c.rules.sections))
	for i, s := range c.rules.sections {
		names[i] = s.name
	}
	if i := slices.Index(names, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("%s: in %.60q: allowed are %s", where, name, strings.Join(names, ", "))
}

func (c *compiler) rule(spec ruleSpec) error {
	if err := c.unique("rule", spec.Name); err != nil {
		return err
	}
	where := fmt.Sprintf("rule %q", spec.Name)
	at := slices.IndexFunc(c.rules.specs, func(f factSpec) bool { return f.name == spec.Fact })
	if at < 0 {
		names := make([]string, len(c.rules.specs))
		for i, f := range c.rules.specs {
			names[i] = f.name
		}
		return fmt.Errorf("%s: fact %.60q: allowed are %s", where, spec.Fact, strings.Join(names, ", "))
	}
	fact := c.rules.specs[at]
	r := &rule{name: spec.Name, value: spec.Value, final: spec.Final, within: spec.Within}
	if spec.Within < 0 {
		return fmt.Errorf("%s: within %d: allowed is a number of characters, 0 or more", where, spec.Within)
	}
	if err := checkValue(where, fact, spec); err != nil {
		return err
	}
	var err error
	if r.exprs, err = c.both(where, spec.EN, spec.FR, &fact); err != nil {
		return err
	}
	if spec.Value == "" && len(r.exprs) == 0 {
		return fmt.Errorf("%s: value \"\": allowed is a value, or an expression with a group for it", where)
	}
	if r.unless, err = c.list(where+": unless", spec.Unless, nil); err != nil {
		return err
	}
	if r.section, err = c.section(where, spec.In); err != nil {
		return err
	}
	if r.kinds, err = bits(where, "kinds", spec.Kinds, c.rules.kinds); err != nil {
		return err
	}
	if r.about, err = bits(where, "about", spec.About, c.rules.abouts); err != nil {
		return err
	}
	c.rules.byFact[at] = append(c.rules.byFact[at], r)
	return nil
}

// checkValue refuses a value that the fact does not have.
func checkValue(where string, fact factSpec, spec ruleSpec) error {
	switch {
	case spec.Value == "":
		return nil
	case fact.values == nil:
		return fmt.Errorf("%s: value %.60q: allowed is none: %s is the group %q of an expression", where, spec.Value,
			fact.name, fact.group)
	case !slices.Contains(fact.values, spec.Value):
		return fmt.Errorf("%s: value %.60q: allowed for %s are %s", where, spec.Value, fact.name,
			strings.Join(fact.values, ", "))
	}
	return nil
}

func bits(where, key string, names, all []string) (set uint64, err error) {
	for _, name := range names {
		i := slices.Index(all, name)
		if i < 0 {
			return 0, fmt.Errorf("%s: %s %.60q: allowed are %s", where, key, name, strings.Join(all, ", "))
		}
		set |= 1 << i
	}
	return set, nil
}

// both compiles the English and the French expressions of a rule.
func (c *compiler) both(where string, en, fr oneOrMany, fact *factSpec) ([]*expression, error) {
	english, err := c.list(where+": en", en, fact)
	if err != nil {
		return nil, err
	}
	french, err := c.list(where+": fr", fr, fact)
	return append(english, french...), err
}

func (c *compiler) list(where string, texts oneOrMany, fact *factSpec) (all []*expression, err error) {
	for _, text := range texts {
		e, err := c.expression(where, text, fact)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// expression compiles an expression after its words in braces are replaced by their lists.
func (c *compiler) expression(where, text string, fact *factSpec) (*expression, error) {
	expanded, err := c.expand(where, text, 0)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expanded, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%s %.200q: allowed is a regular expression of RE2: %w", where, text, err)
	}
	groups := tree.CapNames()
	tree = tree.Simplify()
	if c.nodes += countNodes(tree); c.nodes > maxNodes {
		return nil, fmt.Errorf("%s %.200q: the expressions up to here have %d parts, repetitions counted: allowed are %d in a file", where, text, c.nodes, maxNodes)
	}
	re, err := c.pattern(expanded)
	if err != nil {
		return nil, fmt.Errorf("%s %.200q: allowed is a regular expression of RE2: %w", where, text, err)
	}
	e := &expression{re: re, groups: groups}
	for _, group := range e.groups {
		if group != "" && !fact.allows(group) {
			return nil, fmt.Errorf("%s: group %.60q: allowed are %s", where, group, fact.allowedGroups())
		}
	}
	for _, clause := range clauses(tree) {
		numbers := make([]int, len(clause))
		for i, literal := range clause {
			numbers[i] = c.rules.literals.number(literal)
		}
		e.numbers = append(e.numbers, numbers)
	}
	for _, literal := range beginnings(tree) {
		e.starts = append(e.starts, c.rules.literals.begins(literal))
	}
	if e.starts != nil {
		// Both are the same expression with a start before it, which cannot fail to compile unless the
		// expression is at the limit of size: then neither is used.
		var errs [2]error
		e.first, errs[0] = c.pattern(`\A(?:` + expanded + `)`)
		e.second, errs[1] = c.pattern(`\A(?s:.)(?:` + expanded + `)`)
		if errors.Join(errs[:]...) != nil {
			e.starts = nil
		}
	}
	c.all = append(c.all, e)
	return e, nil
}

// pattern compiles an expression; one of proven rules at its first use, which halves the time of Load.
func (c *compiler) pattern(text string) (pattern, error) {
	if c.proven {
		return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) }), nil
	}
	re, err := regexp.Compile(text)
	return func() *regexp.Regexp { return re }, err
}

// countNodes returns the number of parts of an expression.
func countNodes(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		n += countNodes(sub)
	}
	return n
}

// wordPattern finds a reference to a word list; a repetition such as {2,5} is none.
var wordPattern = regexp.MustCompile(`\{[a-z_]+\}`)

// expand replaces each {name} by the list of that name, which may use others.
func (c *compiler) expand(where, text string, depth int) (string, error) {
	var problem error
	expanded := wordPattern.ReplaceAllStringFunc(text, func(reference string) string {
		name := reference[1 : len(reference)-1]
		if name == "date" {
			return datePattern
		}
		list, found := c.file.Words[name]
		if !found || depth > 8 {
			names := []string{"date"}
			for name := range c.file.Words {
				names = append(names, name)
			}
			slices.Sort(names)
			problem = fmt.Errorf("%s: word list %.60q: allowed are %s, none of which may contain itself", where, name,
				strings.Join(names, ", "))
			return ""
		}
		if problem != nil { // one is enough, and each list may have many others
			return ""
		}
		joined, err := c.expand(where, "(?:"+strings.Join(list, "|")+")", depth+1)
		if err != nil {
			problem = err
		}
		return joined
	})
	if problem == nil && len(expanded) > maxExpression {
		problem = fmt.Errorf("%s %.60q: %d bytes with its word lists: allowed are %d", where, text, len(expanded),
			maxExpression)
	}
	return expanded, problem
}

func (f *factSpec) allows(group string) bool {
	return f != nil && (group == f.group || slices.Contains(f.values, group) || slices.Contains(f.extra, group))
}

func (f *factSpec) allowedGroups() string {
	if f == nil {
		return "none"
	}
	names := slices.Concat(f.values, f.extra)
	if f.group != "" {
		names = append(names, f.group)
	}
	return strings.Join(names, ", ")
}

func (r *Rules) spec(name string) factSpec {
	return r.specs[slices.IndexFunc(r.specs, func(f factSpec) bool { return f.name == name })]
}
