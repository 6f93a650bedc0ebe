package jsontree_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/site/jsontree"

	"github.com/google/go-cmp/cmp"
)

// toPlain converts a tree to the values that encoding/json returns with UseNumber.
func toPlain(n *jsontree.Node) any {
	switch n.Kind {
	case jsontree.Null:
		return nil
	case jsontree.Bool:
		return n.Text == "true"
	case jsontree.Number:
		return json.Number(n.Text)
	case jsontree.String:
		return n.Text
	case jsontree.Array:
		list := []any{}
		for _, child := range n.Children() {
			list = append(list, toPlain(child))
		}
		return list
	default:
		object := map[string]any{}
		for _, child := range n.Children() {
			object[child.Name] = toPlain(child)
		}
		return object
	}
}

// escapeControls escapes the raw control characters in the strings of a text.
func escapeControls(text string) string {
	var b strings.Builder
	within := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case within && c == '\\' && i+1 < len(text):
			b.WriteString(text[i : i+2])
			i++
		case within && c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			within = within != (c == '"')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeStandard decodes a text with encoding/json, after escaping raw control characters in
// strings.
func decodeStandard(text string) (any, error) {
	text = escapeControls(text)
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if !json.Valid([]byte(text)) {
		return nil, errors.New("more than one value")
	}
	return value, nil
}

func sampleTexts() map[string]bool {
	return map[string]bool{
		`{}`: true, `[]`: true, ` null `: true, `"a"`: true, `-0.5e+10`: true, `{"a":{"b":[1,2,{"c":null}]},"":"x"}`: true,
		"\t[ true ,\r\n false ]": true, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`: true, `"\ud83d"`: true, `"\ud83d\u0041"`: true, `"\ude00x"`: true,
		`[1e400,123456789012345678901234567890]`: true, "\"\u2028é\x7f\"": true,
		"\"\n\"": true, "\"\x00\"": true, "\"a\tb\r\nc\x1b\x01\"": true, "{\"a\nb\":\"\\n\n\"}": true,
		``: false, ` `: false, `{`: false, `[`: false, `[1,]`: false, `[,1]`: false, `{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `{a:1}`: false, `{1:1}`: false,
		`[1 2]`: false, `{"a":1 "b":2}`: false, `01`: false, `-`: false, `.5`: false, `1.`: false, `1e`: false, `1e+`: false, `+1`: false, `0x1`: false,
		`nul`: false, `True`: false, `NaN`: false, `"a`: false, "\"\\\n\"": false, "{\n\x00}": false, "\x01": false, `"\x"`: false, `"\u12g4"`: false, `"\u12"`: false, `"\`: false, `'a'`: false,
		`1 1`: false, `{}{}`: false, `[]x`: false, "\xef\xbb\xbf{}": false, "\"\xff\"": false, `]`: false, `}`: false,
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, good := range sampleTexts() {
		root, err := jsontree.Parse(text)
		if (err == nil) != good {
			t.Errorf("%q: error %v, want none: %t", text, err, good)
			continue
		}
		if err != nil {
			if !errors.Is(err, jsontree.ErrSyntax) {
				t.Errorf("%q: error %v, want one that wraps ErrSyntax", text, err)
			}
			continue
		}
		want, err := decodeStandard(text)
		if diff := cmp.Diff(want, toPlain(root)); err != nil || diff != "" {
			t.Errorf("%q: %v, another tree (-encoding/json +got):\n%s", text, err, diff)
		}
	}
}

func TestParse_DuplicateNames(t *testing.T) {
	t.Parallel()
	object := func(names int, again string) string {
		var b strings.Builder
		for i := range names {
			fmt.Fprintf(&b, `"n%d":%d,`, i, i)
		}
		return "{" + b.String() + `"` + again + `":0}`
	}
	for _, size := range []int{1, 31, 32, 33, 500} {
		for _, again := range []string{"n0", fmt.Sprintf("n%d", size-1), `\u006e0`} {
			if _, err := jsontree.Parse(object(size, again)); !errors.Is(err, jsontree.ErrSyntax) {
				t.Errorf("%d names and %s again: error %v, want one that wraps ErrSyntax", size, again, err)
			}
		}
		root, err := jsontree.Parse(object(size, "new"))
		if err != nil || len(root.Children()) != size+1 || root.Member("new") == nil || root.Member("other") != nil {
			t.Errorf("%d names: error %v", size, err)
		}
	}
}

// TestParse_DuplicateNamesInRows: objects of a list are compared with the object before them, which
// hides no duplicate.
func TestParse_DuplicateNamesInRows(t *testing.T) {
	t.Parallel()
	wide := func(last string) string {
		var b strings.Builder
		for i := range 100 {
			fmt.Fprintf(&b, `"n%d":%d,`, i, i)
		}
		return "{" + b.String() + last + "}"
	}
	for text, good := range map[string]bool{
		`[{"a":1,"b":2},{"a":3,"b":4}]`: true, `[{"a":1,"b":2},{"b":3,"a":4}]`: true, `[{"a":1,"b":2},{"a":3}]`: true,
		`[{"a":1},{"a":3,"b":4},{"a":5}]`: true, `[{"a":1},[],{"a":2}]`: true, `[{"a":{"b":1}},{"a":{"b":1}}]`: true,
		`[{"a":1,"b":2},{"a":3,"a":4}]`: false, `[{"a":1,"b":2},{"a":3,"b":4,"a":5}]`: false, `[{"a":1,"b":2},{"b":3,"b":4}]`: false,
		`[{"a":1,"b":2,"c":3},{"a":4,"c":5,"a":6}]`: false, `[{"a":1,"b":2},{"a":3,"b":4,"\u0062":5}]`: false,
		"[" + wide(`"a":1`) + "," + wide(`"b":1`) + "]": true, "[" + wide(`"a":1`) + "," + wide(`"n0":1`) + "]": false,
		"[" + wide(`"a":1`) + "," + wide(`"b":1,"b":2`) + "]": false,
	} {
		if _, err := jsontree.Parse(text); (err == nil) != good {
			t.Errorf("%s: error %v, want none: %t", text, err, good)
		}
	}
}

// TestParser_Reuse: a parser that has parsed other texts gives the same tree as a new one.
func TestParser_Reuse(t *testing.T) {
	t.Parallel()
	texts := slices.Sorted(maps.Keys(sampleTexts()))
	texts = append(texts, document, "["+strings.Repeat(document+",", 3000)+document+"]", document)
	var reused jsontree.Parser
	for _, text := range texts {
		want, wantErr := jsontree.Parse(text)
		got, err := reused.Parse(text)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%.60q: error %v, want %v", text, err, wantErr)
		} else if err == nil && !cmp.Equal(toPlain(want), toPlain(got)) {
			t.Errorf("%.60q: another tree than that of a new parser", text)
		}
	}
}

// TestParser_Reset: no node of an earlier tree refers to its text.
func TestParser_Reset(t *testing.T) {
	t.Parallel()
	var p jsontree.Parser
	for range 3 {
		root, err := p.Parse(document)
		if err != nil {
			t.Fatal(err)
		}
		nodes := []*jsontree.Node{root}
		for i := 0; i < len(nodes); i++ {
			nodes = append(nodes, nodes[i].Children()...)
		}
		p.Reset()
		for _, n := range nodes {
			if *n != (jsontree.Node{}) {
				t.Fatalf("after Reset a node is %+v", *n)
			}
		}
	}
}

// TestParse_Limits: a text over the limits is rejected.
func TestParse_Limits(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	values := func(n int) string { return "[" + strings.Repeat("0,", n-2) + "0]" }
	for name, test := range map[string]struct {
		text string
		good bool
	}{
		"deep": {nested(201), true}, "too deep": {nested(202), false}, "far too deep": {nested(10_000_000), false},
		"many": {values(1 << 20), true}, "too many": {values(1<<20 + 1), false},
	} {
		_, err := jsontree.Parse(test.text)
		if (err == nil) != test.good {
			t.Errorf("%s: error %v, want none: %t", name, err, test.good)
		}
	}
}

// unique reports whether no object has duplicate member names, which encoding/json does not check.
func unique(decoder *json.Decoder) bool {
	token, err := decoder.Token()
	if err != nil {
		return true
	}
	delim, _ := token.(json.Delim)
	names := make(map[string]bool)
	for delim != 0 && decoder.More() {
		if delim == '{' {
			name, err := decoder.Token()
			text, _ := name.(string)
			if err != nil || names[text] {
				return err != nil
			}
			names[text] = true
		}
		if !unique(decoder) {
			return false
		}
	}
	if delim != 0 {
		_, _ = decoder.Token()
	}
	return true
}

// FuzzParse: Parse accepts what encoding/json accepts, except for duplicate names and invalid
// UTF-8.
func FuzzParse(f *testing.F) {
	for text := range sampleTexts() {
		f.Add([]byte(text))
	}
	f.Add([]byte(`[{"a":1,"b":2},{"a":3,"b":4,"a":5}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text := string(data)
		var p jsontree.Parser
		if _, err := p.Parse(document); err != nil { // the nodes are then reused
			t.Fatal(err)
		}
		root, err := p.Parse(text)
		want, otherErr := decodeStandard(text)
		if err == nil {
			if diff := cmp.Diff(want, toPlain(root)); otherErr != nil || diff != "" {
				t.Errorf("%q: %v, another tree (-encoding/json +got):\n%s", text, otherErr, diff)
			}
			return
		}
		if !errors.Is(err, jsontree.ErrSyntax) {
			t.Errorf("%q: error %v, want one that wraps ErrSyntax", text, err)
		}
		if otherErr != nil {
			return
		}
		refused := strings.Contains(err.Error(), "not UTF-8") || strings.Contains(err.Error(), "too deep")
		if !refused && unique(json.NewDecoder(strings.NewReader(escapeControls(text)))) {
			t.Errorf("%q is refused: %v; encoding/json reads %v", text, err, want)
		}
	})
}
