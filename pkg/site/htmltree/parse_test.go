package htmltree_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/site/htmltree"
)

func parse(t testing.TB, text string) *htmltree.Node {
	t.Helper()
	root, err := htmltree.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestParse: whatever browsers accept is a page, even half a page; invisible text is dropped.
func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                            "",
		"plain":                       "plain",
		"a &lt;b&gt; &amp;c;":         "a <b> &c;",
		"<p>a</p><script>b</script>c": "a\nc",
		"a<!-- b --><style>c</style>": "a",
		"<noscript>a</noscript>b":     "b",
		"a<br>b<br/>c":                "a\nb\nc",
		"<td>a</td> <b>b</b>":         "a b",
		"<p>half a pa":                "half a pa",
		"<div><div>a</div>b</div>":    "a\nb",
		"a\u00a0b \u00a0":             "a\u00a0b",
	} {
		if got := htmltree.Text(parse(t, text)); got != want {
			t.Errorf("%q reads %q, want %q", text, got, want)
		}
	}
}

// TestParse_Limits: a page over the limits is rejected quickly and with little memory; a page just
// within them is parsed.
func TestParse_Limits(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		good bool
	}{
		"large":              {strings.Repeat("a ", 4<<20) + "a", false},
		"many tags":          {strings.Repeat("<a>", 1<<17+1), false},
		"many attributes":    {strings.Repeat("<a"+attributes(1000)+">", 300), false},
		"one large tag":      {"<a" + strings.Repeat(" b", 1<<19) + ">", false},
		"many of one tag":    {"<a" + attributes(100_000) + ">", true},
		"twice the same":     {"<a" + strings.Repeat(" b", 1<<18) + ">", true},
		"deep":               {strings.Repeat("<div>", 600), false},
		"deep in the middle": {"<table><tr><td>" + strings.Repeat("<span>", 600) + "</table>", false},
		"deep enough":        {strings.Repeat("<div>", 400), true},
		"wide":               {strings.Repeat("<p>a", 1<<17-10), true},
		"open formats":       {strings.Repeat("<b><i><a>", 100), true},
		"misnested":          {strings.Repeat("<table><b>", 200), true},
		"zeros":              {strings.Repeat("\x00", 1<<19), true},
		"large attribute":    {`<input value="` + strings.Repeat("a", 1<<19) + `">`, true},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			root, err := htmltree.Parse(test.text)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if (err == nil) != test.good || (root == nil) == test.good {
				t.Errorf("error %v, want it read: %t", err, test.good)
			}
			if err != nil && !errors.Is(err, htmltree.ErrPage) {
				t.Errorf("error %v, want one that wraps ErrPage", err)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 200<<20 {
				t.Errorf("%d MiB were taken", grown>>20)
			}
			if took > 30*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// attributes returns count different attributes.
func attributes(count int) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, " b%x", i)
	}
	return b.String()
}
