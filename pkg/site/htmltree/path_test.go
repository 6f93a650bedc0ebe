package htmltree_test

import (
	"errors"
	"sync"
	"testing"

	"fct-scraper/pkg/site/htmltree"
)

const page = `<html lang="fr"><body><div id="d"><h4>Parties :  IMM-13-25</h4><p><strong>Bureau :</strong>  Québec : Est</p>
<table id="t"><caption>Legend</caption><tbody><tr><td>#</td></tr></tbody></table>
<table><caption>File</caption><tbody><tr><td> 1 </td><td>a<br>b</td><td><a href="/x?foremostNum=77&amp;y=1">c</a></td></tr><tr><td>2</td></tr></tbody></table></div></body></html>`

func TestPath_Value(t *testing.T) {
	t.Parallel()
	root := parse(t, page)
	for text, want := range map[string]string{
		"//h4":                 "Parties :  IMM-13-25",
		"//table[1]//td":       "#",
		"//table[@id='t']/@id": "t",
		"//table[normalize-space(caption)='File']/tbody/tr/td[2]": "a\nb",
		"//nothing":      "",
		"//nobody/@here": "",
		"substring-after(//p[translate(strong,' :','')='Bureau'],':')":                "Québec : Est",
		"substring-before(concat(substring-after(//a/@href,'foremostNum='),'&'),'&')": "77",
		"//table[2]/tbody/tr[../../caption='File']/td[1]":                             "1",
		"/html/@lang": "fr",
	} {
		p, err := htmltree.Compile(text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := p.Value(root); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestPath_FromNode(t *testing.T) {
	t.Parallel()
	table := findOne(t, "//table[normalize-space(caption)='File']", parse(t, page))
	rows, err := compileNodes(t, "tbody/tr").All(table)
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	second, err := htmltree.Compile("td[1]")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Value(rows[1]); got != "2" || err != nil {
		t.Errorf("%q, %v; want 2", got, err)
	}
	if got := len(htmltree.Elements(rows[0])); got != 3 {
		t.Errorf("%d elements, want 3", got)
	}
	if got := htmltree.Attribute(table, "id") + htmltree.Attribute(rows[0], "id"); got != "" {
		t.Errorf("attributes %q that there are not", got)
	}
	for _, text := range []string{"//nothing", "//table"} {
		if found, err := compileNodes(t, text).One(table.Parent); !errors.Is(err, htmltree.ErrPage) {
			t.Errorf("%s: found %v, %v; want an error", text, found, err)
		}
	}
}

func compileNodes(t testing.TB, text string) *htmltree.Path {
	t.Helper()
	p, err := htmltree.CompileNodes(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func findOne(t testing.TB, text string, from *htmltree.Node) *htmltree.Node {
	t.Helper()
	n, err := compileNodes(t, text).One(from)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCompile_Invalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "//[", "count(//a)", "1 + 1", "true()", "//a[", "foo()", "$x", "matches(//td,'[')", "//a/@", "position()", "last()"} {
		if p, err := htmltree.Compile(text); !errors.Is(err, htmltree.ErrPath) {
			t.Errorf("%q: %v, %v; want ErrPath", text, p, err)
		}
	}
	if p, err := htmltree.CompileNodes("string(//a)"); !errors.Is(err, htmltree.ErrPath) {
		t.Errorf("a text where nodes are due: %v, %v", p, err)
	}
}

// TestPath_Concurrent is for the race detector.
func TestPath_Concurrent(t *testing.T) {
	t.Parallel()
	root := parse(t, page)
	text, err := htmltree.Compile("normalize-space(substring-after(//p[1],':'))")
	if err != nil {
		t.Fatal(err)
	}
	cells := compileNodes(t, "//table[2]//td")
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 50 {
				if got, err := text.Value(root); got != "Québec : Est" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				if all, err := cells.All(root); len(all) != 4 || err != nil {
					t.Errorf("%d cells, %v", len(all), err)
				}
			}
		})
	}
	readers.Wait()
}

// FuzzPath: no expression and no page causes a panic.
func FuzzPath(f *testing.F) {
	for _, text := range []string{"//a", "substring-after(//p,':')", "//td[../../caption='File'][1]/@id", "//a | //b", "ancestor::*", "preceding::a[last()]", "//a[position()=last()-1]", "string-join(//a,'')"} {
		f.Add(text, page)
	}
	f.Fuzz(func(t *testing.T, text, page string) {
		page, text = page[:min(len(page), 1<<12)], text[:min(len(text), 200)] // time grows with both
		p, err := htmltree.Compile(text)
		if err != nil {
			if !errors.Is(err, htmltree.ErrPath) {
				t.Errorf("error %v, want one that wraps ErrPath", err)
			}
			return
		}
		root, err := htmltree.Parse(page)
		if err != nil {
			return
		}
		if _, err := p.Value(root); err != nil && !errors.Is(err, htmltree.ErrPath) {
			t.Errorf("error %v, want one that wraps ErrPath", err)
		}
	})
}
