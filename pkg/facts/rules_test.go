package facts_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/facts"
)

func TestParse_BadRules(t *testing.T) {
	t.Parallel()
	const rule = "name = \"mine\"\n[[rule]]\nname = \"a\"\nfact = \"kind\"\nvalue = \"order\"\nen = 'order'\n"
	multiplying := "a = ['order', 'judgment']\n"
	for _, list := range []string{"b", "c", "d", "e", "f"} {
		one := "'{" + string(list[0]-1) + "}',"
		multiplying += list + " = [" + strings.Repeat(one, 12) + "]\n"
	}
	large := make([]string, 600)
	for i := range large {
		large[i] = fmt.Sprintf("[[rule]]\nname = \"r%d\"\nfact = \"kind\"\nvalue = \"order\"\nen = 'a.{0,990}%d'\n",
			i, i)
	}
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"no TOML", "name = ", []string{"line 1"}},
		{"no name", "[[rule]]\nname = \"a\"", []string{`name "": allowed is a name`}},
		{"unknown key", rule + "lang = \"en\"\n", []string{"line 7", `unknown key "rule.lang"`,
			"allowed are name, fact, value"}},
		{"unknown key at the top", "name = \"mine\"\nrulez = 1\n",
			[]string{"line 2", `unknown key "rulez"`, "section, mask, rule"}},
		{"unknown key of a section", "name = \"mine\"\n[[section]]\nname = \"s\"\nfrom = ['x']\n",
			[]string{"line 4", `unknown key "section.from"`, "from_en"}},
		{"wrong type", rule + "within = \"many\"\n", []string{"line 7", "within"}},
		{"expression that is no text", strings.Replace(rule, `'order'`, `[3]`, 1),
			[]string{"line 6", "value [3]", "an expression between quotes"}},
		{"rule without a name", "name = \"mine\"\n[[rule]]\nfact = \"kind\"\n", []string{`rule: name ""`}},
		{"duplicate name", rule + rule[len("name = \"mine\"\n"):], []string{`rule "a"`, "that no other rule has"}},
		{"unknown fact", strings.Replace(rule, `"kind"`, `"mood"`, 1),
			[]string{`rule "a"`, `fact "mood"`, "allowed are kind, final, judge"}},
		{"unknown value", strings.Replace(rule, `"order"`, `"edict"`, 1),
			[]string{`rule "a"`, `value "edict"`, "allowed for kind are application_for_leave"}},
		{"value of a name", strings.Replace(rule, `"kind"`, `"judge"`, 1),
			[]string{`rule "a"`, `value "order": allowed is none`, `the group "name"`}},
		{"bad expression", strings.Replace(rule, `'order'`, `'(order'`, 1),
			[]string{`rule "a": en "(order"`, "missing closing )"}},
		{"unknown group", strings.Replace(rule, `'order'`, `'(?P<edict>order)'`, 1),
			[]string{`rule "a": en: group "edict"`, "allowed are application_for_leave"}},
		{"unknown word list", strings.Replace(rule, `'order'`, `'{orders}'`, 1),
			[]string{`rule "a": en: word list "orders"`, "allowed are date"}},
		{"list that contains itself", "name = \"mine\"\n[words]\nx = ['{x}']\n" + strings.Replace(rule[len("name = \"mine\"\n"):], `'order'`, `'{x}'`, 1), []string{`word list "x"`, "contain itself"}},
		{"lists that multiply", "name = \"mine\"\n[words]\n" + multiplying + strings.Replace(rule[len("name = \"mine\"\n"):], `'order'`, `'{f}'`, 1), []string{`rule "a": en`, "with its word lists: allowed are 65536"}},
		{"too many parts", "name = \"mine\"\n" + strings.Join(large, ""),
			[]string{`rule "r`, "repetitions counted: allowed are 1000000"}},
		{"unknown section", rule + "in = \"heart\"\n", []string{`rule "a": in "heart"`, "allowed are text"}},
		{"unknown kind", rule + "kinds = [\"edict\"]\n",
			[]string{`rule "a": kinds "edict"`, "allowed are application_for_leave"}},
		{"unknown subject", rule + "about = [\"cats\"]\n", []string{`rule "a": about "cats"`, "allowed are leave"}},
		{"negative within", rule + "within = -1\n", []string{`rule "a": within -1`, "0 or more"}},
		{"neither value nor expression", "name = \"mine\"\n[[rule]]\nname = \"a\"\nfact = \"kind\"\n",
			[]string{`rule "a": value ""`, "a group for it"}},
		{"section without a start", "name = \"mine\"\n[[section]]\nname = \"s\"\n",
			[]string{`section "s"`, "at least one expression"}},
		{"mask of the whole text", "name = \"mine\"\n[[mask]]\nname = \"m\"\nen = 'x'\nin = [\"text\"]\n",
			[]string{`mask "m": in`, "not the whole text"}},
	} {
		_, err := facts.Parse([]byte(test.text))
		if !errors.Is(err, facts.ErrRules) {
			t.Errorf("%s: error %v, want one of the rules", test.name, err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", test.name, err, want)
			}
		}
	}
}

func TestLoadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "mine.toml")
	text := "name = \"mine\"\n[[rule]]\nname = \"everything\"\nfact = \"kind\"\nvalue = \"letter\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := facts.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entry := rules.NewReader().Of(recordOf("Order rendered by The Honourable Mr. Justice Inkwell")).EntryFacts[0]
	if entry.Kind != facts.KindLetter || entry.Rules["kind"] != "everything" {
		t.Errorf("kind %s by %v, want that of the file's only rule", entry.Kind, entry.Rules)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "missing.toml"), os.DevNull} {
		if _, err := facts.LoadFile(bad); !errors.Is(err, facts.ErrRules) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: error %v, want one of the rules that names it", bad, err)
		}
	}
}

func TestLoad_Unknown(t *testing.T) {
	t.Parallel()
	if _, err := facts.Load("moon-court"); !errors.Is(err, facts.ErrRules) ||
		!strings.Contains(err.Error(), "allowed are federal-court") {
		t.Errorf("error %v", err)
	}
}
