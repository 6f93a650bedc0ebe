package facts

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestLiterals_NoMatchIsLost checks for drawn expressions and texts that a text which matches has a
// literal of each clause.
func TestLiterals_NoMatchIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		atom := rapid.SampledFrom([]string{
			"ab", "abc", "bc", "ca", "[ab]", "(?:ab|bca)", "(?:abc|abd)?", "(?:ab)+", "(?:bc){2}", "(?:ca){0,2}", ".*?", "(?:a|bc)", "(cab|ab)", `\b`, "^", "$",
		})
		pattern := strings.Join(rapid.SliceOfN(atom, 1, 5).Draw(t, "parts"), "")
		text := []byte(rapid.StringOfN(rapid.SampledFrom([]rune("abcd ")), 0, 24, -1).Draw(t, "text"))
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		index := literalIndex{}
		all := clauses(tree.Simplify())
		var numbers [][]int
		for _, clause := range all {
			var of []int
			for _, literal := range clause {
				of = append(of, index.number(literal))
			}
			numbers = append(numbers, of)
		}
		index.build()
		found := index.newSet()
		index.find(text, found)
		e := expression{re: regexp.MustCompile(pattern)}
		for _, of := range numbers {
			set := index.newSet()
			for _, n := range of {
				set.add(n)
			}
			e.clauses = append(e.clauses, set)
		}
		if e.re.Match(text) && !e.possible(found) {
			t.Fatalf("%q matches %q, which lacks one of %q", pattern, text, all)
		}
	})
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
		index.find([]byte(text), found)
		for _, w := range words {
			set := index.newSet()
			set.add(index.number(w))
			if got, want := set.intersects(found), regexp.MustCompile(w).MatchString(text); got != want {
				t.Fatalf("%q in %q: %v, want %v", w, text, got, want)
			}
		}
	})
}
