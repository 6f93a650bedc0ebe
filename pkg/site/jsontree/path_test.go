package jsontree_test

import (
	"encoding/json"
	"errors"
	"testing"

	"fct-scraper/pkg/site/jsontree"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const document = `{"Count":2,"data":[{"no":"T-1","Party":["A",null,"B"],"in":{"no":"x"}},{"no":"T-2","Party":[]}],"none":null}`

func parse(t interface{ Fatal(...any) }, text string) *jsontree.Node {
	root, err := jsontree.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// findTexts returns the texts of the found nodes; "object" and "list" for those kinds.
func findTexts(t interface{ Fatal(...any) }, text string, n *jsontree.Node) []string {
	p, err := jsontree.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := p.All(n)
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.First(n)
	if err != nil || (first == nil) != (len(nodes) == 0) || first != nil && first != nodes[0] {
		t.Fatal("First finds another than All")
	}
	var texts []string
	for _, node := range nodes {
		switch node.Kind {
		case jsontree.Object:
			texts = append(texts, "object")
		case jsontree.Array:
			texts = append(texts, "list")
		default:
			texts = append(texts, node.Text)
		}
	}
	return texts
}

func TestPath(t *testing.T) {
	t.Parallel()
	root := parse(t, document)
	row := root.Member("data").First
	for _, test := range []struct {
		path string
		from *jsontree.Node
		want []string
	}{
		{"/Count", root, []string{"2"}}, {"Count", root, []string{"2"}}, {"/Count", row, []string{"2"}}, {"count", root, nil},
		{"/data", root, []string{"list"}}, {"/data/*", root, []string{"object", "object"}}, {"/data/no", root, nil},
		{"no", row, []string{"T-1"}}, {"in/no", row, []string{"x"}}, {"Party/*", row, []string{"A", "", "B"}}, {"Party/*", row.Next, nil},
		{"none", root, []string{""}}, {"/none/*", root, nil},
		{"/data/*[no='T-2']/no", root, []string{"T-2"}}, {"//no", root, []string{"T-1", "x", "T-2"}}, {"../../Count", row, []string{"2"}},
		{"*[last()]", row, []string{"object"}}, {"following-sibling::*/no", row, []string{"T-2"}}, {"preceding-sibling::*/no", row.Next, []string{"T-1"}},
	} {
		if diff := cmp.Diff(test.want, findTexts(t, test.path, test.from)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.path, diff)
		}
	}
}

// TestPath_AgreesWithLibrary: a path of names only finds the same nodes as the XPath library, which
// is forced by adding "self::node()".
func TestPath_AgreesWithLibrary(t *testing.T) {
	t.Parallel()
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return rapid.OneOf(rapid.Just(any(nil)), rapid.Just(any("x")), rapid.Just(any(1)))
		}
		inner := rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) })
		return rapid.OneOf(
			rapid.Map(rapid.MapOfN(name, inner, 0, 3), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(inner, 0, 3), func(s []any) any { return s }),
			value(0),
		)
	}
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(value(4).Draw(t, "document"))
		if err != nil {
			t.Fatal(err)
		}
		path := rapid.StringMatching(`/?[abc](/[abc]){0,2}(/\*)?`).Draw(t, "path")
		root := parse(t, string(text))
		if diff := cmp.Diff(findTexts(t, path+"/self::node()", root), findTexts(t, path, root)); diff != "" {
			t.Errorf("%s in %s (-machinery +walk):\n%s", path, text, diff)
		}
	})
}

func TestCompile_Invalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "[", "a[", "count(a)", "1 + 1", "'text'", "a = 'b'", "string-length()", "$x", "a::b", "unknown()"} {
		if _, err := jsontree.Compile(text); !errors.Is(err, jsontree.ErrPath) {
			t.Errorf("%q: error %v, want one that wraps ErrPath", text, err)
		}
	}
}

func TestPath_HolderAndMember(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]string{"/data/*": {"/data", ""}, "Party/*": {"Party", ""}, "no": {"", "no"}, "/Count": {"", ""}, "in/no": {"", ""}, "*": {"", ""}} {
		p, err := jsontree.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		var got [2]string
		if p.Holder != nil {
			got[0] = p.Holder.Text
		}
		got[1], _ = p.Member()
		if got != want {
			t.Errorf("%s: holder and member %q, want %q", text, got, want)
		}
	}
}

// FuzzPath: an expression is rejected with ErrPath, finds nodes, or fails with ErrPath; it never
// panics.
func FuzzPath(f *testing.F) {
	for _, text := range []string{"/data/*", "COURT_NO", "//no[1]", "a|b", "count(a)", "sum(/data/*/no)", "/data/*[position()=last()]", "substring('a',0)", "a[contains(.,1)]", "not(a)"} {
		f.Add(text)
	}
	root := parse(f, document)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return // what is longer only takes longer
		}
		p, err := jsontree.Compile(text)
		if err == nil {
			_, err = p.All(root.Member("data").First)
		}
		if err != nil && !errors.Is(err, jsontree.ErrPath) {
			t.Errorf("%q: error %v, want one that wraps ErrPath", text, err)
		}
	})
}
