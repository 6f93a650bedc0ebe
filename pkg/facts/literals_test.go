package facts

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestLiterals_SameMatch compares, for drawn expressions and parts of texts, the match by literals with
// that of the expression alone.
func TestLiterals_SameMatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		atom := rapid.SampledFrom([]string{
			"ab", "abc", "bc", "ca", "[ab]", "(?:ab|bca)", "(?:abc|abd)?", "(?:ab)+", "(?:bc){2}", "(?:ca){0,2}",
			".*?", "(?:a|bc)", "(cab|ab)", `\b`, "^", "$", "[^b]", "(?:^|c)", "(?:ab|)", "(?:b(?:a|c+)|cd)",
		})
		pattern := strings.Join(rapid.SliceOfN(atom, 1, 5).Draw(t, "parts"), "")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abcd ")), 0, 24, -1).Draw(t, "text")
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		c := &compiler{file: &rulesFile{}, rules: &Rules{}}
		e, err := c.expression("", pattern, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.index()
		r := c.rules.NewReader()
		r.load(text)
		from := rapid.IntRange(0, len(r.text.text)).Draw(t, "from")
		part := r.text.text[from:rapid.IntRange(from, len(r.text.text)).Draw(t, "to")]
		got, want := r.match(e, part, from, false), e.re().FindSubmatchIndex(part)
		if !slices.Equal(got, want) {
			t.Fatalf("%q in %q: %v, want %v; a match has one of each of %q and begins with one of %q", pattern, part,
				got, want,
				clauses(tree.Simplify()), beginnings(tree.Simplify()))
		}
	})
}

// TestLoad_AllCompile compiles every expression of the built-in rules, which a process does at its first use.
func TestLoad_AllCompile(t *testing.T) {
	t.Parallel()
	for _, name := range BuiltIn() {
		rules, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		var all []*expression
		for _, s := range rules.sections {
			all = slices.Concat(all, s.from, s.to)
		}
		for _, m := range rules.masks {
			all = append(all, m.exprs...)
		}
		for _, r := range slices.Concat(rules.byFact...) {
			all = slices.Concat(all, r.exprs, r.unless)
		}
		for _, e := range all { // an invalid one panics
			if groups := e.re().SubexpNames(); !slices.Equal(groups, e.groups) {
				t.Errorf("%s: %s: groups %q, want %q", name, e.re(), e.groups, groups)
			}
			if e.begins != nil && (e.first().NumSubexp() != e.second().NumSubexp() || !strings.HasPrefix(e.first().String(), `\A`)) {
				t.Errorf("%s: %s: starts %s and %s", name, e.re(), e.first(), e.second())
			}
		}
		if len(all) < 100 {
			t.Errorf("%s: %d expressions, want all", name, len(all))
		}
	}
}

// TestLiterals_Find compares the index with a plain search.
func TestLiterals_Find(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 1, 4, -1)
		words := rapid.SliceOfNDistinct(word, 1, 12, rapid.ID[string]).Draw(t, "words")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("abcd")), 0, 30, -1).Draw(t, "text")
		index := literalIndex{}
		for _, w := range words {
			index.number(w)
		}
		index.build()
		found := index.newSet()
		index.find([]byte(text), found, nil)
		for _, w := range words {
			set := index.newSet()
			set.add(index.number(w))
			if got, want := set.intersects(found), regexp.MustCompile(w).MatchString(text); got != want {
				t.Fatalf("%q in %q: %v, want %v", w, text, got, want)
			}
		}
	})
}
